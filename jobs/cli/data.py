"""`s2l data check`: what is wrong with a data set, before any GPU hour."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from jobs.cli.options import json_option
from jobs.errors import EXIT_DONE, EXIT_INPUT


@click.group(short_help="Check your own images before any GPU hour.")
def data() -> None:
    """Your own images: an imagefolder with metadata.jsonl or .csv (file_name, text, domain, member)."""


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--fpr",
    multiple=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="FPRs you want. [default: 0.01, 0.001]",
)
@json_option
def check(folder: Path, fpr: tuple[float, ...], as_json: bool) -> int:
    """Say what is wrong with FOLDER before any GPU hour.

    Unreadable or tiny images, missing captions, too few non-members, near-duplicates between members and non-members, and
    differences between the two that a classifier finds without seeing the model. Exit code 2 when there are errors.
    """
    from jobs.sources.check import check as findings_of

    findings = findings_of(folder, fpr=list(fpr) or [0.01, 0.001])
    if as_json:
        click.echo(json.dumps({"findings": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            where = f" [{finding.where}]" if finding.where else ""
            click.echo(f"{finding.severity:8} {finding.code}: {finding.message}{where}")
    errors = sum(finding.severity == "error" for finding in findings)
    if not as_json:
        click.echo(f"{errors} errors, {sum(finding.severity == 'warning' for finding in findings)} warnings")
    return EXIT_INPUT if errors else EXIT_DONE
