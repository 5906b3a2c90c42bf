"""`python -m nexo` is the `nexo` command."""

from __future__ import annotations

import sys

from nexo.cli import main

if __name__ == "__main__":
    sys.exit(main())
