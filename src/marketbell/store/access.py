"""Access: API keys, ended tokens, and the revisions that tell of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final

import msgspec

from marketbell import ids
from marketbell.errors import LimitReachedError, no_such
from marketbell.model import Instant, Millis
from marketbell.store.access_plane import AccessChange, ApiKey, ApiKeyDraft, KeyLogin
from marketbell.store.audit_plane import FieldChange
from marketbell.store.base import Once, Page, Repeated, Slice
from marketbell.store.once import once as once_only
from marketbell.store.once import sealed
from marketbell.store.paging import span_of_ids
from marketbell.store.resource import Resource
from marketbell.store.rows import decode_names, encode_names
from marketbell.store.statements import statements
from marketbell.store.touches import Touch
from marketbell.store.transaction import Transaction, Value

KEPT_MS: Final[Millis] = 90 * 86_400_000
"""How long an ended key is still shown."""
ENDS_MAX: Final = 100
_PURPOSE: Final = b"answer of a new api key"
_REMOVED_AT_ONCE: Final = 100
_WHOLE: Final = ""
"""Stands in the column `application` for all of the organization."""

_SQL = statements("access")


class AccessResource(Resource):
    """AccessControl over a writer and readers."""

    @cached_property
    def access_listeners(self) -> list[Callable[[AccessChange], None]]:
        """Who is told of changes; see AccessControl.on_access_change."""
        return []

    async def create_api_key(
        self, draft: ApiKeyDraft, *, now: Instant, keys_max: int, once: Once | None = None
    ) -> ApiKey | Repeated:
        """See AccessControl.create_api_key."""
        mark = None if once is None else sealed(once, self._box, _PURPOSE)
        made = await self._write(
            lambda transaction: _create(transaction, draft, now=now, keys_max=keys_max, once=mark)
        )
        if isinstance(made, Repeated):
            return Repeated(self._box.open(made.answer, _PURPOSE))
        return made

    async def api_key(self, organization: str, public_id: str) -> ApiKey:
        """See AccessControl.api_key."""
        return await self._read(lambda transaction: _key(transaction, organization, public_id))

    async def api_keys(self, organization: str, page: Page) -> Slice[ApiKey]:
        """See AccessControl.api_keys."""
        return await self._read(lambda transaction: _keys(transaction, organization, page))

    async def end_api_key(self, organization: str, public_id: str, *, ends_at: Instant) -> ApiKey:
        """See AccessControl.end_api_key."""
        return await self._write(
            lambda transaction: _end_key(transaction, organization, public_id, ends_at)
        )

    async def key_login(self, public_id: str) -> KeyLogin | None:
        """See AccessControl.key_login."""
        return await self._read(lambda transaction: _login(transaction, public_id))

    async def note_keys_used(self, used: Mapping[str, Instant]) -> None:
        """See AccessControl.note_keys_used."""
        rows: list[dict[str, Value]] = [{"public_id": key, "now": at} for key, at in used.items()]
        await self._write(
            lambda transaction: transaction.change_many(_SQL["api_key_used"], rows),
            rows=len(rows),
        )

    async def end_tokens(
        self,
        organization: str,
        application: str | None,
        *,
        issued_before: Instant,
        ends_at: Instant,
        now: Instant,
        once: Once | None = None,
    ) -> None:
        """See AccessControl.end_tokens."""
        whose = {"organization": organization, "application": application or _WHOLE}
        end = {**whose, "issued_before": issued_before, "ends_at": ends_at}
        await self._write(
            lambda transaction: once_only(
                transaction, once, now, lambda: _end_tokens(transaction, whose, end, now)
            )
        )

    async def end_token(
        self, organization: str, digest: bytes, *, expires_at: Instant, now: Instant
    ) -> None:
        """See AccessControl.end_token."""
        ended = {"organization": organization, "digest": digest, "expires_at": expires_at}
        await self._write(lambda transaction: _end_token(transaction, ended, now))

    async def token_end(
        self, organization: str, application: str | None, digest: bytes, issued_at: Instant
    ) -> Instant | None:
        """See AccessControl.token_end."""

        def look(transaction: Transaction) -> Instant | None:
            one: dict[str, Value] = {"organization": organization, "digest": digest}
            if transaction.row(_SQL["ended_token"], one) is not None:
                return 0
            return _end_of(transaction, organization, application, issued_at)

        return await self._read(look)

    async def access_changes(self, after: int) -> tuple[int, tuple[str, ...]]:
        """See AccessControl.access_changes."""

        def look(transaction: Transaction) -> tuple[int, tuple[str, ...]]:
            last: Any = transaction.row(_SQL["access_revision_last"])
            rows: Any = transaction.rows(_SQL["access_changes"], {"after": after})
            return last[0], tuple(organization for (organization,) in rows)

        return await self._read(look)

    def on_access_change(self, listener: Callable[[AccessChange], None]) -> None:
        """See AccessControl.on_access_change."""
        self.access_listeners.append(listener)


def _create(
    transaction: Transaction,
    draft: ApiKeyDraft,
    *,
    now: Instant,
    keys_max: int,
    once: Once | None,
) -> ApiKey | Repeated:
    whose = {"organization": draft.organization}

    def make() -> ApiKey:
        live: Any = transaction.row(_SQL["api_keys_endless"], whose)
        more: Any = transaction.row(_SQL["api_keys_unexpired"], {**whose, "now": now})
        if live[0] + more[0] >= keys_max:
            raise LimitReachedError(
                f"The organization has {keys_max} API keys; revoke one, or raise api_keys_max."
            )
        past: dict[str, Value] = {**whose, "before": now - KEPT_MS, "limit": _REMOVED_AT_ONCE}
        transaction.change(_SQL["api_keys_ended_delete"], past)
        transaction.change(_SQL["api_keys_expired_delete"], past)
        fields = msgspec.structs.asdict(draft)
        fields["scopes"] = _scopes_text(draft.scopes)
        transaction.insert(_SQL["api_key_insert"], {**fields, "now": now})
        transaction.touches.append(Touch(None, None, _told_of(draft)))
        return _key(transaction, draft.organization, draft.public_id)

    return once_only(transaction, once, now, make)


def _key(transaction: Transaction, organization: str, public_id: str) -> ApiKey:
    row = transaction.row(_SQL["api_key"], {"public_id": public_id, "organization": organization})
    if row is None:
        raise no_such("API key", public_id, "id, and the token's organization")
    return _key_of(row)


def _keys(transaction: Transaction, organization: str, page: Page) -> Slice[ApiKey]:
    span = span_of_ids(
        transaction, _SQL["api_key_position"], ids.API_KEY, page, descending=page.descending
    )
    rows = transaction.rows(
        _SQL[f"api_keys_{span.way}"], {"organization": organization, **span.values}
    )
    return span.slice(rows, _key_of)


def _end_key(
    transaction: Transaction, organization: str, public_id: str, ends_at: Instant
) -> ApiKey:
    key = _key(transaction, organization, public_id)
    if key.ends_at is not None and key.ends_at <= ends_at:
        return key
    transaction.change(
        _SQL["api_key_end"],
        {"public_id": public_id, "organization": organization, "ends_at": ends_at},
    )
    _revise(transaction, organization)
    return msgspec.structs.replace(key, ends_at=ends_at)


def _login(transaction: Transaction, public_id: str) -> KeyLogin | None:
    row: Any = transaction.row(_SQL["api_key_login"], {"public_id": public_id})
    if row is None:
        return None
    key = _key_of(row[:-1])
    ends = (
        key.ends_at,
        _end_of(transaction, key.organization, key.application, key.created_at),
    )
    return KeyLogin(key, row[-1], min((end for end in ends if end is not None), default=None))


def _end_of(
    transaction: Transaction, organization: str, application: str | None, issued_at: Instant
) -> Instant | None:
    """When tokens of this age end; the earliest of what was said of all and of this application."""
    ends: list[Instant] = []
    for whose in {_WHOLE, application or _WHOLE}:
        row: Any = transaction.row(
            _SQL["tokens_end"],
            {"organization": organization, "application": whose, "issued_at": issued_at},
        )
        if row[0] is not None:
            ends.append(row[0])
    return min(ends, default=None)


def _end_tokens(
    transaction: Transaction, whose: dict[str, str], end: dict[str, Any], now: Instant
) -> None:
    transaction.change(_SQL["tokens_end_past_delete"], {**whose, "now": now})
    count: Any = transaction.row(_SQL["tokens_end_count"], end)
    if count[0] >= ENDS_MAX:
        raise LimitReachedError(
            f"There are {ENDS_MAX} ends of tokens to come; end them now, with an expiry of 0."
        )
    transaction.change(_SQL["tokens_end_dominated_delete"], end)
    transaction.change(_SQL["tokens_end_insert"], end)
    _revise(transaction, whose["organization"])


def _end_token(transaction: Transaction, ended: dict[str, Any], now: Instant) -> None:
    transaction.change(_SQL["ended_tokens_delete"], {"now": now, "limit": _REMOVED_AT_ONCE})
    transaction.change(_SQL["ended_token_insert"], ended)
    _revise(transaction, ended["organization"])


def _revise(transaction: Transaction, organization: str) -> None:
    transaction.change(_SQL["access_revised"], {"organization": organization})
    transaction.changes.append(AccessChange(organization))


def _told_of(draft: ApiKeyDraft) -> tuple[FieldChange, ...]:
    """What the audit log says of a new key."""
    scopes = None if draft.scopes is None else list(draft.scopes)
    return (
        FieldChange("id", new=draft.public_id),
        FieldChange("name", new=draft.name),
        FieldChange("scopes", new=scopes),
        FieldChange("appId", new=draft.application),
    )


def _scopes_text(scopes: tuple[str, ...] | None) -> str | None:
    """As JSON; no scope at all is a list too, for null means every one."""
    if scopes is None:
        return None
    return encode_names(scopes) or "[]"


def _key_of(row: tuple[Any, ...]) -> ApiKey:
    public_id, organization, application, name, scopes, created_at, *instants = row
    expires_at, last_used_at, ends_at = instants
    return ApiKey(
        public_id=public_id,
        organization=organization,
        application=application,
        name=name,
        scopes=None if scopes is None else decode_names(scopes),
        created_at=created_at,
        expires_at=expires_at,
        last_used_at=last_used_at,
        ends_at=ends_at,
    )
