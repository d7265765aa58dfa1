"""What a node tells the others after a commit: a hint that saves them looking, and no more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import msgspec

from marketbell.errors import StoreError
from marketbell.store.base import Change

_log = logging.getLogger(__name__)

_REST_S: Final = 0.003
"""So long after one text hints are gathered for the next: each costs a commit, and a lock of the whole server."""
_BYTES_MAX: Final = 7_900
"""PostgreSQL takes no longer payload."""


class Hint(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One text that is told."""

    node: int
    """Who tells it."""
    due: list[int] = []
    """Slots in which something falls due."""
    any_due: bool = False
    """Something falls due, it is not said where."""
    changed: list[tuple[int, int | None]] = []
    """Applications and endpoints that have changed, by their keys."""
    access: list[str] = []
    """Organizations whose tokens or keys have changed."""
    nodes: bool = False
    """Slots are free, or a node has come or gone."""


class Hints:
    """
    Gathers what there is to tell, and tells it from a task of its own.

    Nothing waits for it and nothing is lost with it: what is due is found by looking, and what
    has changed by its revision.
    """

    def __init__(self, tell: Callable[[str], Awaitable[None]], node_id: Callable[[], int]) -> None:
        self._tell = tell
        self._node_id = node_id
        self._due: set[int] = set()
        self._any_due = False
        self._changed: set[tuple[int, int | None]] = set()
        self._access: set[str] = set()
        self._nodes = False
        self._bell = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End once what there is to tell is told, or cannot be."""
        self._stopping = True
        self._bell.set()
        if self._task is not None:
            await self._task

    def due(self, slots: Collection[int] | None) -> None:
        """Something falls due in these slots; None is anywhere."""
        if slots is None:
            self._any_due = True
        else:
            self._due.update(slots)
        self._bell.set()

    def changed(self, change: Change) -> None:
        """An application or endpoint has changed."""
        self._changed.add((change.application_id, change.endpoint_id))
        self._bell.set()

    def access(self, organization: str) -> None:
        """An organization's tokens or keys have changed."""
        self._access.add(organization)
        self._bell.set()

    def nodes(self) -> None:
        """Slots are free, or a node has come or gone."""
        self._nodes = True
        self._bell.set()

    def text(self) -> str:
        """All that was gathered, as it is told; what is too long is cut, for it is found without."""
        hint = Hint(
            node=self._node_id(),
            due=[] if self._any_due else sorted(self._due),
            any_due=self._any_due,
            changed=list(self._changed),
            access=list(self._access),
            nodes=self._nodes,
        )
        self._due.clear()
        self._changed.clear()
        self._access.clear()
        self._any_due = self._nodes = False
        said = msgspec.json.encode(hint)
        while len(said) > _BYTES_MAX:
            half = max(len(hint.changed), len(hint.access)) // 2
            hint.changed, hint.access = hint.changed[:half], hint.access[:half]
            said = msgspec.json.encode(hint)
        return said.decode()

    @property
    def _any(self) -> bool:
        return bool(self._due or self._any_due or self._changed or self._access or self._nodes)

    async def _run(self) -> None:
        failing = False
        while self._any or not self._stopping:
            await self._bell.wait()
            self._bell.clear()
            if not self._any:
                continue
            try:
                await self._tell(self.text())
                failing = False
            except StoreError as error:
                if not failing:
                    _log.warning("other nodes cannot be told", extra={"reason": str(error)})
                failing = True
            except Exception:
                _log.exception("telling other nodes broke off; it goes on")
            if not self._stopping:
                await asyncio.sleep(_REST_S)


def read(text: str) -> Hint | None:
    """What a node has told; None for what cannot be read, such as a later version's."""
    try:
        return msgspec.json.decode(text, type=Hint)
    except msgspec.DecodeError:
        return None
