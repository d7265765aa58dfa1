"""A running sandbox as a command sees it: one call of its controls, and its answer in words."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

from marketbell.errors import (
    InvalidError,
    MarketbellError,
    MoveRefusedError,
    NotFoundError,
    UnavailableError,
)

DEFAULT_URL: Final = "http://127.0.0.1:8090"
TIMEOUT_S: Final = 60.0


def called(method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
    """
    The JSON that a control answers; `path` is below `/sandbox`.

    Raises the error that the sandbox tells, and UnavailableError if there is none.
    """
    import httpx

    url = os.environ.get("MARKETBELL_SANDBOX_URL", DEFAULT_URL).rstrip("/")
    try:
        answer = httpx.request(
            method, f"{url}/sandbox{path}", json=body, timeout=TIMEOUT_S, trust_env=False
        )
        told = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(
            f"There is no sandbox at {url} ({error}); start one with `marketbell sandbox start`,"
            " or set MARKETBELL_SANDBOX_URL."
        ) from None
    except ValueError:
        raise UnavailableError(f"{url} is no sandbox.") from None
    if answer.is_success:
        return told
    raise _error(answer.status_code, told)


def _error(status: int, told: object) -> MarketbellError:
    detail = told.get("detail") if isinstance(told, dict) else None
    if isinstance(detail, list) and detail:
        return InvalidError(detail[0]["loc"], detail[0]["msg"])
    said = str(detail or f"The sandbox answered {status}.")
    if status == 409:
        return MoveRefusedError(said)
    if status == 404:
        return NotFoundError(said)
    return UnavailableError(said) if status >= 500 else MarketbellError(said)


def told(answer: Mapping[str, Any]) -> str:
    """What came of an act: its ids on the first line, then a line for each event."""
    facts = {name: value for name, value in answer.items() if name != "events"}
    lines = [" ".join(f"{name}={_shown(value)}" for name, value in facts.items()) or "done"]
    lines += [
        f"  {event['eventType']} {json.dumps(event['payload'], ensure_ascii=False)}"
        for event in answer["events"]
    ]
    return "\n".join(lines)


def _shown(value: object) -> str:
    return ",".join(str(one) for one in value) if isinstance(value, list) else str(value)
