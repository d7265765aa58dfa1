"""
Requests that schemathesis makes of the OpenAPI document, right and wrong ones, at a real server.

No answer is a server's error, and none has a status, a header or a body that the document does
not name.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import one_of
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support.conformity import closed
from support.eventually import PATIENCE_S

ORGANIZATION: Final = "org_schemathesis"
ENDING: Final = {"/api/v1/auth/organization/expire-all", "/api/v1/auth/logout"}
CHECKS: Final[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SCHEMA: Final = schemathesis.openapi.from_dict(closed())
SCHEMA.config.generation.update(with_security_parameters=False)
OPERATIONS: Final = [
    pytest.param(path, method, id=operation["operationId"])
    for path, methods in closed()["paths"].items()
    for method, operation in methods.items()
]
MODES: Final = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
QUICK: Final = 5
LONG: Final = 1_000


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.trust_env = False
        yield made


@pytest.fixture(scope="module")
def there(live: Any) -> dict[str, str]:
    """One of each thing that a path can name, by the parameter's name."""
    api = live.client(ORGANIZATION)
    event_type = {"name": "order.created", "description": "An order."}
    assert api.post("/event-type", json=event_type).status_code == 201
    app_id = api.post("/app", json={"name": "A"}).json()["id"]
    url = f"{live.receiver().url}/hooks"
    endpoint = api.post(f"/app/{app_id}/endpoint", json={"url": url}).json()
    message = {"eventType": "order.created", "payload": {}}
    msg_id = api.post(f"/app/{app_id}/msg", json=message).json()["id"]
    live.settle()
    attempts = api.get(f"/app/{app_id}/attempt/msg/{msg_id}").json()["data"]
    return {
        "app_id": app_id,
        "endpoint_id": endpoint["id"],
        "event_type_name": "order.created",
        "msg_id": msg_id,
        "attempt_id": attempts[0]["id"],
    }


@pytest.fixture
def operator(live: Any, api: httpx.Client, path: str) -> httpx.Client:
    """A client of the organization that has those things; of another for what ends its token."""
    client: httpx.Client = api if path in ENDING else live.client(ORGANIZATION)
    return client


def aimed(case: Case[Any], there: dict[str, str]) -> None:
    """Let three of four cases be about something that exists, but never a deletion."""
    chosen = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode()) % 4
    if chosen and case.method != "DELETE":
        case.path_parameters = {
            name: there.get(name, value) for name, value in (case.path_parameters or {}).items()
        }


def wrong_body(case: Case[Any]) -> bool:
    """Whether the body breaks its schema; a batch judges its messages one by one."""
    body = case.meta.components.get(ParameterLocation.BODY) if case.meta is not None else None
    return (
        body is not None
        and body.mode is GenerationMode.NEGATIVE
        and not case.path.endswith("/msg/batch")
    )


def examine(
    path: str,
    method: str,
    count: int,
    *,
    operator: httpx.Client,
    there: dict[str, str],
    session: requests.Session,
) -> None:
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=count == QUICK,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=one_of([SCHEMA[path][method].as_strategy(generation_mode=mode) for mode in MODES]))
    def run(case: Case[Any]) -> None:
        aimed(case, there)
        response = case.call(
            base_url=str(operator.base_url).removesuffix("/api/v1/"),
            session=session,
            headers={"authorization": operator.headers["authorization"]},
            timeout=PATIENCE_S,
        )
        case.validate_response(response, checks=CHECKS)
        assert response.status_code != 401 or path in ENDING
        if wrong_body(case) and method != "get":
            assert not 200 <= response.status_code < 300, (case.body, response.text[:500])

    run()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_no_answer_is_one_that_the_document_does_not_name(
    path: str, method: str, operator: httpx.Client, there: dict[str, str], session: requests.Session
) -> None:
    examine(path, method, QUICK, operator=operator, there=there, session=session)


TAKING: Final = [
    pytest.param(path, method, id=operation["operationId"])
    for path, methods in closed()["paths"].items()
    for method, operation in methods.items()
    if "requestBody" in operation and path not in ENDING
]


@pytest.mark.parametrize(("path", "method"), TAKING)
def test_the_example_of_each_body_is_taken(
    path: str, method: str, operator: httpx.Client, there: dict[str, str]
) -> None:
    example = closed()["paths"][path][method]["requestBody"]["content"]["application/json"]
    none = dict.fromkeys(("task_id", "key_id", "rejected_id"), "none")
    target = path.removeprefix("/api/v1").format_map(there | none)
    answer = operator.request(method, target, json=example["example"])
    # What is refused is refused for what there is already, never for what the example says.
    assert answer.is_success or answer.status_code in {400, 404, 409}, answer.text


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_no_answer_of_many_is_one_that_the_document_does_not_name(
    path: str, method: str, operator: httpx.Client, there: dict[str, str], session: requests.Session
) -> None:
    examine(path, method, LONG, operator=operator, there=there, session=session)
