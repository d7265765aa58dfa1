"""Users of the marketplaces' own APIs, their secrets sealed; see store/marketplace_plane.py."""

from __future__ import annotations

from typing import Any, Final

from marketbell import ids
from marketbell.errors import ConflictError, LimitReachedError, no_such
from marketbell.model import Instant
from marketbell.store.audit_plane import FieldChange
from marketbell.store.base import CREDENTIALS_MAX, Credential, Once, Repeated
from marketbell.store.configuration import application_by_id
from marketbell.store.once import once as once_only
from marketbell.store.once import sealed
from marketbell.store.resource import Resource
from marketbell.store.sealing import Box
from marketbell.store.statements import statements
from marketbell.store.touches import Touch
from marketbell.store.transaction import Transaction, Value

_SQL = statements("credentials")
_ANSWER: Final = b"answer of a new credential"


class CredentialResource(Resource):
    """Credentials over a writer and readers."""

    async def create_credential(
        self,
        application_id: int,
        marketplace: str,
        user: str,
        secret: bytes,
        *,
        now: Instant,
        once: Once | None = None,
    ) -> Credential | Repeated:
        """See Credentials.create_credential."""
        mark = None if once is None else sealed(once, self._box, _ANSWER)
        row: dict[str, Value] = {
            "public_id": ids.new_id(ids.LOGIN, now),
            "application_id": application_id,
            "marketplace": marketplace,
            "user": user,
            "sealed": self._box.seal(secret, _purpose(f"{marketplace} {user}")),
            "now": now,
        }
        made = await self._write(
            lambda transaction: once_only(
                transaction, mark, now, lambda: _create(transaction, self._box, row)
            )
        )
        return (
            Repeated(self._box.open(made.answer, _ANSWER)) if isinstance(made, Repeated) else made
        )

    async def credential(self, marketplace: str, user: str) -> Credential:
        """See Credentials.credential."""
        name: dict[str, Value] = {"marketplace": marketplace, "user": user}
        return await self._read(lambda look: _found(look, self._box, name))

    async def credential_of(self, application_id: int, public_id: str) -> Credential:
        """See Credentials.credential_of."""
        which: dict[str, Value] = {"application_id": application_id, "public_id": public_id}
        return await self._read(
            lambda look: _credential(look, self._box, _row(look, "credential", which))
        )

    async def credentials(self, application_id: int) -> tuple[Credential, ...]:
        """See Credentials.credentials."""

        def find(transaction: Transaction) -> tuple[Credential, ...]:
            rows = transaction.rows(
                _SQL["credentials_of_application"],
                {"application_id": application_id, "limit": CREDENTIALS_MAX},
            )
            return tuple(_credential(transaction, self._box, row) for row in rows)

        return await self._read(find)

    async def delete_credential(self, application_id: int, public_id: str) -> None:
        """See Credentials.delete_credential."""
        which: dict[str, Value] = {"application_id": application_id, "public_id": public_id}

        def delete(transaction: Transaction) -> None:
            row = _row(transaction, "credential", which)
            transaction.change(_SQL["credential_delete"], {"public_id": public_id})
            gone = (FieldChange("marketplace", old=row[2]), FieldChange("user", old=row[3]))
            transaction.touches.append(Touch(application_id, None, gone))

        await self._write(delete)


def resealed_credential(box: Box, whom: str, sealed_before: bytes) -> bytes:
    """The same secret, sealed with the current key; `whom` is marketplace and user. UnavailableError."""
    return box.seal(box.open(sealed_before, _purpose(whom)), _purpose(whom))


def _create(transaction: Transaction, box: Box, row: dict[str, Any]) -> Credential:
    application_by_id(transaction, row["application_id"])
    name = {"marketplace": row["marketplace"], "user": row["user"]}
    if transaction.row(_SQL["credential_taken"], name) is not None:
        raise ConflictError(f"The user name {row['user']!r} is taken; choose another.")
    of_it = {"application_id": row["application_id"]}
    count: Any = transaction.row(_SQL["credential_count"], of_it)
    if count[0] >= CREDENTIALS_MAX:
        raise LimitReachedError(
            f"The application has {CREDENTIALS_MAX} users of marketplaces; delete one."
        )
    transaction.change(_SQL["credential_insert"], row)
    made = tuple(FieldChange(field, new=value) for field, value in name.items())
    transaction.touches.append(Touch(row["application_id"], None, made))
    return _found(transaction, box, name)


def _found(transaction: Transaction, box: Box, name: dict[str, Value]) -> Credential:
    return _credential(transaction, box, _row(transaction, "credential_by_user", name))


def _row(transaction: Transaction, statement: str, which: dict[str, Value]) -> Any:
    row = transaction.row(_SQL[statement], which)
    if row is None:
        named = which["user"] if "user" in which else which["public_id"]
        raise no_such("user", str(named), "name or id")
    return row


def _credential(transaction: Transaction, box: Box, row: Any) -> Credential:
    public_id, application_id, marketplace, user, secret, created_at = row
    return Credential(
        public_id=public_id,
        application=application_by_id(transaction, application_id),
        marketplace=marketplace,
        user=user,
        secret=box.open(secret, _purpose(f"{marketplace} {user}")),
        created_at=created_at,
    )


def _purpose(whom: str) -> bytes:
    """What a sealed secret is for: one that is moved to another user does not open."""
    return f"credential {whom}".encode()
