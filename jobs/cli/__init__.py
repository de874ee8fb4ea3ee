"""The command line. stdout holds the answer, stderr the rest; exit codes are those of jobs.errors."""

from jobs.cli.main import main

__all__ = ["main"]
