"""A seller's receiver on a port of its own that fails as the script says, then is well."""

from __future__ import annotations

import socket
from typing import Final, Self

from marketbell.demo.script import Seller
from marketbell.testing.receiver import HANG, Answer, Received, TestReceiver

TARGET: Final = "/hooks?seller=7&key=a%2Fb"
"""Path and query of every receiver's URL; they must arrive untouched."""


class ScriptedReceiver:
    """
    Answers 500, then nothing at all, then is well; `refuse` and `resume` come between.

    A refused attempt never gets here, so the script is given by what asks: after the second
    attempt `refuse`, after the third `resume`. Used as an async context manager.
    """

    def __init__(self, seller: Seller) -> None:
        self._receiver = TestReceiver((Answer(status=500), HANG, Answer(status=seller.good_status)))
        self._placeholder: socket.socket | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._receiver.url.rstrip("/") + TARGET

    @property
    def received(self) -> list[Received]:
        """Every request, in order."""
        return self._receiver.requests

    async def __aenter__(self) -> Self:
        """Start to listen on a free port."""
        await self._receiver.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop every connection and let go of the port."""
        await self._receiver.refuse()
        self._let_go()

    async def refuse(self) -> None:
        """
        Let connections be refused; no more than that if they are already.

        The port stays bound to a socket that does not listen: no other program can take it
        meanwhile, not even the sender by connecting from that very port.
        """
        if self._placeholder is None:
            await self._receiver.refuse()
            self._placeholder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._placeholder.bind(("127.0.0.1", self._receiver.port))

    async def resume(self) -> None:
        """Listen again after having refused."""
        if self._placeholder is not None:
            await self._receiver.listen()
            self._let_go()

    def _let_go(self) -> None:
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None
