"""`marketbell token`: tokens for the management API."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter

from marketbell.cli.options import JsonFlag, settings_of
from marketbell.settings import ensure_secrets

DEFAULT_ORGANIZATION: Final = "org_23rb8YdGqMT0qIzpgGwdXfHirMu"
"""Whose token it is when none is named; the one that Svix's own server has."""

token_app = App(name="token", help="Tokens for the management API.")


@token_app.command
def create(
    *,
    org: Annotated[
        str, Parameter(help="The organization, such as org_shop; a new one needs nothing else.")
    ] = DEFAULT_ORGANIZATION,
    app: Annotated[
        str | None, Parameter(help="Good for this application only, by its id app_...")
    ] = None,
    ttl: Annotated[
        str | None, Parameter(help="How long it is good for; the setting token_ttl if left out.")
    ] = None,
    db: Annotated[
        str | None, Parameter(help="The server's database, whose secrets file signs the token.")
    ] = None,
    config: Annotated[Path | None, Parameter(help="The server's TOML file of settings.")] = None,
    json: JsonFlag = False,
) -> int:
    """
    Print a token for the management API; the last line is the bare token.

    Signed with jwt_secret, or with the secrets file beside the SQLite database, which is made
    if there is no database yet. The server need not run.
    """
    from marketbell.control.tokens import create_token

    settings = settings_of({"db": db, "token_ttl": ttl}, config)
    if not settings.jwt_secret:
        settings = ensure_secrets(settings)
    now = time.time_ns() // 1_000_000
    token = create_token(settings.jwt_secret, org, now, settings.token_ttl, app)
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((now + settings.token_ttl) // 1000))
    if json:
        facts = {"token": token, "org": org, "app": app, "expires": expires}
        print(msgspec.json.encode(facts).decode())
        return 0
    print(f"# {app or org}, until {expires}")
    print(token)
    return 0
