"""`marketbell version`: which program this is and what it runs on."""

from __future__ import annotations

import platform
import sys

import msgspec

import marketbell
from marketbell.cli.options import JsonFlag


def version(*, json: JsonFlag = False) -> int:
    """
    Print the version.

    With --json also those of Python and SQLite.
    """
    if json:
        import apsw

        facts = {
            "marketbell": marketbell.__version__,
            "python": platform.python_version(),
            "sqlite": apsw.sqlite_lib_version(),
        }
        sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
    else:
        sys.stdout.write(marketbell.__version__ + "\n")
    return 0
