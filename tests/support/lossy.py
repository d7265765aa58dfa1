"""A way to a server on which answers are lost, as its clients see it."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from marketbell.testing import RESET, Answer, Received

LOST = Answer(
    status=503,
    headers=(("Content-Type", "application/json"),),
    body=b'{"code":"unavailable","detail":"between here and there"}',
)
"""What a proxy says when the server's answer did not reach it."""
CUT = RESET
"""The connection breaks before the answer."""


class Lossy:
    """
    Forwards requests to a server, for a `TestReceiver`; the server has acted on each of them.

    The first `instead` answers are given in place of the server's own. `seen` is told the status
    of each answer of the server before the client gets it.
    """

    def __init__(
        self,
        server: str,
        instead: tuple[Answer, ...] = (),
        seen: Callable[[int], None] | None = None,
    ) -> None:
        self.statuses: list[int] = []
        """Of the server's own answers, in their order."""
        self._server = server
        self._instead = list(instead)
        self._seen = seen

    async def __call__(self, request: Received) -> Answer:
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            answer = await http.request(
                request.method,
                self._server + request.target,
                headers=[one for one in request.headers if one[0].lower() != "host"],
                content=request.body,
            )
        self.statuses.append(answer.status_code)
        if self._seen is not None:
            self._seen(answer.status_code)
        if self._instead:
            return self._instead.pop(0)
        kept = {"content-type", "retry-after"}
        return Answer(
            status=answer.status_code,
            headers=tuple((name, value) for name, value in answer.headers.items() if name in kept),
            body=answer.content,
        )
