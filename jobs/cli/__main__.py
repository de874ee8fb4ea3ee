"""`python -m jobs.cli`: the command where only an interpreter is known, such as in a job on a cluster."""

from jobs.cli.main import main

main()
