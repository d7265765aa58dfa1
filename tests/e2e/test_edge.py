"""The server's edge: headers of every answer, other origins, request ids, and clients that misbehave."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from support.eventually import PATIENCE_S

SLOW_MS = 1_500
"""Longer than the machine stands still within a good request."""


class Raw:
    """A connection that is written to byte by byte."""

    def __init__(self, url: str) -> None:
        address = httpx.URL(url)
        self.begun = time.monotonic()
        self.socket = socket.create_connection((address.host, address.port), timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """Whether it could still be written."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def drip(self, data: bytes, *, every_s: float, limit_s: float) -> float:
        """Send a byte now and then until the server ends it; how long that is since it was opened."""
        self.socket.settimeout(every_s)
        for count in range(int(limit_s / every_s)):
            if not self.send(data[count : count + 1] or b"a"):
                break
            try:
                if self.socket.recv(1, socket.MSG_PEEK) is not None:
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self.socket.settimeout(60)
        return time.monotonic() - self.begun

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The whole of what the server said before it closed; status 0 for nothing."""
        data = b""
        try:
            while part := self.socket.recv(65_536):
                data += part
        except ConnectionResetError:
            pass
        if not data:
            return 0, {}, b""
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        return int(lines[0].split()[1]), headers, body


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory, node_at: Callable[..., Any]) -> Iterator[Any]:
    """A node with tight bounds of size, where pages of two origins may call."""
    with node_at(
        tmp_path_factory.mktemp("bounded"),
        head_max=8_000,
        cors_origins=("https://app.example", "http://localhost:5173"),
    ) as live:
        yield live


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory, node_at: Callable[..., Any]) -> Iterator[Any]:
    """A node that does not wait long for a request."""
    with node_at(tmp_path_factory.mktemp("hurried"), request_timeout=SLOW_MS) as live:
        yield live


def prompt(live: Any) -> None:
    """A good request is answered within 100 ms; the best of a few, as the machine has other work."""
    taken = []
    with httpx.Client() as client:
        for _ in range(5):
            begun = time.monotonic()
            assert client.get(f"{live.url}/api/v1/health/ping").status_code == 204
            taken.append(time.monotonic() - begun)
    assert min(taken) < 0.1


class TestSlowClients:
    def test_a_head_that_drips_is_cut(self, hurried: Any) -> None:
        with Raw(hurried.url) as raw:
            took = raw.drip(b"GET /api/v1/app HTTP/1.1\r\nX: ", every_s=0.1, limit_s=30)
            assert SLOW_MS / 2000 < took < SLOW_MS / 1000 + 10
            status, headers, body = raw.answer()
        assert (status, json.loads(body)["code"]) == (408, "request_timeout")
        assert headers["connection"] == "close"
        assert headers["x-request-id"]
        prompt(hurried)

    def test_a_body_that_drips_is_cut(self, hurried: Any) -> None:
        head = (
            "POST /api/v1/app HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n"
            f"Authorization: Bearer {hurried.token()}\r\n\r\n"
        )
        with Raw(hurried.url) as raw:
            raw.send(head.encode())
            took = raw.drip(b"{", every_s=0.1, limit_s=30)
            assert SLOW_MS / 2000 < took < SLOW_MS / 1000 + 10
            status, _, body = raw.answer()
        assert (status, json.loads(body)["code"]) == (408, "request_timeout")
        prompt(hurried)

    def test_a_body_of_which_nothing_comes_is_cut(self, hurried: Any) -> None:
        for path in ("/api/v1/app", "/api/v1/app/s/msg"):
            head = (
                f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                f"Authorization: Bearer {hurried.token()}\r\n\r\n"
            )
            hurried.client().post("/app", json={"name": "S", "uid": "s"})
            with Raw(hurried.url) as raw:
                raw.send(head.encode())
                assert raw.answer()[0] == 408
        prompt(hurried)

    def test_a_connection_that_says_nothing_is_closed(self, hurried: Any) -> None:
        with Raw(hurried.url) as raw:
            assert raw.answer()[0] == 0
        with Raw(hurried.url) as raw:
            took = raw.drip(b"\r\n" * 100, every_s=0.1, limit_s=30)
            assert took < SLOW_MS / 1000 + 10
        prompt(hurried)

    def test_a_kept_connection_that_dribbles_is_closed(self, hurried: Any) -> None:
        with Raw(hurried.url) as raw:
            raw.send(b"GET /api/v1/health/ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"204" in raw.socket.recv(4_096)
            took = raw.drip(b"\r\n" * 100, every_s=0.1, limit_s=30)
            assert took < SLOW_MS / 1000 + 10

    def test_a_client_that_does_not_read_is_cut(self, hurried: Any) -> None:
        api = hurried.client()
        api.post("/app", json={"name": "Big", "uid": "big"})
        for count in range(12):
            payload = {"n": count, "x": "y" * 900_000}
            api.post("/app/big/msg", json={"eventType": "a", "payload": payload})
        head = f"GET /api/v1/app/big/msg HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {hurried.token()}\r\n\r\n"
        with Raw(hurried.url) as raw:
            raw.send(head.encode())
            time.sleep(SLOW_MS / 1000 + 2.5)
            size = 0
            try:
                while part := raw.socket.recv(1_000_000):
                    size += len(part)
            except ConnectionResetError:
                pass
            assert size < 9_000_000
        prompt(hurried)


class TestSizes:
    def test_a_large_head_is_431(self, bounded: Any) -> None:
        line = b"X-Large: " + b"x" * 4_000 + b"\r\n"
        with Raw(bounded.url) as raw:
            raw.send(b"GET /api/v1/app HTTP/1.1\r\nHost: x\r\n" + 2 * line + b"\r\n")
            status, headers, body = raw.answer()
        assert (status, json.loads(body)["code"]) == (431, "head_too_large")
        assert headers["connection"] == "close"
        prompt(bounded)

    def test_a_head_without_end_is_431(self, bounded: Any) -> None:
        with Raw(bounded.url) as raw:
            raw.send(b"GET /api/v1/app HTTP/1.1\r\nHost: x\r\nX-Endless: ")
            for _ in range(2_000):
                if not raw.send(b"x" * 4_000):
                    break
            else:
                pytest.fail("8 MB of a head were taken")
        prompt(bounded)

    def test_a_large_head_of_a_message_is_431(self, bounded: Any) -> None:
        head = b"POST /api/v1/app/s/msg HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
        with Raw(bounded.url) as raw:
            raw.send(head + b"X-Large: " + b"x" * 8_000 + b"\r\n\r\n{}")
            assert raw.answer()[0] == 431

    @pytest.mark.parametrize(
        ("start", "more"),
        [
            (b"0\r\n", b"x-more: %s\r\n" % (b"y" * 1_000)),
            (b"0\r\nx-more: ", b"y" * 1_000),
            (b"1;more=", b"y" * 1_000),
            (b"", b"0" * 1_000),
        ],
        ids=["trailers", "one trailer", "an extension", "a size"],
    )
    @pytest.mark.parametrize("path", [b"/api/v1/app", b"/portal/login"])
    def test_what_stands_around_a_body_is_bounded(
        self, bounded: Any, path: bytes, start: bytes, more: bytes
    ) -> None:
        with Raw(bounded.url) as raw:
            raw.socket.sendall(
                b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" % path + start
            )
            assert not all(raw.send(more) for _ in range(10_000))  # some 10 MB
        prompt(bounded)

    def test_a_trailer_is_no_header(self, bounded: Any) -> None:
        trailer = b"Authorization: Bearer %s\r\nX-Request-Id: mine" % bounded.token().encode()
        with Raw(bounded.url) as raw:
            raw.socket.sendall(
                b"POST /api/v1/app HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                b"Connection: close\r\n\r\n2\r\n{}\r\n0\r\n%s\r\n\r\n" % trailer
            )
            status, headers, _body = raw.answer()
        assert status == 401
        assert headers["x-request-id"] != "mine"

    def test_a_head_within_the_limit_is_taken(self, bounded: Any) -> None:
        headers = {"x-large": "x" * 7_000}
        answer = bounded.client().get("/app", headers=headers)
        assert answer.status_code == 200

    def test_what_is_not_http_is_400(self, bounded: Any) -> None:
        with Raw(bounded.url) as raw:
            raw.send(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            status, headers, body = raw.answer()
        assert (status, json.loads(body)["code"]) == (400, "malformed_request")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-request-id"]
        prompt(bounded)


class TestManyClients:
    def test_too_many_connections_get_503(
        self, tmp_path: Path, node_at: Callable[..., Any]
    ) -> None:
        with node_at(tmp_path, None, connections_max=8) as live:
            held = [Raw(live.url) for _ in range(8)]
            for raw in held:
                raw.send(b"GET /api/v1/health/ping HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"204" in raw.socket.recv(4_096)
            with Raw(live.url) as late:
                status, headers, body = late.answer()
            assert (status, json.loads(body)["code"]) == (503, "overloaded")
            assert headers["retry-after"]
            for raw in held:
                raw.socket.close()
            wait_for(lambda: httpx.get(f"{live.url}/api/v1/health/ping").status_code == 204)
            prompt(live)


def wait_for(done: Callable[[], bool]) -> None:
    """Return once it is so; the server learns of a closed connection when it next looks."""
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.01)


class TestHeaders:
    def test_every_answer_has_them(self, api: httpx.Client, live: Any) -> None:
        answers = [
            api.get("/app"),
            api.get("/nothing"),
            api.post("/app", json={}),
            api.post("/app/none/msg", json={"eventType": "a", "payload": {}}),
            api.delete("/app"),
            httpx.get(f"{live.url}/nothing"),
            httpx.get(f"{live.url}/metrics"),
            httpx.get(f"{live.url}/docs"),
            httpx.get(f"{live.url}/portal"),
            httpx.head(f"{live.url}/api/v1/health"),
            httpx.post(f"{live.url}/portal"),
        ]
        for answer in answers:
            assert answer.headers["x-content-type-options"] == "nosniff", answer.url
            assert answer.headers["cache-control"], answer.url
            assert answer.headers["referrer-policy"], answer.url
            assert answer.headers["x-request-id"], answer.url

    def test_a_request_keeps_its_name_everywhere(self, live: Any) -> None:
        for path in ("/api/v1/app", "/metrics", "/portal", "/docs"):
            kept = httpx.get(live.url + path, headers={"x-request-id": "mine-1"})
            assert kept.headers.get_list("x-request-id") == ["mine-1"]
            odd = httpx.get(live.url + path, headers={"x-request-id": "a b" * 40})
            assert odd.headers["x-request-id"] != "a b" * 40


class TestOrigins:
    @pytest.mark.parametrize("path", ["/api/v1/app", "/api/v1/app/s/msg", "/api/v1/nothing"])
    def test_a_browser_may_ask(self, bounded: Any, path: str) -> None:
        asked = httpx.options(
            bounded.url + path,
            headers={
                "origin": "https://app.example",
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization, idempotency-key",
            },
        )
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-origin"] == "https://app.example"
        assert "POST" in asked.headers["access-control-allow-methods"]
        assert "idempotency-key" in asked.headers["access-control-allow-headers"]
        assert asked.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in asked.headers
        assert asked.headers["x-request-id"]

    def test_answers_say_who_may_read_them(self, bounded: Any) -> None:
        api = bounded.client()
        api.post("/app", json={"name": "S", "uid": "cors"})
        message = {"eventType": "a", "payload": {}}
        headers = {"origin": "http://localhost:5173"}
        for answer in (
            api.get("/app", headers=headers),
            api.get("/nothing", headers=headers),
            api.post("/app/cors/msg", json=message, headers=headers),
        ):
            assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"
            assert "x-request-id" in answer.headers["access-control-expose-headers"]
            assert answer.headers["vary"] == "Origin"

    def test_answers_ahead_of_asgi_do_too(self, bounded: Any) -> None:
        api = bounded.client()
        api.post("/app", json={"name": "S", "uid": "ahead"})
        request = (
            "POST /api/v1/app/ahead/msg HTTP/1.1\r\nHost: here\r\nContent-Length: 30\r\n"
            f"Authorization: {api.headers['authorization']}\r\n\r\n"
            '{"eventType":"a","payload":{}}'
        )
        with Raw(bounded.url) as raw:  # head and body in one piece
            raw.send(request.encode())
            lines = list(iter(raw.socket.makefile("rb").readline, b"\r\n"))
        assert lines[0].startswith(b"HTTP/1.1 202 ")
        assert [line for line in lines if line.lower().startswith(b"vary")] == [b"vary: Origin\r\n"]

    @pytest.mark.parametrize(
        "origin",
        ["https://other.example", "https://app.example.evil", "null", "https://APP.example"],
    )
    def test_other_origins_may_not(self, bounded: Any, origin: str) -> None:
        asked = httpx.options(
            f"{bounded.url}/api/v1/app",
            headers={"origin": origin, "access-control-request-method": "POST"},
        )
        answer = bounded.client().get("/app", headers={"origin": origin})
        for one in (asked, answer):
            assert "access-control-allow-origin" not in one.headers
            assert one.headers["vary"] == "Origin"

    def test_pages_are_never_shared(self, bounded: Any) -> None:
        headers = {"origin": "https://app.example"}
        for path in ("/portal/login", "/metrics"):
            answer = httpx.get(bounded.url + path, headers=headers)
            assert "access-control-allow-origin" not in answer.headers

    def test_it_is_off_by_default(self, live: Any) -> None:
        headers = {"origin": "https://app.example", "access-control-request-method": "GET"}
        asked = httpx.options(f"{live.url}/api/v1/app", headers=headers)
        assert asked.status_code == 405
        assert "access-control-allow-origin" not in asked.headers
        assert "vary" not in asked.headers
