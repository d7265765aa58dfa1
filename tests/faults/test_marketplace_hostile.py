"""
Hostile and slow callers of the marketplaces' own APIs: bounded in time, and answered as ever.

What is read of a request knows no database; what comes over sockets is tried on both.
"""

from __future__ import annotations

import asyncio
import socket
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import httpx
import pytest
from starlette.requests import Request

from e2e.conftest import LiveNode, live_node
from marketbell.control.sellers import NewSeller, create_seller
from marketbell.control.tokens import Principal
from marketbell.errors import InvalidError
from marketbell.marketplace.ovoko.form import read_form
from marketbell.marketplace.sellercenter import face, signature
from marketbell.marketplace.sellercenter.errors import ActionError
from marketbell.marketplace.sellercenter.requests import read_request
from support.postgres import PostgresServer, fresh_database

pytestmark = pytest.mark.alone

MB: Final = 1_000_000
LAUGHS: Final = (
    b'<!DOCTYPE l [<!ENTITY a0 "ha">'
    + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10))
    + b"]><Request>&a9;</Request>"
)


def filled(unit: bytes, size: int = 8 * MB) -> bytes:
    return unit * (size // len(unit))


XML: Final = {
    "a billion laughs": (LAUGHS, 5),
    "a DTD elsewhere": (b'<!DOCTYPE r SYSTEM "http://127.0.0.1:9/x"><Request/>', 5),
    "an entity of a file": (
        b'<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><Request>&a;</Request>',
        5,
    ),
    "a parameter entity": (b'<!DOCTYPE r [<!ENTITY % a "b"> %a;]><Request/>', 5),
    "elements in elements": (b"<Request>" + filled(b"<a>"), 5),
    "CDATA that never ends": (b"<Request>" + filled(b"<![CDATA["), 5),
    "CDATA without an end, and an ampersand": (b"<Request>&" + filled(b"<![CDATA[", MB // 2), 5),
    "ampersands": (b"<Request>" + filled(b"&") + b"</Request>", 5),
    "a name that is no entity": (b"<Request>&" + filled(b"a") + b"</Request>", 0),
    "attributes": (
        b"<Request " + b" ".join(b'a%d=""' % n for n in range(200_000)) + b"/>",
        0,
    ),
    "one attribute": (b'<Request a="' + filled(b"x") + b'"/>', 0),
    "elements": (b"<Request>" + filled(b"<a/>") + b"</Request>", 11),
    "brackets": (filled(b"<"), 5),
}


@pytest.mark.parametrize("name", XML)
def test_hostile_xml_takes_little_time(name: str) -> None:
    body, number = XML[name]
    begin = time.process_time()
    if number:
        with pytest.raises(ActionError) as caught:
            read_request(body)
        assert caught.value.number == number
    else:
        assert read_request(body).tag == "Request"
    assert time.process_time() - begin < 3


def test_a_million_laughs_take_no_memory() -> None:
    tracemalloc.start()
    with pytest.raises(ActionError):
        read_request(LAUGHS)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MB


FORM: Final = "application/x-www-form-urlencoded"
PARTS: Final = "multipart/form-data; boundary="
FORMS: Final = {
    "fields": (FORM, filled(b"a=1&", MB), "more than 1000 fields"),
    "no fields": (FORM, filled(b"&", MB), "more than 1000 fields"),
    "escapes": (FORM, b"a=" + filled(b"%41", MB), None),
    "escapes that are none": (FORM, b"a=" + filled(b"%", MB), "no escape"),
    "one name": (FORM, filled(b"[1]", MB), None),
    "parts": (f"{PARTS}x", filled(b"\r\n--x", MB), "did not end"),
    "parts of a dash": (f"{PARTS}-", filled(b"\r\n---", MB), "did not end"),
    "names": (f"{PARTS}x", b"--x" + filled(b' name="', MB) + b"\r\n\r\na\r\n--x--", None),
    "boundaries": ("multipart/form-data" + ";boundary=" * 3_000, b"", "no boundary"),
}


@pytest.mark.parametrize("name", FORMS)
async def test_hostile_forms_take_little_time(name: str) -> None:
    kind, body, said = FORMS[name]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request(
        {
            "type": "http",
            "method": "POST",
            "headers": [(b"content-type", kind.encode())],
            "query_string": b"",
        },
        receive,
    )
    begin = time.process_time()
    if said is None:
        await read_form(request, body_max=2 * MB, limit_s=30)
    else:
        with pytest.raises(InvalidError, match=said):
            await read_form(request, body_max=2 * MB, limit_s=30)
    assert time.process_time() - begin < 1.5


# -- over real sockets ------------------------------------------------------------------


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def live(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveNode]:
    with ExitStack() as until:
        changes: dict[str, Any] = {}
        if request.param == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres")
            template: str = request.getfixturevalue("migrated_template")
            changes["db"] = server.url(until.enter_context(fresh_database(server, template)))
        folder = tmp_path_factory.mktemp("node")
        node = live_node(folder, marketplaces=True, request_timeout=300, **changes)
        yield until.enter_context(node)


def made(live: LiveNode, marketplace: str) -> NewSeller:
    services = live.node.marketplaces.services
    return live.run(create_seller(services, Principal("org_test"), marketplace, "Seller"))


def dripping(live: LiveNode, target: str) -> bytes:
    """What comes back for a request whose body never comes whole."""
    url = httpx.URL(live.node.marketplace_url or "")
    with socket.create_connection((url.host, url.port or 0), timeout=60) as line:
        head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nuser"
        line.sendall(head.encode())
        answer = b""
        while b"}" not in answer and b"</ErrorResponse>" not in answer:
            more = line.recv(65_536)
            if not more:
                break
            answer += more
    return answer


def signed(seller: NewSeller, action: str) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    query = {
        "Action": action,
        "Timestamp": moment,
        "UserID": seller.login["UserID"],
        "Version": "1.0",
    }
    query["Signature"] = signature.sign(query, seller.login["ApiKey"])
    return "/?" + str(httpx.QueryParams(query))


def test_a_body_that_never_comes_whole_is_given_up(
    live: LiveNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face, "BODY_S", 0.3)
    begin = time.monotonic()
    answer = dripping(live, "/crm/importPart")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"status_code":"R400"' in answer
    assert b"did not come in time" in answer
    answer = dripping(live, signed(made(live, "sellercenter"), "CreateWebhook"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"<ErrorCode>5</ErrorCode>" in answer
    assert time.monotonic() - begin < 20  # and not a minute


def test_a_caller_that_goes_away_leaves_nothing_behind(live: LiveNode) -> None:
    url = httpx.URL(live.node.marketplace_url or "")
    seller = made(live, "ovoko")
    for target in ("/crm/importPart", signed(made(live, "sellercenter"), "ProductCreate")):
        with socket.create_connection((url.host, url.port or 0), timeout=60) as line:
            line.sendall(
                f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nu".encode()
            )
    answer = httpx.post(f"{live.node.marketplace_url}/v2/get/parts", data=seller.login).json()
    assert (answer["status_code"], answer["list"]) == ("R200", [])
    assert live.run(_tasks()) < 100


async def _tasks() -> int:
    return len(asyncio.all_tasks())


@pytest.mark.parametrize("target", ["/crm/importPart", "/"])
def test_a_body_beyond_the_limit_is_refused_with_status_200(live: LiveNode, target: str) -> None:
    where = signed(made(live, "sellercenter"), "ProductCreate") if target == "/" else target
    answer = httpx.post(f"{live.node.marketplace_url}{where}", content=filled(b"x", 9 * MB))
    assert answer.status_code == 200
    assert '"R400"' in answer.text if target != "/" else "<ErrorCode>11<" in answer.text
