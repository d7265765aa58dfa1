"""The official clients behind one face: named as Python's 2.x names things, told and read as JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any, NamedTuple, Self

Json = dict[str, Any]


class Method(NamedTuple):
    """One method of a client and what it asks of a server."""

    name: str
    """As this face names it."""
    own_name: str
    """As the package does."""
    asks: tuple[str, str] | None
    """The HTTP method and path; None for an older name that calls another method."""


class Refusal(NamedTuple):
    """An answer that a client raises as its own error."""

    status: int
    code: str | None
    detail: Any


class Program:
    """
    A driver of one package, running: asked by a line, answering by a line.

    `old` says that the package is of the first line, whose names of methods and fields are
    translated in both directions.
    """

    def __init__(self, name: str, command: list[str], *, old: bool) -> None:
        self.name = name
        self.command = command
        self.old = old
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "NO_PROXY": "*"},
        )
        offered = self.ask({"methods": True})
        self.version: str = offered["version"]
        self.methods: dict[str, Method] = {}
        for one in offered["methods"]:
            named = _canonical(one["name"])
            asks = (one["method"], one["path"]) if one["method"] else None
            self.methods[named] = Method(named, one["name"], asks)

    def ask(self, question: Json) -> Json:
        """The answer to one line; AssertionError if the driver died of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the driver of {self.name} ended at {question}"
        answer: Json = json.loads(line)
        return answer

    def verified(self, library: str, secret: str, body: bytes, headers: dict[str, str]) -> bool:
        """Whether `svix` or `standardwebhooks` of this package's language takes a request."""
        question = {"verify": library, "secret": secret, "body": body.hex(), "headers": headers}
        return "result" in self.ask(question)

    def end(self) -> None:
        """Close it and wait until it has ended."""
        self._process.communicate(timeout=60)
        assert self._process.returncode == 0


class Sdk:
    """One client of a server, with a token; it remembers which methods were called."""

    def __init__(self, program: Program, server: str, token: str) -> None:
        self.program = program
        self.server = server
        self.token = token
        self.called: set[str] = set()

    def to(self, *, server: str | None = None, token: str | None = None) -> Self:
        """The same client for another server or with another token; what it calls counts here."""
        other = type(self)(self.program, server or self.server, token or self.token)
        other.called = self.called
        return other

    def has(self, name: str) -> bool:
        """Whether the package has this method."""
        return name in self.program.methods

    def call(self, name: str, *arguments: str | Json) -> Any:
        """What a method gives, nulls left out; AssertionError if it raises."""
        answer = self._asked(name, arguments)
        assert "error" not in answer, f"{name}: {answer['error']}"
        return _read(answer["result"])

    def refused(self, name: str, *arguments: str | Json) -> Refusal:
        """The error that a method raises; AssertionError if it does not."""
        answer = self._asked(name, arguments)
        assert "error" in answer, f"{name}: {answer}"
        error = answer["error"]
        return Refusal(error["status"], error.get("code"), error["detail"])

    def _asked(self, name: str, arguments: tuple[str | Json, ...]) -> Json:
        method = self.program.methods[name]
        self.called.add(name)
        given = [self._written(name, one) if isinstance(one, dict) else one for one in arguments]
        return self.program.ask(
            {"server": self.server, "token": self.token, "call": method.own_name, "args": given}
        )

    def _written(self, name: str, body: Json) -> Json:
        written = name.rsplit(".", 1)[-1] in {"create", "upsert", "patch"}
        if self.program.old and "endpoint." in name and written and "eventTypes" in body:
            renamed = dict(body)
            renamed["filterTypes"] = renamed.pop("eventTypes")
            return renamed
        return body


_NEWER = {"update": "upsert", "update_headers": "set_headers"}


def _canonical(own_name: str) -> str:
    """A method's name as Python's package of the second line has it."""
    *resource, method = re.sub(r"([A-Z])", lambda one: "_" + one[1].lower(), own_name).split(".")
    return ".".join([*resource, _NEWER.get(method, method)])


def _read(value: Any) -> Any:
    """What came, without nulls: one language says null where another leaves the field out."""
    if isinstance(value, dict):
        renamed = {("eventTypes" if k == "filterTypes" else k): v for k, v in value.items()}
        return {name: _read(one) for name, one in renamed.items() if one is not None}
    if isinstance(value, list):
        return [_read(one) for one in value]
    return value
