"""The command line."""

import sys

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 2 for invalid input, 130 for an interrupt."""
    try:
        from fastnmf.cli import commands  # here: an interrupt may come while it loads
    except KeyboardInterrupt:
        print("fastnmf: interrupted.", file=sys.stderr)
        return 130
    return commands.main(argv)
