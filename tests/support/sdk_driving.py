"""What tests that drive official clients share: that nothing is forgotten, and waiting for tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from support.sdk_client import Method, Sdk
from support.sdk_routes import beginning

HOUR_AGO = (datetime.now(UTC) - timedelta(hours=1)).isoformat()


def resource(name: str) -> str:
    """The resource of a method."""
    return name.rsplit(".", 1)[0]


def here(method: Method) -> bool:
    """Whether this server has what a method asks for."""
    return method.asks is None or beginning(method.asks[1]) is None


@contextlib.contextmanager
def whole(sdk: Sdk, *resources: str) -> Iterator[None]:
    """Within it, every method of the resources is called that this server has, or the test fails."""
    yield
    methods = [one for one in sdk.program.methods.values() if resource(one.name) in resources]
    assert methods
    assert {one.name for one in methods if here(one)} - sdk.called == set()


def ended(sdk: Sdk, task: str) -> Any:
    """The task once it runs no more."""
    found = sdk.call("background_task.get", task)
    while found["status"] == "running":
        found = sdk.call("background_task.get", task)
    return found


def uids(page: Any) -> list[str]:
    """What a page lists, by the caller's names."""
    return [one["uid"] for one in page["data"]]
