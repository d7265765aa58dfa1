"""What every resource of a store stands on: a share of a write transaction, and a snapshot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from marketbell.model import Millis
from marketbell.store.sealing import Box
from marketbell.store.transaction import Transaction

T = TypeVar("T")


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a database is used, whichever it is."""

    readers: int = 2
    """Connections that only read."""
    payload_retention: Millis = 90 * 86_400_000
    """The age that most payloads are kept for; others are noted one by one."""
    search_s: float = 0.02
    """How long a page of a list is looked for before it is given as it is."""
    text_search_s: float = 0.2
    """The same for a search by words."""


class Resource(ABC):
    """A group of methods over the writers and the readers; a store is made of them."""

    _box: Box
    _options: StoreOptions

    @abstractmethod
    def _write(
        self,
        effect: Callable[[Transaction], T],
        *,
        bounded: bool = True,
        configures: bool = False,
        rows: int = 1,
        size: int = 0,
    ) -> Awaitable[T]:
        """
        Run a function in a write transaction; its value once that is on disk.

        It may be run again if the database asks for that. What is `bounded` is refused where too
        much waits already, and is made one at a time over all nodes. So is what is not, the
        server's own work, if it `configures`: it then reads what it changes without a lock.
        """

    @abstractmethod
    def _read(self, query: Callable[[Transaction], T]) -> Awaitable[T]:
        """Run a function over one snapshot."""

    @abstractmethod
    def _sizes(self) -> tuple[int, int]:
        """Bytes of the database and of its log, as far as they can be told; called on a reader's thread."""
