"""The Action API over HTTP: one path, every action named in the query."""

from __future__ import annotations

import asyncio
from typing import Final
from xml.etree.ElementTree import Element as Posted

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from marketbell.clock import Clock, SystemClock
from marketbell.control.sellers import SELLER_CENTER
from marketbell.control.services import Services
from marketbell.errors import MarketbellError, MoveRefusedError, NotFoundError
from marketbell.marketplace.ledger import Ledger
from marketbell.marketplace.sellercenter import envelope, signature, times
from marketbell.marketplace.sellercenter.actions.call import Action, Call
from marketbell.marketplace.sellercenter.actions.table import ACTIONS
from marketbell.marketplace.sellercenter.envelope import Format, Success
from marketbell.marketplace.sellercenter.errors import ActionError
from marketbell.marketplace.sellercenter.requests import read_request
from marketbell.marketplace.sellercenter.seller import Seller
from marketbell.model import Application, Instant

PATH: Final = "/"

BODY_S: Final = 60.0
"""Seconds in which a body must have come whole."""

_ALOUD: Final = 64 * 1024
"""Bodies above this are parsed in a thread, so that others are served meanwhile."""
_SHOWN: Final = 64
_NOBODYS_KEY: Final = "0" * 40

_log = structlog.get_logger("marketbell.sellercenter")


def routes(services: Services, ledger: Ledger) -> tuple[BaseRoute, ...]:
    """The one route of the Action API, for any method: what is wrong with a call is told inside."""
    return (Route(PATH, ActionApi(services, ledger)),)


class ActionApi:
    """
    An ASGI application that answers every call with HTTP status 200 and an envelope.

    A call is signed by a seller's user; all that it sees and does is that seller's alone.
    """

    def __init__(self, services: Services, ledger: Ledger) -> None:
        self._services = services
        self._ledger = ledger
        self._zone = times.zone_of(services.settings.sellercenter_zone)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        try:
            response = await self._response(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        name, form = "", Format.XML
        try:
            parameters = signature.read_query(request.scope["query_string"])
            name = parameters.get("Action", "")
            form = _format(parameters)
            root = await self._done(request, parameters)
        except ActionError as fault:
            root = envelope.failure(name[:_SHOWN], fault)
        except MoveRefusedError as fault:
            root = envelope.failure(name[:_SHOWN], ActionError(1000, fault.detail))
        except ClientDisconnect:
            raise
        except Exception as fault:
            detail = fault.detail if isinstance(fault, MarketbellError) else type(fault).__name__
            _log.exception("action failed", action=name[:_SHOWN], reason=detail)
            root = envelope.failure(name[:_SHOWN], ActionError(6))
        return Response(
            envelope.write(root, form),
            headers={
                "content-type": form.content_type,
                "cache-control": "no-store",
                "x-content-type-options": "nosniff",
            },
        )

    async def _done(self, request: Request, parameters: dict[str, str]) -> envelope.Element:
        action = _action(parameters, request.method)
        application = await self._application(parameters)
        posted = await self._posted(request) if action.takes_body else None
        seller = Seller(services=self._services, ledger=self._ledger, application=application)
        answer: Success = await action.work(
            Call(
                seller=seller,
                parameters=parameters,
                posted=posted,
                zone=self._zone,
            )
        )
        now = times.head_time(self._services.clock.now(), self._zone)
        return envelope.success(action.name, answer, now)

    async def _application(self, parameters: dict[str, str]) -> Application:
        """Whose user signed this, and not too long ago. ActionError 3, 4, 7."""
        at = times.read_timestamp(parameters["Timestamp"])
        if at is None:
            raise ActionError(4)
        window = self._services.settings.sellercenter_window
        if not times.is_current(at, _callers_now(self._services.clock), window):
            raise ActionError(3)
        try:
            credential = await self._services.store.credential(SELLER_CENTER, parameters["UserID"])
        except NotFoundError:
            # Whether there is such a user takes as long to find out as whether the key is good.
            signature.is_signed(parameters, _NOBODYS_KEY)
            raise ActionError(7) from None
        if not signature.is_signed(parameters, credential.secret.decode()):
            raise ActionError(7)
        return credential.application

    async def _posted(self, request: Request) -> Posted:
        body = await self._body(request)
        if len(body) <= _ALOUD:
            return read_request(body)
        return await asyncio.to_thread(read_request, body)

    async def _body(self, request: Request) -> bytes:
        limit = self._services.settings.sellercenter_body_max
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_S):
                async for part in request.stream():
                    size += len(part)
                    if size > limit:
                        raise ActionError(11)
                    parts.append(part)
        except TimeoutError:
            raise ActionError(5) from None
        return b"".join(parts)


def _action(parameters: dict[str, str], method: str) -> Action:
    """The action that is named, if it may be called so. ActionError 1, 2, 5, 8."""
    for name in ("Action", "Version", "Timestamp", "UserID", signature.SIGNATURE):
        if not parameters.get(name):
            raise ActionError(1, name)
        if name == "Action" and parameters[name] not in ACTIONS:
            raise ActionError(8)
    action = ACTIONS[parameters["Action"]]
    if parameters["Version"] not in action.versions:
        raise ActionError(2)
    if parameters.get("Format", "XML").upper() not in tuple(Format) or method not in action.methods:
        raise ActionError(5)
    return action


def _format(parameters: dict[str, str]) -> Format:
    given = parameters.get("Format", "XML").upper()
    return Format.JSON if given == Format.JSON else Format.XML


def _callers_now(clock: Clock) -> Instant:
    """The present as a caller's own clock has it: a scaled clock runs ahead of that."""
    return clock.now() if clock.speed == 1.0 else SystemClock().now()
