"""Which application an endpoint belongs to, where a command names the endpoint alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketbell.cli.shell import path_of
from marketbell.errors import ForbiddenError, InvalidError

if TYPE_CHECKING:
    from marketbell.cli.shell import Shell


def owner_of(shell: Shell, endpoint: str) -> str:
    """
    The id of the application that has an endpoint with this id.

    NotFoundError, and InvalidError for a uid or a token that may not look.
    """
    if not endpoint.startswith("ep_"):
        raise InvalidError(("app",), f"{endpoint!r} is a uid, of one application; give --app")
    try:
        owner: str = shell.get(path_of("endpoint", endpoint))["appId"]
    except ForbiddenError:
        raise InvalidError(
            ("app",), "this token may not look for an endpoint's application; give --app"
        ) from None
    return owner
