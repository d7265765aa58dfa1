"""Secrets and headers sealed anew, in short steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from marketbell.errors import UnavailableError
from marketbell.store.base import Resealed, Sealed
from marketbell.store.configuration import resealed_headers, resealed_secret
from marketbell.store.credentials import resealed_credential
from marketbell.store.resource import Resource
from marketbell.store.sealing import Box
from marketbell.store.statements import statements
from marketbell.store.transaction import Transaction

_SQL = {**statements("configuration"), **statements("credentials")}


class _Kind(msgspec.Struct, frozen=True):
    """The statements of one kind of ciphertext, and how it is sealed anew."""

    after: str
    put: str
    reseal: Callable[[Box, str, bytes], bytes]


_KINDS: Final = {
    Sealed.SECRETS: _Kind("secrets_after", "secret_reseal", resealed_secret),
    Sealed.HEADERS: _Kind("headers_after", "headers_reseal", resealed_headers),
    Sealed.CREDENTIALS: _Kind("credentials_after", "credential_reseal", resealed_credential),
}


class SealedResource(Resource):
    """SealedThings over the writer."""

    async def reseal(self, what: Sealed, *, after: int, limit: int) -> Resealed:
        """See SealedThings.reseal."""
        return await self._write(
            lambda transaction: _reseal(transaction, self._box, _KINDS[what], after, limit),
            bounded=False,
            configures=True,
        )


def _reseal(transaction: Transaction, box: Box, kind: _Kind, after: int, limit: int) -> Resealed:
    rows: Any = transaction.rows(_SQL[kind.after], {"after": after, "limit": limit})
    resealed = unreadable = 0
    for key, public_id, sealed in rows:
        after = key
        if sealed is None or box.current(sealed):
            continue
        try:
            anew = kind.reseal(box, public_id, sealed)
        except UnavailableError:
            unreadable += 1
            continue
        transaction.change(_SQL[kind.put], {"id": key, "sealed": anew})
        resealed += 1
    return Resealed(after=after, resealed=resealed, unreadable=unreadable, done=len(rows) < limit)
