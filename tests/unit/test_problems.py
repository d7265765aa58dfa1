"""Every error of the tree is answered as its place in the table says."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from marketbell import errors
from marketbell.api.problems import STATUSES, problem, status_of
from marketbell.errors import (
    InvalidError,
    MarketbellError,
    MoveRefusedError,
    SettingsError,
    StoreError,
)
from marketbell.portal import app as portal


def every(kind: type[MarketbellError]) -> Iterator[type[MarketbellError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from every(below)


def example(kind: type[MarketbellError]) -> MarketbellError:
    if issubclass(kind, InvalidError):
        return kind(("body", "names", 0), "What is wrong.")
    if issubclass(kind, SettingsError):
        return kind(["What is wrong."])
    return kind("What is wrong.")


@pytest.mark.parametrize("kind", list(every(MarketbellError)))
def test_every_error_has_a_status_and_a_body_that_sdks_read(kind: type[MarketbellError]) -> None:
    error = example(kind)
    answer = problem(error)
    body = json.loads(answer.body)
    assert answer.status == status_of(error)
    if answer.status == 422:
        assert body == {
            "detail": [
                {"loc": ["body", "names", "0"], "msg": "What is wrong.", "type": "value_error"}
            ]
        }
    elif answer.status == 500:
        assert body["code"] == "server_error"
        assert "What is wrong" not in body["detail"]
    else:
        assert body == {"code": kind.code, "detail": "What is wrong."}
    assert (b"retry-after" in dict(answer.headers)) is (answer.status in {429, 503})


@pytest.mark.parametrize("kind", list(every(MarketbellError))[1:])
def test_no_error_is_answered_as_one_that_nobody_thought_of(kind: type[MarketbellError]) -> None:
    assert any(issubclass(kind, known) for known, _ in STATUSES if known is not MarketbellError)


def test_a_refused_move_is_no_fault_of_the_server() -> None:
    refusal = MoveRefusedError("A part that is written_off stays as it is.")
    assert json.loads(problem(refusal).body)["detail"] == refusal.detail
    assert problem(refusal).status == 409


@pytest.mark.parametrize("kind", list(every(MarketbellError)))
def test_what_is_no_fault_of_the_server_in_the_api_is_none_in_the_portal(
    kind: type[MarketbellError],
) -> None:
    found = [status for known, status in portal.STATUSES if issubclass(kind, known)]
    assert bool(found) is (status_of(example(kind)) < 500 or issubclass(kind, StoreError))
    assert not found or found[0] < 500 or issubclass(kind, StoreError)


def test_narrower_classes_stand_before_wider_ones() -> None:
    for place, (kind, _) in enumerate(STATUSES):
        for wider, _ in STATUSES[:place]:
            assert not issubclass(kind, wider)
