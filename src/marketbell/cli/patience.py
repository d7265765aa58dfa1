"""Asking a server again and again, also while it restarts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from marketbell.errors import RateLimitedError, StoreError

if TYPE_CHECKING:
    from marketbell.cli.shell import Query, Shell

INTERVAL_S: Final = 0.4
"""Between two questions."""


class Patience:
    """
    Asks until there is an answer, once there has been one.

    That the server is away is said on stderr, and that it is back; the very first question must
    be answered, so that a wrong address is told at once.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._answered = False

    def get(self, path: str, query: Query | None = None) -> Any:
        """What a GET answers."""
        away = False
        while True:
            try:
                answer = self._shell.get(path, query)
            except (StoreError, RateLimitedError) as error:
                if not self._answered:
                    raise
                if not away:
                    self._shell.note(f"{error.detail} Trying on.")
                away = True
                time.sleep(INTERVAL_S)
                continue
            if away:
                self._shell.note("The server is back.")
            self._answered = True
            return answer
