"""`marketbell token`: tokens and API keys for the management API, made, listed and revoked."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter

from marketbell.cli.asking import sure
from marketbell.cli.columns import KEYS
from marketbell.cli.credentials import DEFAULT_ORGANIZATION, Credentials, Key, with_credentials
from marketbell.cli.options import JsonFlag, settings_of
from marketbell.cli.parameters import Yes
from marketbell.cli.tables import pages_of, print_table
from marketbell.errors import InvalidError
from marketbell.settings import SETTINGS, BadValueError, read_duration

_KEY_LENGTH: Final = 31
"""Of `mbk_` and 27 characters; a whole key goes on after them."""

token_app = App(name="token", help="Tokens and API keys for the management API.")

Database = Annotated[
    str | None, Parameter(help="The server's database, with the secrets file beside it.")
]
Config = Annotated[Path | None, Parameter(help="The server's TOML file of settings.")]
Organization = Annotated[
    str | None,
    Parameter(help="The organization, such as org_shop; MARKETBELL_TOKEN's own if that is given."),
]


@token_app.command
def create(
    *,
    org: Annotated[
        str, Parameter(help="The organization, such as org_shop; a new one needs nothing else.")
    ] = DEFAULT_ORGANIZATION,
    app: Annotated[
        str | None,
        Parameter(help="Good for this application only, by its id app_...; of a key also by uid."),
    ] = None,
    ttl: Annotated[
        str | None,
        Parameter(help="How long it is good for; token_ttl if left out, and a key for ever."),
    ] = None,
    name: Annotated[
        str | None, Parameter(help="Make a revocable API key of this name, not a signed token.")
    ] = None,
    scope: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="What the key may do, such as message:write; can be repeated. All if left out.",
        ),
    ] = (),
    db: Database = None,
    config: Config = None,
    json: JsonFlag = False,
) -> int:
    """
    Print a token for the management API; the last line is the bare token.

    Signed with jwt_secret, or with the secrets file beside the SQLite database, which is made
    if there is no database yet; the server need not run. With --name or --scope it is an API key:
    made on the server at MARKETBELL_URL, or in the database if no server has it.
    """
    settings = settings_of({"db": db}, config)
    good_for = settings.token_ttl if ttl is None else _good_for(ttl)
    if name is not None or scope:
        body = _key_wanted(name, scope, app, None if ttl is None else good_for // 1000)
        key = with_credentials(
            settings,
            org,
            os.environ,
            lambda where: where.create(body),
            # There is no application in a database that is not there.
            makes=app is None,
        )
        return _print_key(key, as_json=json)
    from marketbell.cli.credentials import signed

    now = time.time_ns() // 1_000_000
    token = signed(settings, org, now, good_for, app)
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((now + good_for) // 1000))
    if json:
        facts = {"token": token, "org": org, "app": app, "expires": expires}
        print(msgspec.json.encode(facts).decode())
        return 0
    print(f"# {app or org}, until {expires}")
    print(token)
    return 0


@token_app.command(name="list")
def list_keys(
    *,
    org: Organization = None,
    db: Database = None,
    config: Config = None,
    json: JsonFlag = False,
) -> int:
    """
    List the API keys of an organization, without their secrets.

    Signed tokens are not listed: nobody keeps them. Ended keys are there for 90 days.
    """
    settings = settings_of({"db": db}, config)
    keys = with_credentials(settings, org, os.environ, lambda where: where.all(), makes=False)
    if json:
        print(msgspec.json.encode(keys).decode())
        return 0
    print_table(KEYS, pages_of(keys), "There are no API keys.")
    return 0


@token_app.command
def revoke(
    key: Annotated[str | None, Parameter(help="The key, by its id mbk_... or whole.")] = None,
    *,
    org: Annotated[
        str | None,
        Parameter(
            help="Revoke every token and key of this organization; with a key or --app, whose it is."
        ),
    ] = None,
    app: Annotated[
        str | None, Parameter(help="Revoke every token and key of this application, by id or uid.")
    ] = None,
    after: Annotated[
        str | None,
        Parameter(help="How long they are still good, such as 1h; not at all if left out."),
    ] = None,
    yes: Yes = False,
    db: Database = None,
    config: Config = None,
    json: JsonFlag = False,
) -> int:
    """
    Revoke an API key, or everything of an application or an organization that was made before now.

    In force at once, and for good: what is revoked is answered 401.
    """
    if key is not None and app is not None:
        raise InvalidError(("app",), "give a key or --app, not both")
    if key is None and app is None and org is None:
        raise InvalidError(("key",), "name a key, --app or --org")
    if key is not None and key.startswith("eyJ"):
        raise InvalidError(
            ("key",),
            "this is a signed token, not an API key; POST /api/v1/auth/logout with it ends it,"
            " and --app or --org all of one application or organization",
        )
    after_s = _seconds(after)
    what = f"the key {key[:_KEY_LENGTH]}" if key is not None else f"every key of {app or org}"
    if not sure(f"Revoke {what} for good?", yes=yes):
        return 1
    what = app or org or ""

    def end(where: Credentials) -> None:
        if key is not None:
            where.revoke(key[:_KEY_LENGTH], after_s)
        else:
            where.revoke_all(app, after_s)

    with_credentials(settings_of({"db": db}, config), org, os.environ, end, makes=False)
    what = key[:_KEY_LENGTH] if key is not None else what
    if json:
        print(msgspec.json.encode({"revoked": what, "after": after_s}).decode())
    else:
        print(f"revoked {what}" + (f", in force in {after_s} s" if after_s else ""))
    return 0


def _key_wanted(
    name: str | None, scopes: tuple[str, ...], app: str | None, expiry_s: int | None
) -> dict[str, object]:
    """The body that asks for a key: what was not said is not in it."""
    body: dict[str, object] = {"name": name or "made on the command line"}
    if scopes:
        body["scopes"] = list(scopes)
    if app is not None:
        body["appId"] = app
    if expiry_s is not None:
        body["expiry"] = expiry_s
    return body


def _good_for(ttl: str) -> int:
    try:
        SETTINGS["token_ttl"].read(ttl)
        return read_duration(ttl)
    except BadValueError as fault:
        raise InvalidError(("ttl",), str(fault)) from None


def _seconds(after: str | None) -> int:
    try:
        return 0 if after is None else read_duration(after) // 1000
    except BadValueError as fault:
        raise InvalidError(("after",), str(fault)) from None


def _print_key(key: Key, *, as_json: bool) -> int:
    if as_json:
        print(msgspec.json.encode(key).decode())
        return 0
    scopes = "everything" if key["scopes"] is None else " ".join(key["scopes"])
    print(f"# {key['name']}, {key['id']}, may: {scopes}, until {key['expiresAt'] or 'revoked'}")
    print(key["token"])
    return 0
