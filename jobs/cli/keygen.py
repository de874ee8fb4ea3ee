"""`s2l keygen`: a key for an encrypted store."""

from __future__ import annotations

import click


@click.command(short_help="A new key for an encrypted store.")
def keygen() -> None:
    """Print a new key for an encrypted store: 32 random bytes in base64.

    \b
      (umask 077; s2l keygen > s2l.key)
      export S2L_ENCRYPTION_KEY_FILE=$PWD/s2l.key

    Keep a copy where the store is not: without it nothing can be read. The driver and every worker node need it: the variable, or the key's
    text in S2L_ENCRYPTION_KEY.

    With a key set, a new store is encrypted; a store that holds plain objects is refused.
    """
    from jobs.store.key import new_key

    click.echo(new_key())
