"""Which application an endpoint belongs to, where a command names the endpoint alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketbell.cli.shell import path_of
from marketbell.errors import ForbiddenError, InvalidError, NotFoundError

if TYPE_CHECKING:
    from marketbell.cli.shell import Shell


def owner_of(shell: Shell, endpoint: str) -> str:
    """
    The id of the application that has an endpoint with this id.

    Looked for in the newest attempts, then from application to application. NotFoundError, and
    InvalidError for a uid or a token that may not look.
    """
    if not endpoint.startswith("ep_"):
        raise InvalidError(("app",), f"{endpoint!r} is a uid, of one application; give --app")
    try:
        newest = shell.get("/attempt", {"limit": 250, "with_content": "false"})["data"]
        for attempt in newest:
            if attempt["endpointId"] == endpoint:
                owner: str = attempt["appId"]
                return owner
        for page in shell.pages("/app"):
            for application in page:
                if _has(shell, application["id"], endpoint):
                    found: str = application["id"]
                    return found
    except ForbiddenError:
        raise InvalidError(("app",), "this token sees one application; give --app") from None
    raise NotFoundError(f"No application has the endpoint {endpoint}.")


def _has(shell: Shell, application: str, endpoint: str) -> bool:
    try:
        shell.get(path_of("app", application, "endpoint", endpoint))
    except NotFoundError:
        return False
    return True
