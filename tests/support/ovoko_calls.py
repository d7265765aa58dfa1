"""A seller of a real server's Ovoko face, whose every answer is held against the description."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import httpx
import jsonschema_rs

from marketbell.control import endpoints
from marketbell.control.endpoint_change import EndpointChange
from marketbell.control.sellers import create_seller
from marketbell.control.tokens import Principal
from marketbell.marketplace.ovoko.description.document import document
from marketbell.testing import TestReceiver

if TYPE_CHECKING:
    from e2e.conftest import LiveNode

OPERATOR: Final = Principal("org_test")
FORM: Final = "application/x-www-form-urlencoded"


@functools.cache
def described() -> dict[str, Any]:
    """The description of this tree."""
    return document()


@functools.cache
def closed() -> dict[str, Any]:
    """The description, with no room for fields in forms that it does not name."""
    copy: dict[str, Any] = json.loads(json.dumps(described()))
    for schema in copy["components"]["schemas"].values():
        if schema.get("type") == "object":
            schema["additionalProperties"] = False
    return copy


def form_of(path: str) -> dict[str, Any]:
    """The schema of the form that an operation takes."""
    content = described()["paths"][path]["post"]["requestBody"]["content"]
    name = content[FORM]["schema"]["$ref"].rsplit("/", 1)[-1]
    schema: dict[str, Any] = described()["components"]["schemas"][name]
    return schema


@functools.cache
def _answers(path: str) -> jsonschema_rs.Validator:
    content = described()["paths"][path]["post"]["responses"]["200"]["content"]
    return jsonschema_rs.validator_for(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": described()["components"],
            **content["application/json"]["schema"],
        }
    )


class Trader:
    """A new seller of Ovoko, the receiver of its webhooks, and the buyers around it."""

    def __init__(self, live: LiveNode, receiver: TestReceiver) -> None:
        self.live = live
        self._receiver = receiver
        services = live.node.marketplaces.services
        made = live.run(create_seller(services, OPERATOR, "ovoko", "Parts Ltd"))
        self.application = made.application
        self.login = made.login
        self._target = f"/{made.application.public_id}"
        url = receiver.url.rstrip("/") + self._target
        live.run(
            endpoints.create(
                services, OPERATOR, made.application.public_id, EndpointChange(url=url)
            )
        )
        self.market = live.node.marketplaces.ovoko
        assert live.node.marketplace_url is not None
        self.url = live.node.marketplace_url
        self._http = httpx.Client(base_url=self.url)

    def close(self) -> None:
        self._http.close()

    def call(
        self, path: str, form: Mapping[str, Any] | None = None, /, **named: Any
    ) -> dict[str, Any]:
        """One call of a path of the description; its answer, which is as described."""
        fields = {**self.login, **(form or {})}
        response = self._http.post(path.format_map(named), data=fields)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        answer: dict[str, Any] = response.json()
        told = [
            f"{list(one.instance_path)}: {one.message}"
            for one in _answers(path).iter_errors(answer)
        ]
        assert told == [], (path, answer, told)
        assert answer["status_code"] != "R500", (path, fields, answer)
        return answer

    def heard(self) -> list[tuple[str, dict[str, Any]]]:
        """Every event so far in the order of its arrival, once all have arrived."""
        self.live.settle()
        bodies = [
            json.loads(request.body)
            for request in self._receiver.requests
            if request.target == self._target
        ]
        assert len({body["event_id"] for body in bodies}) == len(bodies)
        return [(body["event_type"], body["event_data"]) for body in bodies]
