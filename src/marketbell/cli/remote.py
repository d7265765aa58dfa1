"""A server as a command sees it: one call, and its errors as ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx

from marketbell.errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    LimitReachedError,
    MarketbellError,
    NotFoundError,
    RateLimitedError,
    TooLargeError,
    UnavailableError,
)

TIMEOUT_S: Final = 30.0

_ERRORS: Final[Mapping[int, type[MarketbellError]]] = {
    400: LimitReachedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitedError,
}


def _of_this_machine(url: str) -> bool:
    try:
        return httpx.URL(url).host in {"localhost", "127.0.0.1", "::1"}
    except httpx.InvalidURL:
        return False


class Remote:
    """
    A client of the management API, to be used as a context manager.

    `url` is the server's, such as `http://127.0.0.1:8080`. The token is sent to it alone: no
    redirect is followed, and an address of this machine is never asked for through a proxy.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"authorization": f"Bearer {token}"},
            timeout=timeout_s,
            trust_env=not _of_this_machine(self.url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | bool] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """
        The JSON of the answer, None if it has none; `path` is below `/api/v1`.

        A body of bytes is sent as it stands, any other as JSON.

        Raises the error that the server tells, with its own words, and UnavailableError if it
        cannot be reached, answers 5xx or is no Marketbell.
        """
        try:
            if isinstance(body, bytes):
                answer = self._client.request(
                    method, path, params=query, content=body, headers=headers
                )
            else:
                answer = self._client.request(
                    method, path, params=query, json=body, headers=headers
                )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError(
                f"{self.url} cannot be reached ({error}); is the server up, and MARKETBELL_URL right?"
            ) from None
        if answer.is_success:
            return self._json(answer) if answer.content else None
        raise self._error(answer)

    def _json(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except json.JSONDecodeError:
            raise UnavailableError(f"{self.url} answers no JSON; it is no Marketbell.") from None

    def _error(self, answer: httpx.Response) -> MarketbellError:
        status = answer.status_code
        told = self._json(answer) if answer.content else {}
        detail = told.get("detail") if isinstance(told, dict) else None
        if isinstance(detail, list) and detail:
            first = detail[0]
            return InvalidError(tuple(first.get("loc", ())), str(first.get("msg", detail)))
        said = str(detail or f"{self.url} answered {status}.")
        if status == 401:
            return AuthenticationError(
                f"{said} Set MARKETBELL_TOKEN to a good one; `marketbell token create` makes one."
            )
        if status == 413:
            return TooLargeError(("body",), said)
        return _ERRORS.get(status, UnavailableError if status >= 500 else MarketbellError)(said)
