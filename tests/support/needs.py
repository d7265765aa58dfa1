"""What a test needs of the machine beside Python: skipped where it is missing, and with the reason."""

from __future__ import annotations

import os
import shutil
from typing import Final, NoReturn

import pytest

REQUIRE_ALL: Final = os.environ.get("MARKETBELL_REQUIRE_ALL") == "1"
"""Whether a test that lacks what it needs fails, as where all of it is to be tested."""


def missing(what: str) -> NoReturn:
    """End the test: it is skipped, or has failed with MARKETBELL_REQUIRE_ALL=1."""
    if REQUIRE_ALL:
        pytest.fail(what)
    pytest.skip(what)


def needs(*programs: str) -> pytest.MarkDecorator:
    """Marks what cannot run without these programs; with MARKETBELL_REQUIRE_ALL=1 it runs and fails."""
    lacking = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(
        bool(lacking) and not REQUIRE_ALL, reason=f"not installed: {', '.join(lacking)}"
    )
