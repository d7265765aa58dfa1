"""Where a request came from: what proxies say is believed only of those that are trusted."""

from __future__ import annotations

import ipaddress

import pytest

from marketbell.control.origins import Sources, headers_of

PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", b"1.2.3.4", "203.0.113.9"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", b"6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", b"6.6.6.6, 1.2.3.4, 10.9.9.9", "1.2.3.4"),
        ("10.0.0.1", b"10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("10.0.0.1", b"1.2.3.4:5678", "1.2.3.4"),
        ("10.0.0.1", b"[2001:db8::1]:443", "2001:db8::1"),
        ("10.0.0.1", b"2001:db8::1", "2001:db8::1"),
        ("fd00::1", b"1.2.3.4", "1.2.3.4"),
        ("::ffff:10.0.0.1", b"1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", b"1.2.3.4, nonsense", "10.0.0.1"),
        ("10.0.0.1", b"<script>", "10.0.0.1"),
        ("10.0.0.1", b"1.2.3.4" + b", 10.1.1.1" * 50, "10.1.1.1"),
    ],
)
def test_the_last_address_that_is_no_trusted_proxy(
    peer: str, forwarded: bytes, expected: str
) -> None:
    headers = {b"x-forwarded-for": forwarded} if forwarded else {}
    assert Sources(PROXIES).address((peer, 4711), headers) == expected


def test_nobody_is_trusted_by_default() -> None:
    assert Sources(()).address(("10.0.0.1", 1), {b"x-forwarded-for": b"1.2.3.4"}) == "10.0.0.1"


def test_a_socket_without_an_address_has_none() -> None:
    assert Sources(PROXIES).address(None, {b"x-forwarded-for": b"1.2.3.4"}) == ""


def test_idempotency_keys_that_differ_are_none() -> None:
    key = b"idempotency-key"
    assert headers_of([(key, b"a"), (b"x", b"1"), (b"x", b"2")]) == {key: b"a", b"x": b"2"}
    assert headers_of([(key, b"a"), (key, b"a")]) == {key: b"a"}
    assert headers_of([(key, b"a"), (key, b"b")]) == {key: b"a, b"}
