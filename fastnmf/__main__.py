"""Run the command line as ``python -m fastnmf``."""

import sys

from fastnmf.cli import main

if __name__ == "__main__":
    sys.exit(main())
