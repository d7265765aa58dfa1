"""The management API as the demo uses it: over HTTP, with a token, like anybody else."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from typing import Final

import httpx
import msgspec

from marketbell.demo.script import OCCURRED_AT, TIMEOUT, Errand, Seller
from marketbell.errors import MarketbellError
from marketbell.model import Instant, Millis

_SUCCESS: Final = 0
_PAGE: Final = 100


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt as the API lists it."""

    id: str
    endpoint: str
    succeeded: bool
    status_code: int
    """0 where no answer came."""
    response: str
    started_at: Instant
    """On the server's axis of time, which the demo scales."""
    duration: Millis
    """Real milliseconds."""


class _Attempt(msgspec.Struct, rename="camel"):
    id: str
    endpoint_id: str
    status: int
    response_status_code: int
    response_duration_ms: int
    response: str
    timestamp: datetime.datetime


class _Attempts(msgspec.Struct):
    data: list[_Attempt]


class Client:
    """The calls that the demo makes; each raises MarketbellError unless it is answered as it must be."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.AsyncClient(
            base_url=f"{url}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=10.0,
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def create_seller(self, seller: Seller) -> str:
        """An application that speaks the seller's dialect; its id."""
        metadata = {
            "marketbell.dialect": seller.dialect,
            "marketbell.timeout": f"{TIMEOUT}ms",
        }
        return await self._create(
            "/app",
            {"name": f"A seller at {seller.title}", "uid": seller.dialect, "metadata": metadata},
        )

    async def create_endpoint(self, application: str, url: str, errand: Errand) -> str:
        """An endpoint for one event type; its id."""
        wanted: dict[str, object] = {"url": url, "filterTypes": [errand.event_type]}
        if errand.seller.headers:
            wanted["headers"] = errand.seller.headers
        return await self._create(f"/app/{application}/endpoint", wanted)

    async def publish(self, application: str, errand: Errand) -> str:
        """Publish the errand's event; the id of the message, which is on disk by now."""
        message = {
            "eventType": errand.event_type,
            "eventId": errand.event_id,
            "timestamp": OCCURRED_AT,
            "payload": msgspec.Raw(errand.payload),
        }
        return await self._create(f"/app/{application}/msg", message, expected=202)

    async def attempts_of_message(self, application: str, message: str) -> tuple[Recorded, ...]:
        """Every recorded attempt of a message, oldest first."""
        return await self._attempts(f"/app/{application}/attempt/msg/{message}")

    async def attempts_of_endpoint(self, application: str, endpoint: str) -> tuple[Recorded, ...]:
        """Every recorded attempt to an endpoint, oldest first."""
        return await self._attempts(f"/app/{application}/attempt/endpoint/{endpoint}")

    async def _create(self, path: str, what: Mapping[str, object], expected: int = 201) -> str:
        response = await self._http.post(
            path,
            content=msgspec.json.encode(what),
            headers={"Content-Type": "application/json", "idempotency-key": f"demo-{uuid.uuid4()}"},
        )
        self._require(response, expected)
        return str(response.json()["id"])

    async def _attempts(self, path: str) -> tuple[Recorded, ...]:
        response = await self._http.get(path, params={"limit": _PAGE})
        self._require(response, 200)
        listed = msgspec.json.decode(response.content, type=_Attempts).data
        recorded = [
            Recorded(
                id=one.id,
                endpoint=one.endpoint_id,
                succeeded=one.status == _SUCCESS,
                status_code=one.response_status_code,
                response=one.response,
                started_at=round(one.timestamp.timestamp() * 1000),
                duration=one.response_duration_ms,
            )
            for one in listed
        ]
        return tuple(sorted(recorded, key=lambda one: one.started_at))

    def _require(self, response: httpx.Response, expected: int) -> None:
        if response.status_code != expected:
            request = response.request
            raise MarketbellError(
                f"{request.method} {request.url.path} was answered {response.status_code}"
                f" and not {expected}: {response.text[:500]}"
            )
