"""A seller of Seller Center with everything behind it: store, deliveries, ledger and Action API."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import itertools
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from starlette.applications import Starlette

from marketbell.clock import Clock
from marketbell.control.sellers import SELLER_CENTER
from marketbell.control.services import Services
from marketbell.marketplace.ledger import Ledger
from marketbell.marketplace.sellercenter import signature
from marketbell.marketplace.sellercenter.face import routes
from marketbell.marketplace.sellercenter.seller import Seller
from marketbell.model import Application, Message, Policy
from marketbell.settings import DEFAULTS
from marketbell.store.base import MessageFilter, Page
from marketbell.testing import FakeClock
from support.plane import Plane

USER: Final = "seller@example.com"
KEY: Final = "b1bdb357ced10fe4e9a69840cdd4f0e9c03d77fe"

_USERS = itertools.count(1)


class Stall:
    """One seller's application on a Plane, with ways to call its API and to see what was told."""

    def __init__(self, plane: Plane, services: Services, application: Application) -> None:
        self.plane = plane
        self.services = services
        self.application = application
        self.ledger = Ledger(services)
        self.seller = Seller(services=services, ledger=self.ledger, application=application)
        self.app = Starlette(routes=routes(services, self.ledger))
        self.user = USER

    def signed(self, action: str, **parameters: str) -> dict[str, str]:
        """The query of a call, signed as the document says."""
        now = datetime.datetime.fromtimestamp(self.services.clock.now() / 1000, datetime.UTC)
        whole = {
            "Action": action,
            "Format": "XML",
            "Timestamp": now.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
            "UserID": self.user,
            "Version": "1.0",
            **parameters,
        }
        whole = {name: value for name, value in whole.items() if value != "(none)"}
        whole.setdefault(signature.SIGNATURE, signature.sign(whole, KEY))
        return whole

    async def send(
        self, method: str, parameters: Mapping[str, str], body: bytes | str = b""
    ) -> httpx.Response:
        """The answer to a request with exactly these parameters."""
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://face") as client:
            return await client.request(method, "/", params=dict(parameters), content=body)

    async def xml(self, action: str, body: str = "", *, method: str = "", **parameters: str) -> str:
        """The whole XML of a signed call's answer."""
        verb = method or ("POST" if body else "GET")
        answer = await self.send(verb, self.signed(action, **parameters), body)
        assert answer.status_code == 200
        return answer.text

    async def call(
        self, action: str, body: str = "", *, method: str = "", **parameters: str
    ) -> Any:
        """The JSON of a signed call's answer, without its outermost name."""
        verb = method or ("POST" if body else "GET")
        signed = self.signed(action, Format="JSON", **parameters)
        answer = await self.send(verb, signed, body)
        assert answer.status_code == 200, answer.text
        return next(iter(answer.json().values()))

    async def refused(
        self, action: str, body: str = "", *, method: str = "", **parameters: str
    ) -> str:
        """The ErrorCode of a call that is refused."""
        answer = await self.call(action, body, method=method, **parameters)
        code: str = answer["Head"]["ErrorCode"]
        return code

    async def told(self) -> list[tuple[str, Any]]:
        """Every event of the seller so far, with its payload, in the order of acceptance."""
        found = await self.plane.store.messages(
            self.application.id, MessageFilter(), Page(limit=1_000)
        )
        ordered: list[Message] = sorted(found.data, key=lambda message: message.id)
        return [(one.event_type, msgspec.json.decode(one.payload)) for one in ordered]


@contextlib.asynccontextmanager
async def stall(
    folder: Path, clock: Clock | None = None, *, dialect: str = "sellercenter", **settings: Any
) -> AsyncIterator[Stall]:
    """A seller with a user of the Action API; `settings` are fields of Settings."""
    async with Plane(folder, clock or FakeClock()) as plane:
        services = Services.assemble(
            settings=msgspec.structs.replace(
                DEFAULTS, **{"allow_networks": _networks(plane), **settings}
            ),
            clock=plane.clock,
            store=plane.store,
            intake=plane.dispatcher,
            registry=plane.registry,
            observer=plane.told,
        )
        application = await plane.application(Policy(dialect=dialect))
        opened = Stall(plane, services, application)
        await plane.store.create_credential(
            application.id, SELLER_CENTER, USER, KEY.encode(), now=plane.clock.now()
        )
        yield opened


def _networks(plane: Plane) -> tuple[Any, ...]:
    return tuple(ipaddress.ip_network(network) for network in plane.knobs.networks)


async def neighbour(opened: Stall) -> Stall:
    """Another seller on the same plane, with a user of its own."""
    application = await opened.plane.application(Policy(dialect="sellercenter"))
    other = Stall(opened.plane, opened.services, application)
    other.user = f"seller{next(_USERS)}@example.com"
    await opened.plane.store.create_credential(
        application.id, SELLER_CENTER, other.user, KEY.encode(), now=opened.plane.clock.now()
    )
    return other
