"""Asking before something is removed for good."""

from __future__ import annotations

import sys

from marketbell.errors import InvalidError


def sure(question: str, *, yes: bool) -> bool:
    """
    Whether it is to be done: with --yes, or if whoever sits at the terminal says so.

    InvalidError where there is nobody to ask: not on a terminal it is never done unasked.
    """
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidError((), f"{question} There is nobody to ask; give --yes.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in {"y", "yes"}:
        return True
    print("marketbell: nothing was done", file=sys.stderr)
    return False
