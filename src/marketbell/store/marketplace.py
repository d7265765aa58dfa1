"""The marketplaces' things, kept with what is told of them; see store/marketplace_plane.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from marketbell.errors import NotFoundError, StaleError
from marketbell.model import NEVER, Instant
from marketbell.store.base import Entity, EntityFilter, Publication, Published
from marketbell.store.resource import Resource
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction, Value

_SQL = statements("marketplace")
_ENCODE: Final = msgspec.json.Encoder().encode
_EVER: Final = -NEVER
_ROW: Final = 200
"""What an entity takes in memory beside its body while it waits to be written."""


class EntityResource(Resource):
    """Entities over a writer and readers."""

    async def entity(self, application_id: int, kind: str, number: int) -> Entity:
        """See Entities.entity."""
        return await self._read(
            lambda transaction: _entity(transaction, application_id, kind, number)
        )

    async def entities(
        self,
        application_id: int,
        which: EntityFilter,
        *,
        offset: int = 0,
        limit: int = 100,
        descending: bool = False,
    ) -> tuple[Entity, ...]:
        """See Entities.entities."""
        span = {"offset": offset, "limit": limit, "down": int(descending)}
        return await self._read(
            lambda transaction: _entities(transaction, application_id, which, span)
        )

    async def count_entities(self, application_id: int, which: EntityFilter) -> dict[str, int]:
        """See Entities.count_entities."""
        values = _values(application_id, which)
        rows: Any = await self._read(
            lambda transaction: transaction.rows(_SQL["entity_counts"], values)
        )
        return dict(rows)

    async def next_numbers(self, kind: str, count: int) -> range:
        """See Entities.next_numbers."""
        if count <= 0:
            return range(0)

        def take(transaction: Transaction) -> range:
            row: Any = transaction.row(_SQL["entity_numbers_take"], {"kind": kind, "count": count})
            return range(row[0] - count + 1, row[0] + 1)

        return await self._write(take)

    async def change_entities(
        self,
        application_id: int,
        changes: Sequence[Entity],
        publications: Sequence[Publication],
        *,
        now: Instant,
    ) -> tuple[Published, ...]:
        """See Entities.change_entities."""
        revisions = _revisions(application_id, changes)
        keys = _sole_keys(changes)

        def change(transaction: Transaction) -> tuple[Published, ...]:
            if (
                transaction.row(_SQL["application_alive"], {"application_id": application_id})
                is None
            ):
                raise NotFoundError("The application has been deleted.")
            _refuse_stale(transaction, application_id, revisions)
            _refuse_taken(transaction, application_id, keys)
            published = transaction.publisher.keep_together(
                transaction,
                publications,
                lambda: _keep(transaction, application_id, changes, now),
            )
            return tuple(published)

        rows = len(changes) + sum(1 + len(publication.births) for publication in publications)
        size = sum(_ROW + len(entity.body) for entity in changes)
        size += sum(500 + len(publication.message.payload) for publication in publications)
        return await self._write(change, rows=max(1, rows), size=size)


def _entity(transaction: Transaction, application_id: int, kind: str, number: int) -> Entity:
    row = transaction.row(
        _SQL["entity_by_number"],
        {"application_id": application_id, "kind": kind, "number": number},
    )
    if row is None:
        raise NotFoundError(f"There is no such {kind}.")
    return _entity_of(row)


def _entities(
    transaction: Transaction,
    application_id: int,
    which: EntityFilter,
    span: dict[str, int],
) -> tuple[Entity, ...]:
    values: dict[str, Value] = {**_values(application_id, which), **span}
    name = _way_in(which, "down" if span["down"] else "up")
    if name.startswith("entities_state") and which.states is not None:
        values["state"] = which.states[0]
    return tuple(_entity_of(row) for row in transaction.rows(_SQL[name], values))


def _way_in(which: EntityFilter, way: str) -> str:
    """The statement whose index leaves the least to be passed over."""
    if which.numbers is not None:
        return "entities_by_number"
    if which.keys is not None:
        return "entities_by_key"
    if which.parent is not None:
        return "entities_by_parent"
    by_update = which.updated_since is not None or which.updated_until is not None
    if by_update and which.created_since is None and which.created_until is None:
        return f"entities_updated_{way}"
    if which.states is not None and len(which.states) == 1:
        return f"entities_state_{way}"
    return f"entities_created_{way}"


def _values(application_id: int, which: EntityFilter) -> dict[str, Value]:
    def names(listed: Sequence[int] | Sequence[str] | None) -> str | None:
        return None if listed is None else _ENCODE(list(listed)).decode()

    def instant(given: Instant | None, widest: Instant) -> Instant:
        return widest if given is None else given

    return {
        "application_id": application_id,
        "kind": which.kind,
        "numbers": names(which.numbers),
        "keys": names(which.keys),
        "states": names(which.states),
        "parent": which.parent,
        "created_since": instant(which.created_since, _EVER),
        "created_until": instant(which.created_until, NEVER),
        "updated_since": instant(which.updated_since, _EVER),
        "updated_until": instant(which.updated_until, NEVER),
    }


def _revisions(application_id: int, changes: Sequence[Entity]) -> dict[str, dict[int, int]]:
    """By kind and number, the revision that is to be kept now. ValueError for a caller's slip."""
    asked: dict[str, dict[int, int]] = {}
    for entity in changes:
        if entity.application_id != application_id:
            raise ValueError(f"{entity.kind} {entity.number} is of another application")
        asked.setdefault(entity.kind, {})[entity.number] = entity.revision
    if sum(len(numbers) for numbers in asked.values()) != len(changes):
        raise ValueError("an entity stands in the changes twice")
    return asked


def _refuse_stale(
    transaction: Transaction, application_id: int, asked: Mapping[str, Mapping[int, int]]
) -> None:
    """Return if each of them is kept as it was read; another seller's number is stale for good."""
    for kind, revisions in asked.items():
        rows: Any = transaction.rows(
            _SQL["entity_revisions"],
            {"kind": kind, "numbers": _ENCODE(list(revisions)).decode()},
        )
        kept = {number: (revision, owner) for number, revision, owner in rows}
        for number, revision in revisions.items():
            expected = (revision, application_id) if revision else None
            if kept.get(number) != expected:
                raise StaleError(f"The {kind} {number} has changed.")


def _sole_keys(changes: Sequence[Entity]) -> dict[str, dict[str, int]]:
    """By kind and key, the number of the one that alone is to have it. ValueError for two."""
    asked: dict[str, dict[str, int]] = {}
    for entity in changes:
        if not entity.sole:
            continue
        if asked.setdefault(entity.kind, {}).setdefault(entity.key, entity.number) != entity.number:
            raise ValueError(f"two of the changes are the {entity.kind} {entity.key!r}")
    return asked


def _refuse_taken(
    transaction: Transaction, application_id: int, asked: Mapping[str, Mapping[str, int]]
) -> None:
    """Return if nothing else has a key that one of these alone may have."""
    for kind, numbers in asked.items():
        which: dict[str, Value] = {
            "application_id": application_id,
            "kind": kind,
            "keys": _ENCODE(list(numbers)).decode(),
        }
        rows: Any = transaction.rows(_SQL["entity_keys_taken"], which)
        for number, key in rows:
            if numbers[key] != number:
                raise StaleError(f"There is a {kind} {key!r} already.")


def _keep(
    transaction: Transaction, application_id: int, changes: Sequence[Entity], now: Instant
) -> None:
    for entity in changes:
        transaction.change(
            _SQL["entity_update" if entity.revision else "entity_insert"],
            {
                "application_id": application_id,
                "kind": entity.kind,
                "number": entity.number,
                "key": entity.key,
                "sole": int(entity.sole),
                "parent": entity.parent,
                "state": entity.state,
                "over": int(entity.over),
                "body": entity.body,
                "created_at": entity.created_at,
                "now": now,
            },
        )


def _entity_of(row: Any) -> Entity:
    return Entity(
        application_id=row[0],
        kind=row[1],
        number=row[2],
        key=row[3],
        sole=bool(row[4]),
        parent=row[5],
        state=row[6],
        over=bool(row[7]),
        revision=row[8],
        body=row[9],
        created_at=row[10],
        updated_at=row[11],
    )
