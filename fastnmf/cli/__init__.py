"""The command line."""

from fastnmf.cli.commands import main

__all__ = ["main"]
