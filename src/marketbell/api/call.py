"""Operations and calls: one route's work with its access rule, and one request as it sees it."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import msgspec

from marketbell.api.answers import Answer
from marketbell.api.query import Query
from marketbell.control.idempotency import digest_of, mark
from marketbell.control.services import Services
from marketbell.control.tokens import Principal
from marketbell.store.base import Idempotency, Once


class Access(enum.StrEnum):
    """Whose token an operation takes."""

    NOBODY = "nobody"
    """It takes none."""
    OPERATOR = "operator"
    """The organization's alone."""
    TOKEN = "token"  # noqa: S105 - a word
    """Anybody's that is good, whatever its scopes."""
    APPLICATION = "application"
    """The organization's, and that of the application in the path."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request, its caller known and its body read."""

    services: Services
    principal: Principal
    path: Mapping[str, str]
    """The parts of the path that vary, by name."""
    url_path: str
    """The whole path without a trailing slash."""
    query: Query
    body: bytes
    idempotency_key: bytes | None
    """The header `idempotency-key`."""

    def once(self, render: Callable[[object], bytes]) -> Once | None:
        """What makes this POST happen once, None if the caller gave no key. InvalidError."""
        idempotency = self.idempotency()
        return None if idempotency is None else Once(idempotency, render)

    def once_of_caller(self, render: Callable[[object], bytes]) -> Once | None:
        """
        The same for this caller alone: the answer is a secret that another one may not repeat.

        Signed tokens of one organization are one caller only as far as they may do the same.
        """
        if self.idempotency_key is None:
            return None
        principal = self.principal
        scopes = "*" if principal.scopes is None else " ".join(sorted(principal.scopes))
        digest = digest_of(b"\0".join((self.body, principal.actor.encode(), scopes.encode())))
        idempotency = mark(principal.organization, self.url_path, self.idempotency_key, digest)
        return Once(idempotency, render)

    def idempotency(self) -> Idempotency | None:
        """The mark of this POST, None if the caller gave no key. InvalidError."""
        if self.idempotency_key is None:
            return None
        digest = digest_of(self.body)
        return mark(self.principal.organization, self.url_path, self.idempotency_key, digest)


Work: TypeAlias = Callable[[Call], Awaitable[Answer]]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path: who may, what it takes and what it does."""

    method: str
    path: str
    """As in `/api/v1/app/{app_id}`."""
    name: str
    """Such as `v1.application.create`."""
    summary: str
    """What it does, in one sentence, for the reference."""
    takes: type | None = None
    """The form of its body; None if it has none."""
    gives: Mapping[int, type | None] = {}
    """The form of its answer by status code, for what is not an error; None for no body."""
    access: Access
    scope: str | None = None
    """What an API key with scopes must have; None for what the name and the method tell."""
    makes_application: bool = False
    """Whether it may make the application that its path names."""
    work: Work
    query: tuple[str, ...] = ()
    """The parameters of its query string."""
    body_max: Callable[[Services], int] | None = None
    """The limit on its body; None for the general one."""
