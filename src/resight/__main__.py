"""`python -m resight`."""

from resight.cli.main import run

run()
