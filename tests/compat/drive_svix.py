"""
An official `svix` package of Python, driven by lines of JSON: run as a program, once for each.

    python drive_svix.py KIND [FOLDER]     KIND is sync or async; FOLDER holds another version

Each line of its input asks one thing, and one line answers: `methods` for all that the package
offers, `call` for one of them with its arguments, `verify` for the word of a verifying library.
Field names are the wire's; the driver types them as a user of the package would.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import enum
import importlib
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any

if len(sys.argv) > 2:
    sys.path.insert(0, sys.argv[2])

api = importlib.import_module("svix.api")
webhooks = importlib.import_module("svix.webhooks")
standard = importlib.import_module("standardwebhooks.webhooks")
http_error = importlib.import_module("svix.api.errors.http_error").HttpError
invalid = importlib.import_module("svix.api.errors.http_validation_error").HTTPValidationError
message_in_raw = importlib.import_module("svix.api.message").message_in_raw

LIBRARIES = {"svix": webhooks.Webhook, "standardwebhooks": standard.Webhook}


class Driver:
    """Clients by server and token, and the loop that those of asyncio share."""

    def __init__(self, kind: str, runner: asyncio.Runner) -> None:
        self._make = {"sync": api.Svix, "async": api.SvixAsync}[kind]
        self._runner = runner
        self._clients: dict[tuple[str, str], Any] = {}

    def answer(self, asked: dict[str, Any]) -> object:
        """What one line asks for."""
        if "methods" in asked:
            version = importlib.import_module("svix").__version__
            return {"version": version, "methods": list(_methods(self._make("token"), ""))}
        if "verify" in asked:
            return _verified(asked)
        return self._called(asked)

    def _called(self, asked: dict[str, Any]) -> object:
        where = (asked["server"], asked["token"])
        if where not in self._clients:
            self._clients[where] = self._make(
                asked["token"], api.SvixOptions(server_url=asked["server"])
            )
        found = self._clients[where]
        for name in asked["call"].split("."):
            found = getattr(found, name)
        hints = typing.get_type_hints(found)
        kinds = [hints[name] for name in inspect.signature(found).parameters]
        arguments = [_typed(one, kind) for one, kind in zip(asked["args"], kinds, strict=False)]
        try:
            result = found(*arguments)
            if inspect.iscoroutine(result):
                result = self._runner.run(result)
        except http_error as error:
            return {
                "error": {"status": error.status_code, "code": error.code, "detail": error.detail}
            }
        except invalid as error:
            detail = [one.to_dict() for one in error.detail]
            return {"error": {"status": error.status_code, "detail": detail}}
        return {"result": _plain(result)}


def _methods(client: object, before: str) -> Iterator[dict[str, str | None]]:
    for name, member in inspect.getmembers(type(client)):
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            yield from _methods(getattr(client, name), f"{before}{name}.")
        elif inspect.isfunction(member):
            asks = re.search(r'method="(\w+)",\s*path="([^"]+)"', inspect.getsource(member))
            method, path = asks.groups() if asks else (None, None)
            yield {"name": before + name, "method": method and method.upper(), "path": path}


def _typed(value: Any, kind: Any) -> Any:
    """A value as a user of the package gives it: models, options, times and enums."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        if value is None:
            return None
        kind = next(one for one in typing.get_args(kind) if one is not type(None))
    if isinstance(value, dict) and "rawPayload" in value:
        return message_in_raw(value["eventType"], value["rawPayload"], value.get("contentType"))
    if not isinstance(kind, type):
        return value
    if issubclass(kind, datetime.datetime):
        return datetime.datetime.fromisoformat(value)
    if issubclass(kind, enum.Enum):
        return kind(value)
    if hasattr(kind, "model_fields") or dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(
            **{_snake(name): _typed(one, hints[_snake(name)]) for name, one in value.items()}
        )
    return value


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda letter: "_" + letter[1].lower(), name)


def _plain(result: Any) -> Any:
    return (
        result.model_dump(mode="json", by_alias=True) if hasattr(result, "model_dump") else result
    )


def _verified(asked: dict[str, Any]) -> object:
    try:
        read = LIBRARIES[asked["verify"]](asked["secret"]).verify(
            bytes.fromhex(asked["body"]), asked["headers"]
        )
    except webhooks.WebhookVerificationError as error:
        return {"refused": str(error)}
    return {"result": read}


def main() -> None:
    """Answer until the input ends."""
    with asyncio.Runner() as runner:
        driver = Driver(sys.argv[1], runner)
        for line in sys.stdin:
            print(json.dumps(driver.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
