"""Routes beside the API, such as pages and metrics: their answers get what every answer has."""

from __future__ import annotations

from typing import Final

from starlette.routing import BaseRoute, Match, Route

from marketbell.api.answers import (
    REQUEST_ID,
    SECURITY,
    Event,
    Receive,
    RequestIds,
    Scope,
    Send,
    send_answer,
)
from marketbell.api.problems import not_allowed

NAME: Final = "request_id"
"""Where the request's id stands in the ASGI scope."""


class Framed(BaseRoute):
    """A route whose answers carry a request id, and the security headers that they do not set."""

    def __init__(self, route: BaseRoute, request_ids: RequestIds) -> None:
        self._route = route
        self._request_ids = request_ids

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """What the route itself says."""
        return self._route.matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it, with the headers added to the answer."""
        request_id = self._request_ids.of(dict(scope["headers"]))
        scope[NAME] = request_id
        methods = self._route.methods if isinstance(self._route, Route) else None
        if methods and scope["method"] not in methods:
            await send_answer(send, not_allowed(tuple(sorted(methods))), request_id)
            return

        async def framed(event: Event) -> None:
            if event["type"] == "http.response.start":
                headers = list(event.get("headers", ()))
                there = {name.lower() for name, _value in headers}
                event["headers"] = [
                    *(one for one in headers if one[0].lower() != REQUEST_ID),
                    (REQUEST_ID, request_id),
                    *(one for one in SECURITY if one[0] not in there),
                ]
            await send(event)

        await self._route.handle(scope, receive, framed)
