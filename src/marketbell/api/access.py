"""Who may do what: one row for each operation, made from it, that both the check and the tests read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

from marketbell.api.call import Access, Operation
from marketbell.control.scopes import SCOPES, require, scope_of
from marketbell.control.tokens import Principal
from marketbell.errors import ForbiddenError

OPERATOR: Final = "operator"
APPLICATION: Final = "application"
ROLES: Final = (OPERATOR, APPLICATION, *SCOPES)
"""An operator's token, an application's token, and an operator's key with one scope."""


class Rule(msgspec.Struct, frozen=True):
    """Who may call one operation."""

    access: Access
    scope: str | None
    """What a caller with scopes must have; None if that does not matter."""

    @property
    def roles(self) -> frozenset[str]:
        """Of ROLES, those that may; an application's token on what is its own."""
        if self.access is Access.NOBODY:
            return frozenset(ROLES)
        roles = {OPERATOR, *(SCOPES if self.scope is None else (self.scope,))}
        if self.access is not Access.OPERATOR:
            roles.add(APPLICATION)
        return frozenset(roles)

    def check(self, principal: Principal) -> None:
        """Return if the caller may; else raise ForbiddenError."""
        if principal.application is not None and self.access is Access.OPERATOR:
            raise ForbiddenError(
                "This token is for one application; this takes the organization's token."
            )
        if principal.scopes is not None and self.scope is not None:
            require(principal, self.scope)


Table: TypeAlias = Mapping[tuple[str, str], Rule]
"""Rules by method and path."""


def rule_of(operation: Operation) -> Rule:
    """The rule of one operation: its own scope, or the one that its name and method tell."""
    if operation.access in {Access.NOBODY, Access.TOKEN}:
        return Rule(operation.access, None)
    scope = operation.scope or scope_of(operation.name, operation.method)
    if scope not in SCOPES:
        raise ValueError(f"{operation.name}: {scope} is no scope")
    return Rule(operation.access, scope)


def table_of(operations: Iterable[Operation]) -> Table:
    """The whole table."""
    return {(one.method, one.path): rule_of(one) for one in operations}
