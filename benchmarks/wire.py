"""HTTP/1.1 as both ends of a benchmark speak it: whole messages with a Content-Length, found by search."""

from __future__ import annotations

from random import getrandbits
from typing import Final

SERIAL_DIGITS: Final = 9
SERIAL: Final = b'"serial":"'
"""Stands before a message's number in its payload; so both ends know it in any dialect."""

_PAYLOAD: Final = (
    '{{"serial":"{serial:09d}","orderId":"5f0c8e3a-4a0f-4a55-9f0a-1f6f7f0f9a11","status":"paid",'
    '"currency":"EUR","total":"129.90","items":[{{"sku":"BRK-4471","title":"Brake caliper, rear left",'
    '"quantity":1,"price":"119.90"}},{{"sku":"SHIP","title":"Courier","quantity":1,"price":"10.00"}}],'
    '"buyer":{{"country":"LT","city":"Vilnius","note":"Pra\\u0161ome skambinti"}}}}'
)


def payload(serial: int) -> bytes:
    """A JSON object of some 300 bytes with that number in it."""
    return _PAYLOAD.format(serial=serial).encode()


def serial_in(data: bytes, start: int = 0) -> int:
    """The number of the first message found in `data` from `start` on; -1 if there is none."""
    at = data.find(SERIAL, start)
    if at < 0:
        return -1
    at += len(SERIAL)
    return int(data[at : at + SERIAL_DIGITS])


def body_length(head: bytes) -> int:
    """The Content-Length that a head tells; 0 if it tells none."""
    at = head.find(b"ontent-length: ")
    if at < 0:
        at = head.find(b"ontent-Length: ")
        if at < 0:
            at = head.lower().find(b"ontent-length:") + 1
            if at == 0:
                return 0
    at += 15
    end = head.find(b"\r", at)
    return int(head[at:] if end < 0 else head[at:end])


class Requests:
    """
    POST requests as the official Python SDK sends them, each with an idempotency key of its own.

    `keyed` False leaves that header out.
    """

    def __init__(
        self,
        host: str,
        path: str,
        *,
        token: str,
        content_type: str = "application/json",
        keyed: bool = True,
    ) -> None:
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n"
            "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
            f"User-Agent: svix-libs/2.9.1/python\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: {content_type}\r\n"
        ).encode()
        self._keyed = keyed

    def request(self, body: bytes) -> bytes:
        """One whole request."""
        if not self._keyed:
            return b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body)
        return b"%bsvix-req-id: %d\r\nIdempotency-Key: auto_%b\r\nContent-Length: %d\r\n\r\n%b" % (
            self._head,
            getrandbits(64),
            _uuid4(),
            len(body),
            body,
        )


def _uuid4() -> bytes:
    digits = f"{getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}".encode()
