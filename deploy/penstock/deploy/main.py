"""The `penstock` script."""

import sys

from penstock.deploy.cli.application import application


def main() -> None:
    """Runs the command line and leaves with its exit code."""
    sys.exit(application())
