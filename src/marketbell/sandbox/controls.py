"""`/sandbox/...`: the sandbox's controls over HTTP, JSON in and JSON out; never part of a server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from marketbell.api import problems
from marketbell.api.answers import Answer, answer_of
from marketbell.api.wire import Decoder, Nothing
from marketbell.errors import (
    ForbiddenError,
    MarketbellError,
    MoveRefusedError,
    NotFoundError,
    TooLargeError,
    TooSlowError,
)
from marketbell.marketplace.sellercenter.errors import ActionError
from marketbell.sandbox.act import Act, Done, do
from marketbell.sandbox.acts import ACTS
from marketbell.sandbox.overview import overview, things
from marketbell.sandbox.playing import play
from marketbell.sandbox.sandbox import Sandbox
from marketbell.sandbox.scenarios import scenario
from marketbell.sandbox.stage import SELLERS
from marketbell.sandbox.stream import rate_of

PREFIX: Final = "/sandbox"
BODY_MAX: Final = 64_000
BODY_S: Final = 10.0

_log = structlog.get_logger("marketbell.sandbox")

Work: TypeAlias = Callable[[Sandbox, bytes], Awaitable[Answer]]


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a control does."""

    method: str
    path: str
    purpose: str
    work: Work


class PlayIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which scenario is to be played."""

    scenario: str


class StreamIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the stream is to run."""

    rate: str | float = "1/s"
    seed: int | None = None
    """The sandbox's own if it is left out."""


class Told(msgspec.Struct, frozen=True, rename="camel"):
    """One event that an act has caused."""

    event_type: str
    payload: object


def happened(done: Done) -> dict[str, object]:
    """What an act came to, as it is shown."""
    return {
        **done.facts,
        "events": [Told(event.event_type, _payload(event.payload)) for event in done.events],
    }


def _payload(payload: object) -> object:
    return msgspec.Raw(payload) if isinstance(payload, bytes) else payload


async def _overview(sandbox: Sandbox, body: bytes) -> Answer:
    _nothing(body)
    return answer_of(await overview(sandbox))


async def _play(sandbox: Sandbox, body: bytes) -> Answer:
    chosen = scenario(_PLAY(body).scenario)
    played = await play(sandbox.stage, chosen)
    faults = [one for one in played if one.fault is not None]
    return answer_of({"scenario": chosen.name, "well": not faults, "steps": played})


async def _start_stream(sandbox: Sandbox, body: bytes) -> Answer:
    wish = _STREAM(body or b"{}")
    seed = sandbox.seed if wish.seed is None else wish.seed
    await sandbox.start_stream(rate_of(str(wish.rate)), seed)
    return answer_of(sandbox.flow)


async def _stop_stream(sandbox: Sandbox, body: bytes) -> Answer:
    _nothing(body)
    flow = sandbox.flow
    await sandbox.stop_stream()
    return answer_of({"happened": flow.happened if flow else 0})


def _things(marketplace: str) -> Work:
    async def work(sandbox: Sandbox, body: bytes) -> Answer:
        _nothing(body)
        return answer_of(await things(sandbox.stage, marketplace))

    return work


def _acting(act: type[Act]) -> Work:
    decode = Decoder(act)

    async def work(sandbox: Sandbox, body: bytes) -> Answer:
        return answer_of(happened(await do(sandbox.stage, decode(body or b"{}"))))

    return work


_PLAY: Final = Decoder(PlayIn)
_STREAM: Final = Decoder(StreamIn)
_NOTHING: Final = Decoder(Nothing)


def _nothing(body: bytes) -> None:
    if body:
        _NOTHING(body)


CONTROLS: Final[tuple[Control, ...]] = (
    Control(
        method="GET",
        path=PREFIX,
        purpose="What there is: clock, chaos, stream, sellers, acts and scenarios.",
        work=_overview,
    ),
    Control(
        method="POST",
        path=f"{PREFIX}/play",
        purpose="Plays a scenario and says whether each step told what it must.",
        work=_play,
    ),
    Control(
        method="POST",
        path=f"{PREFIX}/stream",
        purpose="Starts the stream from its seed's beginning.",
        work=_start_stream,
    ),
    Control(
        method="DELETE",
        path=f"{PREFIX}/stream",
        purpose="Stops the stream.",
        work=_stop_stream,
    ),
    *(
        Control(
            method="GET",
            path=f"{PREFIX}/{marketplace}",
            purpose="The newest things of this marketplace's seller.",
            work=_things(marketplace),
        )
        for marketplace in SELLERS
    ),
    *(
        Control(
            method="POST",
            path=f"{PREFIX}/{marketplace}/{name}",
            purpose=(act.__doc__ or "").strip(),
            work=_acting(act),
        )
        for (marketplace, name), act in ACTS.items()
    ),
)
"""Every control. They are there in a sandbox only."""


def routes(sandbox: Sandbox) -> list[Route]:
    """A route for each path, and one for all others below `/sandbox`."""
    by_path = itertools.groupby(
        sorted(CONTROLS, key=lambda control: control.path), key=lambda control: control.path
    )
    made = [
        Route(path, _Desk(sandbox, {one.method: one.work for one in own})) for path, own in by_path
    ]
    return [*made, Route(PREFIX + "/{rest:path}", _Desk(sandbox, {}))]


class _Desk:
    """One path as an ASGI application, for every method."""

    def __init__(self, sandbox: Sandbox, works: Mapping[str, Work]) -> None:
        self._sandbox = sandbox
        self._works = works

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except ClientDisconnect:
            return
        headers = {name.decode(): value.decode() for name, value in answer.headers}
        response = Response(
            answer.body,
            answer.status,
            {**headers, "cache-control": "no-store"},
            media_type="application/json",
        )
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Answer:
        if not self._works:
            return problems.problem(
                NotFoundError("There is no such control; GET /sandbox lists them.")
            )
        work = self._works.get(request.method)
        if work is None:
            return problems.not_allowed(tuple(self._works))
        try:
            _refuse_pages(request)
            return await work(self._sandbox, await _body(request))
        except MarketbellError as fault:
            return _problem(fault)
        except ClientDisconnect:
            raise
        except Exception:
            _log.exception("a control of the sandbox failed", path=request.url.path)
            return problems.server_error()


def _problem(fault: MarketbellError) -> Answer:
    """The answer to an error; what a life cycle or the Action API refuses is a conflict."""
    if isinstance(fault, MoveRefusedError | ActionError):
        said = problems.Problem(MoveRefusedError.code, fault.detail)
        return Answer(409, msgspec.json.encode(said))
    return problems.problem(fault)


def _refuse_pages(request: Request) -> None:
    """A page of another site in somebody's browser must not act here: nobody logs in."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ForbiddenError("A page of another site cannot use the sandbox's controls.")


async def _body(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                size += len(part)
                if size > BODY_MAX:
                    raise TooLargeError(("body",), f"The body has more than {BODY_MAX} bytes")
                parts.append(part)
    except TimeoutError:
        raise TooSlowError(("body",), "The body did not come in time") from None
    return b"".join(parts)
