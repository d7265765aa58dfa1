"""Who receives: applications with their endpoints, kept in memory as the store has them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final, TypeAlias

import msgspec

from marketbell.dialects.base import DEFAULT_DIALECT, Dialect
from marketbell.dialects.catalogue import Catalogue
from marketbell.dialects.registry import Registry
from marketbell.errors import no_such
from marketbell.model import Application, Policy
from marketbell.store.base import Change, Store, Subscribers

_APPLICATIONS_MAX: Final = 10_000
_ENDPOINTS_MAX: Final = 20_000

_Key: TypeAlias = tuple[str, str]


class Entry(msgspec.Struct, frozen=True):
    """An application with its endpoints, and what its dialects say of payloads."""

    subscribers: Subscribers
    catalogues: tuple[Catalogue, ...]
    """Of every dialect in use, each once; those without event types are left out."""
    verbatim: bool
    """Whether all of it speaks the dialect that sends payloads as they are."""


class Directory:
    """
    A bounded cache of the store's `subscribers`, least recently used first out.

    What the store says has changed is forgotten at once, also while it is being loaded;
    what another node changed is found by its revision, and forgotten by `forget`. An absence
    is not remembered.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        applications_max: int = _APPLICATIONS_MAX,
        endpoints_max: int = _ENDPOINTS_MAX,
    ) -> None:
        self._store = store
        self._registry = registry
        self._applications_max = applications_max
        self._endpoints_max = endpoints_max
        self._endpoints = 0
        self._entries: OrderedDict[_Key, Entry] = OrderedDict()
        self._keys: dict[int, set[_Key]] = {}
        self._loads: dict[_Key, _Load] = {}
        self._running: set[_Load] = set()
        store.on_change(self._changed)

    def peek(self, organization: str, ref: str) -> Entry | None:
        """What is in memory, or None; never waits."""
        key = (organization, ref)
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    async def entry(self, organization: str, ref: str, *, revision: int = 0) -> Entry:
        """
        An application by id or uid, as of that revision of its or later. Raises NotFoundError.

        Callers that ask for the same one at the same time share one query.
        """
        found = self.peek(organization, ref)
        if found is not None:
            application = found.subscribers.application
            if application.revision >= revision:
                return found
            self.forget(application.id)
        key = (organization, ref)
        load = self._loads.get(key)
        if load is None:
            load = self._loads[key] = _Load()
            self._running.add(load)
            load.task = asyncio.ensure_future(self._load(key, load))
        return await asyncio.shield(load.task)

    async def current(self, organization: str, ref: str, entry: Entry) -> Entry:
        """The same entry if nothing of it has changed, here or elsewhere; else as it is now. NotFoundError."""
        known = entry.subscribers
        if await self._store.subscribers_revision(known.application.id) == known.revision:
            return entry
        self.forget(known.application.id)
        return await self.entry(organization, ref)

    def alone(self, entry: Entry, endpoint: str) -> Entry:
        """
        The same application with one endpoint alone, by its public id, which wants everything.

        NotFoundError if it has no such endpoint.
        """
        for one in entry.subscribers.endpoints:
            if one.public_id == endpoint:
                open_to_all = msgspec.structs.replace(one, event_types=None, channels=None)
                return self._entry_of(
                    msgspec.structs.replace(entry.subscribers, endpoints=(open_to_all,))
                )
        raise no_such("endpoint", endpoint, "id, and the application")

    def forget(self, application_id: int) -> None:
        """Read this application anew when it is asked for next."""
        for key in self._keys.pop(application_id, ()):
            entry = self._entries.pop(key, None)
            if entry is not None:
                self._endpoints -= len(entry.subscribers.endpoints)
        for load in self._running:
            load.changed.add(application_id)
        # Whoever asks from now on must not join a query that began before the change.
        self._loads.clear()

    async def _load(self, key: _Key, load: _Load) -> Entry:
        try:
            subscribers = await self._store.subscribers(*key)
        finally:
            self._running.discard(load)
            if self._loads.get(key) is load:
                del self._loads[key]
        entry = self._entry_of(subscribers)
        if subscribers.application.id not in load.changed:
            self._remember(key, entry)
        return entry

    def _remember(self, key: _Key, entry: Entry) -> None:
        self._entries[key] = entry
        self._keys.setdefault(entry.subscribers.application.id, set()).add(key)
        self._endpoints += len(entry.subscribers.endpoints)
        while (
            len(self._entries) > self._applications_max or self._endpoints > self._endpoints_max
        ) and len(self._entries) > 1:
            oldest, gone = self._entries.popitem(last=False)
            application_id = gone.subscribers.application.id
            self._endpoints -= len(gone.subscribers.endpoints)
            keys = self._keys[application_id]
            keys.discard(oldest)
            if not keys:
                del self._keys[application_id]

    def _entry_of(self, subscribers: Subscribers) -> Entry:
        application = subscribers.application
        names = {dialect_name(application)}
        names.update(
            dialect_name(application, endpoint.policy) for endpoint in subscribers.endpoints
        )
        dialects = [
            self._registry.dialect(name) for name in sorted(names) if name in self._registry
        ]
        return Entry(
            subscribers,
            tuple(dialect.catalogue for dialect in dialects if dialect.catalogue),
            names == {DEFAULT_DIALECT},
        )

    def _changed(self, change: Change) -> None:
        self.forget(change.application_id)


class _Load:
    """A query under way, and which applications have changed since it began."""

    __slots__ = ("changed", "task")

    task: asyncio.Future[Entry]

    def __init__(self) -> None:
        self.changed: set[int] = set()


def dialect_name(application: Application, policy: Policy | None = None) -> str:
    """The dialect of an endpoint with this policy, or of the application itself."""
    own = None if policy is None else policy.dialect
    return own or application.policy.dialect or DEFAULT_DIALECT


def dialect_of(
    registry: Registry, application: Application, policy: Policy | None = None
) -> Dialect:
    """The same as a dialect. Raises InvalidError if it is no longer installed."""
    return registry.dialect(dialect_name(application, policy))
