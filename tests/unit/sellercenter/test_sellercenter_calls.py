"""What holds for every call of the Action API: who may, when, how, and what a refusal looks like."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import pytest

from marketbell.clock import SystemClock
from marketbell.errors import MoveRefusedError, SettingsError
from marketbell.marketplace.sellercenter import signature
from marketbell.marketplace.sellercenter.actions.call import Action, Call
from marketbell.marketplace.sellercenter.actions.table import ACTIONS
from marketbell.marketplace.sellercenter.envelope import Success
from marketbell.marketplace.sellercenter.errors import MESSAGES, NEVER_GIVEN
from marketbell.settings import load_settings
from marketbell.testing import FakeClock
from support.selling import KEY, Stall, stall

BODY = "<Request/>"


async def answered(shop: Stall, method: str = "GET", body: str = "", **changes: str) -> str:
    """The ErrorCode of a call of GetWebhooks with these parameters instead, "" if it is none."""
    answer = await shop.send(method, shop.signed("GetWebhooks", Format="JSON", **changes), body)
    assert answer.status_code == 200
    found: dict[str, Any] = next(iter(answer.json().values()))
    code: str = found["Head"].get("ErrorCode", "")
    return code


@pytest.mark.parametrize("name", ["Action", "Version", "Timestamp", "UserID", "Signature"])
async def test_what_every_call_must_say(shop: Stall, name: str) -> None:
    signed = shop.signed("GetWebhooks")
    del signed[name]
    for given in (signed, {**signed, name: ""}):
        answer = await shop.send("GET", given)
        assert f"E001: Parameter {name} is mandatory" in answer.text


async def test_nothing_at_all_is_a_missing_action(shop: Stall) -> None:
    answer = await shop.send("GET", {})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/xml; charset=utf-8"
    assert "<RequestAction/>" in answer.text
    assert "E001: Parameter Action is mandatory" in answer.text


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"Action": "getWebhooks"}, "8"),
        ({"Version": "2.0"}, "2"),
        ({"Version": "1"}, "2"),
        ({"Timestamp": "now"}, "4"),
        ({"Timestamp": "2026-01-01T00:00:00"}, "4"),
        ({"Timestamp": "2025-12-31T23:44:59Z"}, "3"),
        ({"Timestamp": "2026-01-01T00:15:01Z"}, "3"),
        ({"Timestamp": "2025-12-31T23:45:00Z"}, ""),
        ({"Timestamp": "2026-01-01T01:15:00+01:00"}, ""),
        ({"UserID": "nobody@example.com"}, "7"),
        ({"Signature": "0" * 64}, "7"),
    ],
)
async def test_who_may_and_when(shop: Stall, changes: dict[str, str], number: str) -> None:
    assert await answered(shop, **changes) == number


async def test_the_window_is_a_setting(tmp_path: Path) -> None:
    async with stall(tmp_path, sellercenter_window=10_000) as shop:
        assert await answered(shop, Timestamp="2026-01-01T00:00:10Z") == ""
        assert await answered(shop, Timestamp="2026-01-01T00:00:11Z") == "3"


class Ahead(SystemClock):
    """A scaled clock that has run for a while: two hours ahead of what callers have."""

    speed = 100.0

    def now(self) -> int:
        return super().now() + 2 * 3_600_000


async def test_a_clock_that_runs_ahead_does_not_shut_callers_out(tmp_path: Path) -> None:
    async with stall(tmp_path, Ahead()) as shop:
        real = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        assert await answered(shop, Timestamp=real) == ""
        assert await answered(shop) == "3"


async def test_every_action_wants_its_method(shop: Stall) -> None:
    for name, action in ACTIONS.items():
        for method in {"GET", "POST", "PUT", "DELETE"} - action.methods:
            answer = await shop.send(method, shop.signed(name), BODY)
            assert "<ErrorCode>5</ErrorCode>" in answer.text, (name, method)


async def test_an_unknown_format_is_refused_in_xml(shop: Stall) -> None:
    answer = await shop.send("GET", shop.signed("GetWebhooks", Format="YAML"))
    assert "<ErrorCode>5</ErrorCode>" in answer.text
    assert (await shop.send("GET", shop.signed("GetWebhooks", Format="json"))).json()
    assert (await shop.send("GET", shop.signed("GetWebhooks", Format="(none)"))).text[0] == "<"


async def test_a_long_action_is_shown_in_part(shop: Stall) -> None:
    answer = await shop.send("GET", shop.signed("x" * 1_000))
    assert f"<RequestAction>{'x' * 64}</RequestAction>" in answer.text


async def test_a_query_that_cannot_be_read(shop: Stall) -> None:
    transport = httpx.ASGITransport(app=shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://face") as client:
        bad = await client.get("/?Action=%ff")
        many = await client.get("/?" + "a=1&" * 200)
    assert "<ErrorCode>5</ErrorCode>" in bad.text
    assert "<ErrorCode>11</ErrorCode>" in many.text


async def test_a_body_over_the_limit(tmp_path: Path) -> None:
    async with stall(tmp_path, sellercenter_body_max=1_000) as shop:
        body = f"<Request>{' ' * 1_000}</Request>"
        assert await shop.refused("CreateWebhook", body) == "11"


async def test_a_content_type_means_nothing(shop: Stall) -> None:
    transport = httpx.ASGITransport(app=shop.app)
    signed = shop.signed("DeleteWebhook")
    async with httpx.AsyncClient(transport=transport, base_url="http://face") as client:
        for kind in ("application/json", "text/xml; charset=UTF8", "x"):
            answer = await client.post(
                "/", params=signed, content="<Request/>", headers={"content-type": kind}
            )
            assert "<ErrorCode>89</ErrorCode>" in answer.text


async def test_a_deleted_application_is_nobody(shop: Stall) -> None:
    application = shop.application
    await shop.plane.store.delete_application(
        application.organization, application.public_id, now=shop.plane.clock.now()
    )
    assert await answered(shop) == "7"


async def test_our_own_failure_is_e006(shop: Stall) -> None:
    signed = shop.signed("GetWebhooks", Format="JSON")
    await shop.plane.store.aclose()
    answer = await shop.send("GET", signed)
    assert answer.status_code == 200
    head = answer.json()["ErrorResponse"]["Head"]
    assert (head["ErrorCode"], head["ErrorType"]) == ("6", "Platform")


def test_every_code_has_a_test_or_is_never_given() -> None:
    folder = Path(__file__).parent
    texts = "\n".join(path.read_text() for path in sorted(folder.glob("test_sellercenter_*.py")))
    for number in set(MESSAGES) - NEVER_GIVEN:
        named = (f'"{number}"', f"<ErrorCode>{number}</ErrorCode>", f"E{number:03}")
        assert any(name in texts for name in named), number


async def test_the_signature_covers_the_users_own_words(shop: Stall) -> None:
    assert isinstance(shop.plane.clock, FakeClock)
    signed = shop.signed("GetWebhooks", WebhookIds="[]")
    assert "SuccessResponse" in (await shop.send("GET", signed)).text
    other = {**signed, "WebhookIds": "[a]"}
    assert "<ErrorCode>7</ErrorCode>" in (await shop.send("GET", other)).text
    other[signature.SIGNATURE] = signature.sign(other, KEY)
    assert "SuccessResponse" in (await shop.send("GET", other)).text


def test_the_zone_must_exist() -> None:
    with pytest.raises(SettingsError, match="sellercenter_zone"):
        load_settings({"sellercenter_zone": "Mars/Olympus"}, {}, None)


async def test_a_move_that_is_refused_is_no_internal_error(
    shop: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_call: Call) -> Success:
        raise MoveRefusedError("A feed that is Finished stays so.")

    action = msgspec.structs.replace(ACTIONS["GetWebhooks"], work=refuse)
    monkeypatch.setitem(cast("dict[str, Action]", ACTIONS), "GetWebhooks", action)
    answer = await shop.send("GET", shop.signed("GetWebhooks"))
    assert answer.status_code == 200
    assert "<ErrorCode>1000</ErrorCode>" in answer.text
    assert "stays so" in answer.text
