"""`python -m marketbell` is the command `marketbell`."""

from __future__ import annotations

from marketbell.cli import main

if __name__ == "__main__":
    main()
