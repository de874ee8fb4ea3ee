"""`s2l keygen`: a key for an encrypted store."""

from __future__ import annotations

import click


@click.command()
def keygen() -> None:
    """Print a new key for an encrypted store: 32 random bytes in base64.

    \b
    (umask 077; s2l keygen > s2l.key)           # keep a copy where the store is not: without it nothing can be read
    export S2L_ENCRYPTION_KEY_FILE=$PWD/s2l.key # or its text in S2L_ENCRYPTION_KEY, on the driver and on every worker node

    With a key set, a new store is encrypted; a store that holds plain objects is refused.
    """
    from jobs.store.key import new_key

    click.echo(new_key())
