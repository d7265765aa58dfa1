"""What every resource of the SQLite store stands on: a share of a write transaction, and a snapshot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeVar

from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteOptions
from marketbell.store.transaction import Transaction

T = TypeVar("T")


class Resource(ABC):
    """A group of methods over the one writer and the readers; SqliteStore is made of them."""

    _box: Box
    _options: SqliteOptions

    @abstractmethod
    def _write(
        self,
        effect: Callable[[Transaction], T],
        *,
        bounded: bool = True,
        rows: int = 1,
        size: int = 0,
    ) -> Awaitable[T]:
        """Run a function in a write transaction; its value once that is on disk."""

    @abstractmethod
    def _read(self, query: Callable[[Transaction], T]) -> Awaitable[T]:
        """Run a function over one snapshot."""
