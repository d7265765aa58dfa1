"""
Calls that schemathesis makes of Ovoko's description, right and wrong ones, at a real server.

Every answer has the HTTP status 200 and is as described, and none tells of the server's own
trouble. A call that the description allows is never refused for its form.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import one_of
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from e2e.conftest import live_node
from support.eventually import PATIENCE_S
from support.ovoko_calls import Trader, described

CHECKS: Final[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SCHEMA: Final = schemathesis.openapi.from_dict(described())
QUICK: Final = 5
LONG: Final = 2_000
ALLOWED: Final = re.compile(
    # Rules between fields, and life cycles: no schema of one field can tell of them.
    r"photo is not the first|to is before from|(from|to|date_from|date_to) is not a date"
    r"|part_id not found|A part that is|Not the seller but"
)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.trust_env = False
        yield made


@pytest.fixture(scope="module")
def trader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trader]:
    with live_node(tmp_path_factory.mktemp("node"), marketplaces=True) as live:
        made = Trader(live, live.receiver())
        new = {"category_id": 1, "car_id": 1, "quality": 1, "status": 0, "price": "1"}
        for _ in range(3):
            made.call("/crm/importPart", new)
        order = live.run(made.market.buy(made.application, [1]))
        live.run(made.market.complete_order(made.application, order))
        live.run(made.market.open_return(made.application, order, [1]))
        yield made
        made.close()


def aimed(case: Case[Any], trader: Trader) -> bool:
    """Let most cases be this seller's and about what exists; whether it is his."""
    chosen = zlib.crc32(repr((case.path_parameters, case.body)).encode()) % 8
    if not chosen or not isinstance(case.body, dict):
        return False
    case.body = {**case.body, **trader.login}
    if chosen > 2:
        if "id" in (case.path_parameters or {}):
            case.path_parameters = {"id": 1}
        for name in {"part_id", "order_id"} & case.body.keys():
            case.body[name] = chosen % 3 + 1
        if "from" in (case.path_parameters or {}):
            case.path_parameters = {"from": "2020-01-01", "to": "2029-12-31"}
    return True


def examine(
    path: str, mode: list[GenerationMode], count: int, trader: Trader, session: Any
) -> None:
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=count == QUICK,
        phases=[Phase.generate] if count == QUICK else [Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=one_of([SCHEMA[path]["POST"].as_strategy(generation_mode=one) for one in mode]))
    def run(case: Case[Any]) -> None:
        his = aimed(case, trader)
        right = case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE
        response = case.call(base_url=trader.url, session=session, timeout=PATIENCE_S)
        # A path that is none of the description's is not the server's either.
        if response.status_code == 404 and not right:
            return
        case.validate_response(response, checks=CHECKS)
        answer = response.json()
        assert answer["status_code"] != "R500", answer
        if right and his:
            assert answer["status_code"] != "R403", answer
            refused = answer["status_code"] == "R400"
            assert not refused or ALLOWED.match(answer["msg"]), (case.body, answer)

    run()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
@pytest.mark.parametrize("path", described()["paths"])
def test_every_answer_is_as_described(
    path: str, mode: GenerationMode, trader: Trader, session: requests.Session
) -> None:
    examine(path, [mode], QUICK, trader, session)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", described()["paths"])
def test_every_answer_of_many_is_as_described(
    path: str, trader: Trader, session: requests.Session
) -> None:
    examine(path, list(GenerationMode), LONG, trader, session)
    # Whatever they did is announced once each, just as the log has it.
    assert sorted(announced(trader)) == sorted(kind for kind, _data in trader.heard())


def announced(trader: Trader) -> list[str]:
    """The events that the log tells of, over all its pages."""
    days = {"from": "2020-01-01", "to": "2029-12-31"}
    found: list[str] = []
    for page in range(1, 1_000):
        answer = trader.call("/get/logs/{from}/{to}", {"page": page, "limit": 1_000}, **days)
        found += [row["action"] for row in answer["list"] if row["details"]]
        if page * 1_000 >= answer["pagination"]["total_count"]:
            break
    return found
