"""`marketbell endpoint`: endpoints of an application over the management API."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from marketbell.cli.asking import sure
from marketbell.cli.columns import ENDPOINT, ENDPOINTS, MESSAGE
from marketbell.cli.given import json_given, pairs_given, text_given
from marketbell.cli.moments import moment_of, seconds_of
from marketbell.cli.parameters import (
    All,
    AppRef,
    EndpointRef,
    Limit,
    Metadata,
    NoWait,
    RateLimit,
    Since,
    TypeName,
    Uid,
    Until,
    Yes,
)
from marketbell.cli.shell import Shell, given, in_shell, path_of
from marketbell.cli.tables import Column, field
from marketbell.errors import InvalidError

endpoint_app = App(
    name="endpoint", help="Endpoints: where an application's messages go.", version_flags=()
)

Filter = Annotated[
    tuple[str, ...],
    Parameter(
        name="--event-type",
        negative="",
        help="It gets only this event type; can be repeated. All if left out.",
    ),
]
Channels = Annotated[
    tuple[str, ...],
    Parameter(
        name="--channel", negative="", help="It gets only what has this channel; can be repeated."
    ),
]
Description = Annotated[str | None, Parameter(help="What people should know of it.")]
Disabled = Annotated[
    bool | None, Parameter(help="Whether it gets no new messages; --no-disabled enables it.")
]
Headers = Annotated[
    tuple[str, ...],
    Parameter(name="--header", negative="", help="'Name: value' to send; can be repeated."),
]
Secret = Annotated[str | None, Parameter(help="The signing secret itself; @file, or - for stdin.")]
KeyType = Annotated[
    Literal["hmac256", "ed25519"] | None, Parameter(help="What is made if no secret is given.")
]

_CLEARED: Final = {
    "uid": "uid",
    "rate-limit": "rateLimit",
    "event-type": "filterTypes",
    "channel": "channels",
}
_STATS: Final = (
    Column("Success", lambda one: one["deliveries"]["success"]),
    Column("Pending", lambda one: one["deliveries"]["pending"]),
    Column("Sending", lambda one: one["deliveries"]["sending"]),
    Column("Fail", lambda one: one["deliveries"]["fail"]),
    Column("Canceled", lambda one: one["deliveries"]["canceled"]),
    Column("Attempts accepted", lambda one: one["attempts"]["success"]),
    Column("Attempts refused", lambda one: one["attempts"]["fail"]),
)


@endpoint_app.command
@in_shell
def create(
    shell: Shell,
    app: AppRef,
    address: Annotated[str, Parameter(help="The receiver's URL.")],
    *,
    uid: Uid = None,
    description: Description = None,
    event_types: Filter = (),
    channels: Channels = (),
    headers: Headers = (),
    rate_limit: RateLimit = None,
    metadata: Metadata = (),
    secret: Secret = None,
    key_type: KeyType = None,
    disabled: Disabled = None,
) -> int:
    """Make an endpoint with a secret, and print its id."""
    body = given(
        url=address,
        uid=uid,
        description=description,
        filterTypes=list(event_types) or None,
        channels=list(channels) or None,
        headers=pairs_given(headers, "header", ":"),
        rateLimit=rate_limit,
        metadata=pairs_given(metadata, "metadata"),
        secret=None if secret is None else text_given(secret, "secret").strip(),
        keyType=key_type,
        disabled=disabled,
    )
    return shell.made(shell.post(path_of("app", app, "endpoint"), body))


@endpoint_app.command(name="list")
@in_shell
def list_endpoints(shell: Shell, app: AppRef, *, limit: Limit = None, whole: All = False) -> int:
    """List an application's endpoints, oldest first."""
    path = path_of("app", app, "endpoint")
    return shell.list(path, ENDPOINTS, limit=limit, whole=whole, none="no endpoints")


@endpoint_app.command
@in_shell
def get(shell: Shell, app: AppRef, endpoint: EndpointRef) -> int:
    """Show one endpoint."""
    return shell.show(shell.get(_path(app, endpoint)), ENDPOINT)


@endpoint_app.command
@in_shell
def update(
    shell: Shell,
    app: AppRef,
    endpoint: EndpointRef,
    *,
    address: Annotated[str | None, Parameter(help="The receiver's URL.")] = None,
    uid: Uid = None,
    description: Description = None,
    event_types: Filter = (),
    channels: Channels = (),
    rate_limit: RateLimit = None,
    metadata: Metadata = (),
    disabled: Disabled = None,
    clear: Annotated[
        tuple[Literal["uid", "rate-limit", "event-type", "channel"], ...],
        Parameter(negative="", help="Take this away; can be repeated."),
    ] = (),
) -> int:
    """Change what is given, and leave the rest. --metadata replaces all but the policy."""
    body = given(
        url=address,
        uid=uid,
        description=description,
        filterTypes=list(event_types) or None,
        channels=list(channels) or None,
        rateLimit=rate_limit,
        metadata=pairs_given(metadata, "metadata"),
        disabled=disabled,
    )
    body |= dict.fromkeys((_CLEARED[one] for one in clear), None)
    if not body:
        raise InvalidError((), "there is nothing to change; give an option")
    return shell.show(shell.request("PATCH", _path(app, endpoint), body), ENDPOINT)


@endpoint_app.command
@in_shell
def delete(shell: Shell, app: AppRef, endpoint: EndpointRef, *, yes: Yes = False) -> int:
    """Delete an endpoint; what waits to be delivered to it is cancelled."""
    if not sure(f"Delete the endpoint {endpoint} of {app}?", yes=yes):
        return 1
    shell.request("DELETE", _path(app, endpoint))
    return shell.done({"deleted": endpoint}, f"deleted {endpoint}")


@endpoint_app.command
@in_shell
def secret(shell: Shell, app: AppRef, endpoint: EndpointRef) -> int:
    """Print the signing secret; of an ed25519 pair the public half."""
    return shell.made(shell.get(f"{_path(app, endpoint)}/secret"), "key")


@endpoint_app.command
@in_shell
def rotate_secret(
    shell: Shell,
    app: AppRef,
    endpoint: EndpointRef,
    *,
    secret: Secret = None,
    key_type: KeyType = None,
    grace: Annotated[
        str | None,
        Parameter(help="How long the old one signs along: 90s, 2h, 7d; a day if left out."),
    ] = None,
) -> int:
    """Make a new secret, and print it; the old one signs along for a while."""
    body = given(
        key=None if secret is None else text_given(secret, "secret").strip(),
        keyType=key_type,
        gracePeriodSeconds=None if grace is None else seconds_of(grace, "grace"),
    )
    return shell.made(shell.post(f"{_path(app, endpoint)}/secret/rotate", body), "key")


@endpoint_app.command
@in_shell
def headers(
    shell: Shell,
    app: AppRef,
    endpoint: EndpointRef,
    *,
    set_headers: Annotated[
        tuple[str, ...],
        Parameter(name="--set", negative="", help="'Name: value' to send; can be repeated."),
    ] = (),
    remove: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="The name of one to send no longer; can be repeated."),
    ] = (),
) -> int:
    """Show the endpoint's own headers, after changing some if asked to."""
    path = f"{_path(app, endpoint)}/headers"
    changes = given(
        headers=pairs_given(set_headers, "set", ":"), deleteHeaders=list(remove) or None
    )
    if changes:
        shell.request("PATCH", path, {"headers": {}, **changes})
    return shell.show(shell.get(path), (field("Headers", "headers"), field("Hidden", "sensitive")))


@endpoint_app.command
@in_shell
def pause(shell: Shell, app: AppRef, endpoint: EndpointRef) -> int:
    """Hold what there is to send to it and what comes, until `resume`."""
    shell.post(f"{_path(app, endpoint)}/pause")
    return shell.done({"paused": endpoint}, f"paused {endpoint}")


@endpoint_app.command
@in_shell
def resume(shell: Shell, app: AppRef, endpoint: EndpointRef) -> int:
    """Let everything that was held go on at once."""
    shell.post(f"{_path(app, endpoint)}/resume")
    return shell.done({"resumed": endpoint}, f"resumed {endpoint}")


@endpoint_app.command
@in_shell
def stats(
    shell: Shell,
    app: AppRef,
    endpoint: EndpointRef,
    *,
    since: Since = None,
    until: Until = None,
) -> int:
    """Count how its deliveries stand and how its attempts went."""
    query = {
        "since": None if since is None else moment_of(since, "since"),
        "until": None if until is None else moment_of(until, "until"),
    }
    figures = {
        "deliveries": shell.get(f"{_path(app, endpoint)}/stats", query),
        "attempts": shell.get(f"{_path(app, endpoint)}/attempt-stats", query),
    }
    return shell.show(figures, _STATS)


@endpoint_app.command
@in_shell
def send_example(
    shell: Shell,
    app: AppRef,
    endpoint: EndpointRef,
    event_type: TypeName,
    *,
    index: Annotated[int | None, Parameter(help="Which of its examples, from 0.")] = None,
    payload: Annotated[
        str | None, Parameter(help="Send this instead: a JSON object, @file, or - for stdin.")
    ] = None,
) -> int:
    """Send an example of an event type to this endpoint alone, whatever its filters."""
    body = given(
        eventType=event_type,
        exampleIndex=index,
        payload=None if payload is None else json_given(payload, "payload")[1],
    )
    message = shell.post(f"{_path(app, endpoint)}/send-example", body)
    return shell.show(message, MESSAGE)


@endpoint_app.command
@in_shell
def recover(
    shell: Shell,
    app: AppRef,
    endpoint: EndpointRef,
    *,
    since: Annotated[str, Parameter(help="From then on: 2h, 7d, or 2026-11-21T09:30:00Z.")],
    until: Until = None,
    no_wait: NoWait = False,
) -> int:
    """
    Send again what failed in a time, and what was missed while it was disabled.

    A background task does it; this waits until it has ended, and shows how far it is.
    """
    from marketbell.cli.following import begin

    body = given(
        since=moment_of(since, "since"),
        until=None if until is None else moment_of(until, "until"),
    )
    return begin(shell, f"{_path(app, endpoint)}/recover", body, wait=not no_wait)


def _path(app: str, endpoint: str) -> str:
    return path_of("app", app, "endpoint", endpoint)
