"""What a store promises the nodes that share it: who lives, who has which slots, and what was changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import msgspec

from marketbell.model import Instant, Millis


class NodeDraft(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself when it begins."""

    name: str
    role: str
    """`all`, `api` or `worker`; an `api` has no slots."""
    version: str
    lease: Millis


class Node(msgspec.Struct, frozen=True):
    """A node as the others see it."""

    id: int
    worker: bool
    """Whether it may have slots."""
    leaving: bool
    fit: bool
    """Whether it says of itself that its work gets through."""
    left: Millis
    """How much of its lease is left; below 0 it is lost."""


class Registered(msgspec.Struct, frozen=True):
    """A node that has begun."""

    id: int
    number: int
    """Its own among all that live, from 0 to 510; keys of rows have it in them."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a sign of life is answered with: one moment of all nodes."""

    now: Instant
    """By the clock that is common to all nodes."""
    known: bool
    """Whether the node is still remembered; if not, it must begin anew."""
    up: Millis
    """For how long the database has been there."""
    nodes: tuple[Node, ...]
    slots: tuple[tuple[int, int], ...]
    """By slot, the node that has it (0 for none) and the fence, which rises when it changes hands."""


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A node as an operator is told of it."""

    number: int
    name: str
    role: str
    version: str
    schema: int
    """The last migration that its program knows."""
    leaving: bool
    skew: Millis
    """By how much its machine's clock is ahead of the database's."""
    started_at: Instant
    left: Millis
    """How much of its lease is left; below 0 it is lost."""
    slots: int
    fit: bool = True
    """Whether it says of itself that its work gets through."""


class Nodes(Protocol):
    """
    The nodes of one database.

    A node that has given no sign of life for as long as its lease is lost. Nothing here waits
    longer than a third of a lease: then it raises UnavailableError.
    """

    alone: bool
    """Whether there can be no other node."""

    @property
    def told(self) -> bool:
        """Whether what others tell comes now; if not, only looking helps."""

    async def time(self) -> Instant:
        """The present instant by the clock that is common to all nodes."""

    async def register(self, draft: NodeDraft, *, skew: Millis = 0) -> Registered:
        """Begin, with a number that no other node has."""

    async def beat(self, node_id: int, *, leaving: bool, fit: bool, skew: Millis) -> Seen:
        """
        Give a sign of life, and say how it is: its lease goes on from now.

        What it sees was so at the moment before.
        """

    async def take(self, node_id: int, fences: Mapping[int, int]) -> dict[int, int]:
        """
        Have those of the slots that are free, or a lost node's, or its own, and have these fences
        still; their new fences.
        """

    async def give_up(self, node_id: int, slots: Collection[int]) -> None:
        """These slots are free, as far as the node had them."""

    async def leave(self, node_id: int) -> None:
        """The node ends: its slots are free at once."""

    async def tell(self, text: str) -> None:
        """Let all nodes that listen have a text of at most 7,900 bytes; it may be lost."""

    def on_told(self, listener: Callable[[str], None]) -> None:
        """
        Call back on the event loop for each text that a node has told, this one too.

        An empty one says that others may have been missed.
        """

    async def all(self) -> tuple[NodeRow, ...]:
        """Every node that is remembered; one that is lost is for an hour."""

    async def aclose(self) -> None:
        """Let go of the database; nothing is given up by that."""
