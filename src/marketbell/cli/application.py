"""`marketbell application`: applications, a seller's each, over the management API."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from marketbell.cli.asking import sure
from marketbell.cli.columns import APPLICATION, APPLICATIONS
from marketbell.cli.given import pairs_given
from marketbell.cli.parameters import All, AppRef, Limit, Metadata, RateLimit, Uid, Yes
from marketbell.cli.shell import Shell, given, in_shell, path_of
from marketbell.errors import InvalidError

Marketplace = Annotated[
    Literal["ovoko", "sellercenter"] | None,
    Parameter(help="Make it a seller of this marketplace, with a user of its API."),
]

application_app = App(
    name="application", help="Applications: one for each seller.", version_flags=()
)


@application_app.command
@in_shell
def create(
    shell: Shell,
    name: Annotated[str, Parameter(help="What people call it.")],
    *,
    uid: Uid = None,
    rate_limit: RateLimit = None,
    metadata: Metadata = (),
    get_if_exists: Annotated[
        bool, Parameter(negative="", help="Take the one that has the uid, if there is one.")
    ] = False,
    marketplace: Marketplace = None,
    user: Annotated[
        str | None, Parameter(help="With --marketplace, the name of the user of its API.")
    ] = None,
    db: Annotated[
        str | None,
        Parameter(help="With --marketplace and no server, the database that it is made in."),
    ] = None,
) -> int:
    """
    Make an application, and print its id.

    With --marketplace it is a seller there with a user of the marketplace's API, and what that
    user's calls carry is printed, this once. Where no server is named and none runs, both are
    made in the database file itself.
    """
    if marketplace is not None:
        if rate_limit is not None or metadata or get_if_exists:
            raise InvalidError(
                ("marketplace",),
                "a seller is made with --uid and --user alone; `marketbell application update`"
                " sets the rest",
            )
        if shell.elsewhere and db is not None:
            raise InvalidError(
                ("db",), "MARKETBELL_URL or --url names a server; leave that out, or --db"
            )
        from marketbell.cli.seller import make_seller

        return make_seller(
            marketplace,
            name,
            uid=uid,
            user=user,
            db=db,
            as_json=shell.as_json,
            environ=shell.environ,
        )
    if user is not None or db is not None:
        raise InvalidError(("marketplace",), "--user and --db go with --marketplace")
    body = given(
        name=name, uid=uid, rateLimit=rate_limit, metadata=pairs_given(metadata, "metadata")
    )
    query = {"get_if_exists": "true"} if get_if_exists else None
    return shell.made(shell.request("POST", "/app", body, query))


@application_app.command(name="list")
@in_shell
def list_applications(shell: Shell, *, limit: Limit = None, whole: All = False) -> int:
    """List applications, oldest first."""
    return shell.list("/app", APPLICATIONS, limit=limit, whole=whole, none="no applications")


@application_app.command
@in_shell
def get(shell: Shell, app: AppRef) -> int:
    """Show one application."""
    return shell.show(shell.get(path_of("app", app)), APPLICATION)


@application_app.command
@in_shell
def update(
    shell: Shell,
    app: AppRef,
    *,
    name: Annotated[str | None, Parameter(help="What people call it.")] = None,
    uid: Uid = None,
    rate_limit: RateLimit = None,
    metadata: Metadata = (),
    clear: Annotated[
        tuple[Literal["uid", "rate-limit"], ...],
        Parameter(negative="", help="Take this away; can be repeated."),
    ] = (),
) -> int:
    """Change what is given, and leave the rest. --metadata replaces all but the policy."""
    body = given(
        name=name, uid=uid, rateLimit=rate_limit, metadata=pairs_given(metadata, "metadata")
    )
    body |= dict.fromkeys(("rateLimit" if one == "rate-limit" else one for one in clear), None)
    if not body:
        raise InvalidError((), "there is nothing to change; give an option")
    return shell.show(shell.request("PATCH", path_of("app", app), body), APPLICATION)


@application_app.command
@in_shell
def delete(shell: Shell, app: AppRef, *, yes: Yes = False) -> int:
    """Delete an application with its endpoints; what waits to be delivered is cancelled."""
    if not sure(f"Delete the application {app} with all its endpoints?", yes=yes):
        return 1
    shell.request("DELETE", path_of("app", app))
    return shell.done({"deleted": app}, f"deleted {app}")
