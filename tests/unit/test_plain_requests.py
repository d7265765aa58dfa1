"""What a connection's requests begin with alike is read once, and read as if it were read each time."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.api.plain import PlainRequests, plain_request

FIRST = b"POST /api/v1/app/app_1/msg HTTP/1.1"
ALIKE = (
    b"Host: here",
    b"User-Agent: svix-libs/2.9.1/python",
    b"Authorization: Bearer one",
    b"Content-Type: application/json",
)


def request(*lines: bytes, body: bytes = b"{}", first: bytes = FIRST) -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join((first, *ALIKE, *lines, length)) + b"\r\n\r\n" + body


def keyed(number: int) -> bytes:
    return request(b"Idempotency-Key: %d" % number, body=b"%d" % number * number)


LINES = st.lists(
    st.sampled_from(
        (
            *ALIKE,
            b"Authorization: Bearer two",
            b"Host: there",
            b"Idempotency-Key: 1",
            b"Idempotency-Key: 2",
            b"Content-Length: 2",
            b"content-length: 3",
            b"Connection: keep-alive",
            b"Connection: close",
            b"Expect: 100-continue",
            b"Transfer-Encoding: chunked",
            b" folded",
            b"X Y: 1",
            b"",
        )
    ),
    max_size=6,
)
STARTS = st.sampled_from(
    (FIRST, FIRST.replace(b"app_1", b"app_2"), FIRST.replace(b"/msg ", b"/msg?with_content=false "))
)
REQUESTS = st.builds(
    lambda first, lines, body: b"\r\n".join((first, *lines)) + b"\r\n\r\n" + body,
    STARTS,
    LINES,
    st.sampled_from((b"", b"{}", b"{ }", b"\r\n", b"\r\n\r\n")),
)


@given(st.lists(REQUESTS, max_size=12))
def test_a_connection_reads_each_request_as_if_it_were_its_first(requests: list[bytes]) -> None:
    reader = PlainRequests()
    for data in requests:
        assert reader.read(data) == plain_request(data)


@given(st.lists(LINES.map(lambda lines: request(*lines)), min_size=3, max_size=12))
def test_requests_that_begin_alike_are_read_as_if_they_did_not(requests: list[bytes]) -> None:
    reader = PlainRequests()
    assert reader.read(keyed(1)) is not None
    assert reader.read(keyed(2)) is not None
    for data in requests:
        assert reader.read(data) == plain_request(data)


def test_a_start_is_found_again() -> None:
    reader = PlainRequests()
    for number in range(1, 40):
        found = reader.read(keyed(number))
        assert found == plain_request(keyed(number))
        assert found is not None
        assert found.headers[b"idempotency-key"] == b"%d" % number
        assert found.body == b"%d" % number * number


@pytest.mark.parametrize(
    "line", [b"Host: twice", b"Authorization: Bearer two", b"Expect: x", b"X Y: 1"]
)
def test_a_line_after_the_known_start_is_looked_at(line: bytes) -> None:
    reader = PlainRequests()
    assert reader.read(keyed(1)) is not None
    assert reader.read(keyed(2)) is not None
    assert reader.read(request(line)) is None
    assert reader.read(keyed(3)) is not None


def test_whose_header_comes_after_what_is_alike_is_known_by_it() -> None:
    reader = PlainRequests()

    def one(token: bytes) -> bytes:
        lines = (FIRST, b"Host: here", b"Content-Length: 2", b"Authorization: Bearer " + token)
        return b"\r\n".join(lines) + b"\r\n\r\n{}"

    callers = set()
    for token in (b"one", b"two", b"three", b"one"):
        found = reader.read(one(token))
        assert found is not None
        callers.add(found.caller)
    assert len(callers) == 3


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_head_without_headers_has_none_of_what_comes_after_it(before: int) -> None:
    reader = PlainRequests()
    for number in range(before):
        assert reader.read(keyed(number + 1)) is not None
    assert reader.read(FIRST + b"\r\n\r\nHost: here\r\nContent-Length: 0\r\n\r\n") is None


def test_another_application_is_no_other_start() -> None:
    reader = PlainRequests()
    for number in range(1, 30):
        name = b"app_%d" % number
        found = reader.read(keyed(number).replace(b"app_1", name))
        assert found is not None
        assert found.application == name.decode()
        assert found.caller == plain_request(keyed(1)).caller  # type: ignore[union-attr]


def test_headers_of_one_request_do_not_stay_for_the_next() -> None:
    reader = PlainRequests()
    assert reader.read(keyed(1)) is not None
    assert reader.read(keyed(2)) is not None
    found = reader.read(request())
    assert found is not None
    assert b"idempotency-key" not in found.headers


def test_what_a_stranger_sends_is_not_kept_in_memory() -> None:
    """Whoever connects is read before it is known who they are; a head may be 32 kB, connections thousands."""
    readers = [PlainRequests() for _ in range(100)]
    long = request(b"X-Long: " + b"x" * 30_000)
    tracemalloc.start()
    try:
        for reader in readers:
            for _ in range(3):
                assert reader.read(bytes(bytearray(long))) is not None
        kept, _most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100 * 2_000
