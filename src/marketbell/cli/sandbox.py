"""`marketbell sandbox`: a sandbox of both marketplaces started, and things let happen in it."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from marketbell.cli.exits import SETTINGS_EPILOGUE, Exit
from marketbell.cli.options import JsonFlag
from marketbell.cli.sandbox_client import called, told
from marketbell.cli.tables import field, pages_of, print_table, prose
from marketbell.errors import InvalidError

sandbox_app = App(
    name="sandbox",
    help="Both marketplaces, alive, to test a seller's software with. The running one is found"
    " at MARKETBELL_SANDBOX_URL, else at http://127.0.0.1:8090.",
    version_flags=(),
)
sandbox_app.command(
    "marketbell.cli.sandbox_start:start",
    name="start",
    help="Serve both marketplaces, alive, until stopped.",
    help_epilogue=SETTINGS_EPILOGUE,
)

Where = Annotated[
    Literal["ovoko", "sellercenter"], Parameter(name=("--marketplace", "-m"), help="Which one.")
]
Order = Annotated[int | None, Parameter(help="The order; the newest that can, if left out.")]


@sandbox_app.command
def play(
    scenario: Annotated[str, Parameter(help="Its name; `marketbell sandbox list` shows all.")],
    *,
    json: JsonFlag = False,
) -> int:
    """
    Play a scenario, and check that each step tells exactly what it must.

    Exit code 1 if a step goes another way.
    """
    answer = called("POST", "/play", {"scenario": scenario})
    if json:
        print(jsonlib.dumps(answer))
        return Exit.OK if answer["well"] else Exit.FAILED
    for step in answer["steps"]:
        print(f"{step['marketplace']:13} {step['act']:14} {', '.join(step['told']) or '-'}")
        if step.get("fault"):
            print(f"{'':13} {'':14} FAULT: {step['fault']}")
        elif "refused" in step["facts"]:
            print(f"{'':13} {'':14} refused, as it must be: {step['facts']['refused']}")
    print(f"{answer['scenario']}: {'as it must be' if answer['well'] else 'NOT as it must be'}")
    return Exit.OK if answer["well"] else Exit.FAILED


@sandbox_app.command(name="list")
def list_things(
    marketplace: Annotated[
        Literal["ovoko", "sellercenter"] | None,
        Parameter(help="The newest things of this one's seller; scenarios and acts if left out."),
    ] = None,
    *,
    json: JsonFlag = False,
) -> int:
    """List scenarios and acts, or what the seller of a marketplace has."""
    if marketplace is not None:
        things = called("GET", f"/{marketplace}")
        if json:
            print(jsonlib.dumps(things))
            return Exit.OK
        shown = (
            field("Kind", "kind"),
            field("Id", "id"),
            field("Status", "status"),
            prose("Key", "key"),
        )
        rows = [{"kind": kind, **thing} for kind, found in things.items() for thing in found]
        print_table(shown, pages_of(rows), "There is nothing yet.")
        return Exit.OK
    answer = called("GET", "")
    if json:
        print(jsonlib.dumps(answer))
        return Exit.OK
    scenarios = [{"name": name, "tells": tells} for name, tells in answer["scenarios"].items()]
    print_table((field("Scenario", "name"), prose("Tells", "tells")), pages_of(scenarios), "")
    print()
    acts = [
        {"where": where, "name": name, "does": act["does"]}
        for act in answer["acts"]
        for _, _, where, name in [act["path"].split("/")]
    ]
    columns = (field("Marketplace", "where"), field("Act", "name"), prose("Does", "does"))
    print_table(columns, pages_of(acts), "")
    return Exit.OK


@sandbox_app.command
def buy(
    *,
    marketplace: Where = "ovoko",
    count: Annotated[int, Parameter(help="How many parts or items.")] = 1,
    json: JsonFlag = False,
) -> int:
    """Let a buyer place an order."""
    return _done(marketplace, "buy", {"count": count}, as_json=json)


@sandbox_app.command
def cancel(order: Order = None, *, marketplace: Where = "ovoko", json: JsonFlag = False) -> int:
    """Let a buyer cancel an order."""
    return _done(marketplace, "cancel", {"order_id": order}, as_json=json)


@sandbox_app.command
def deliver(order: Order = None, *, marketplace: Where = "ovoko", json: JsonFlag = False) -> int:
    """Let the courier bring an order to its buyer."""
    return _done(marketplace, "deliver", {"order_id": order}, as_json=json)


@sandbox_app.command(name="fail-delivery")
def fail_delivery(order: Order = None, *, json: JsonFlag = False) -> int:
    """Let the courier of Seller Center give up on an order."""
    return _done("sellercenter", "fail-delivery", {"order_id": order}, as_json=json)


@sandbox_app.command(name="return")
def open_return(
    order: Order = None, *, marketplace: Where = "ovoko", json: JsonFlag = False
) -> int:
    """Let a buyer open a return, or a further part join it; at Seller Center, hand the goods in."""
    return _done(marketplace, "return", {"order_id": order}, as_json=json)


@sandbox_app.command
def receive(
    number: Annotated[
        int | None, Parameter(help="The return at Ovoko, the order at Seller Center.")
    ] = None,
    *,
    marketplace: Where = "ovoko",
    json: JsonFlag = False,
) -> int:
    """Let what comes back reach the seller."""
    name = "return_id" if marketplace == "ovoko" else "order_id"
    return _done(marketplace, "receive", {name: number}, as_json=json)


@sandbox_app.command
def part(
    move: Annotated[
        Literal[
            "accept",
            "write-off",
            "reserve",
            "release",
            "sell",
            "sell-in-ebay",
            "sell-in-allegro",
            "lose-track",
            "find",
        ],
        Parameter(help="What happens to it."),
    ],
    number: Annotated[int | None, Parameter(help="The part; one that can, if left out.")] = None,
    *,
    json: JsonFlag = False,
) -> int:
    """Let the status of a part at Ovoko change."""
    return _done("ovoko", "part", {"move": move, "part_id": number}, as_json=json)


@sandbox_app.command
def feed(
    what: Annotated[
        Literal["queue", "start", "finish", "fail", "cancel"],
        Parameter(help="queue makes a new one."),
    ],
    uuid: Annotated[
        str | None, Parameter(help="Which feed; the newest that can, if left out.")
    ] = None,
    *,
    action: Annotated[
        Literal["ProductCreate", "ProductUpdate", "ProductRemove", "Image"],
        Parameter(help="What a new one is for."),
    ] = "ProductCreate",
    json: JsonFlag = False,
) -> int:
    """Queue, start, finish, fail or cancel a feed at Seller Center."""
    if what == "queue":
        return _done("sellercenter", "feed", {"feed": uuid, "action": action}, as_json=json)
    return _done("sellercenter", f"feed-{what}", {"feed": uuid}, as_json=json)


@sandbox_app.command
def qc(
    status: Annotated[
        Literal["approved", "rejected", "pending"], Parameter(help="Its new word.")
    ] = "approved",
    sku: Annotated[tuple[str, ...], Parameter(help="Of which products.", negative="")] = (),
    *,
    json: JsonFlag = False,
) -> int:
    """Let quality control change its mind about products."""
    return _done("sellercenter", "qc", {"status": status, "skus": sku or None}, as_json=json)


@sandbox_app.command
def act(
    marketplace: Annotated[Literal["ovoko", "sellercenter"], Parameter(help="Where.")],
    name: Annotated[str, Parameter(help="The act's name; `marketbell sandbox list` shows all.")],
    fields: Annotated[
        tuple[str, ...],
        Parameter(help="What it takes, as FIELD=VALUE; a value is JSON, else a text.", negative=""),
    ] = (),
    *,
    json: JsonFlag = False,
) -> int:
    """Let anything happen that there is a control for."""
    given: dict[str, object] = {}
    for one in fields:
        key, found, value = one.partition("=")
        if not found:
            raise InvalidError(("fields",), f"{one[:64]!r} is not FIELD=VALUE")
        try:
            given[key] = jsonlib.loads(value)
        except ValueError:
            given[key] = value
    return _done(marketplace, name, given, as_json=json)


@sandbox_app.command
def stream(
    rate: Annotated[str, Parameter(help="Acts a second, such as 5/s or 30/m; 0 stops it.")],
    *,
    seed: Annotated[int | None, Parameter(help="The sandbox's own if left out.")] = None,
    json: JsonFlag = False,
) -> int:
    """Let a steady stream of things happen, or stop it."""
    answer: Any
    if rate == "0":
        answer = called("DELETE", "/stream")
        said = f"stopped; {answer['happened']} acts have happened"
    else:
        answer = called("POST", "/stream", {"rate": rate, "seed": seed})
        said = f"{answer['rate']:g} acts a second from the seed {answer['seed']}"
    print(jsonlib.dumps(answer) if json else said)
    return Exit.OK


def _done(marketplace: str, name: str, fields: Mapping[str, object], *, as_json: bool) -> int:
    given = {key: value for key, value in fields.items() if value is not None}
    answer = called("POST", f"/{marketplace}/{name}", given)
    print(jsonlib.dumps(answer) if as_json else told(answer))
    return Exit.OK
