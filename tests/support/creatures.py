"""Receivers that mean harm below HTTP: TLS that stalls, lies or speaks another protocol."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from typing import Final, Self, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Speak: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

NO_PROTOCOL: Final = bytes((21, 3, 3, 0, 2, 2, 120))
"""A TLS record: the fatal alert `no_application_protocol` (RFC 7301 section 3.2)."""
SETTINGS: Final = bytes((0, 0, 6, 4, 0, 0, 0, 0, 0)) + bytes((0, 3, 0, 0, 0, 100))
"""How a server of HTTP/2 begins (RFC 9113 section 3.4): one SETTINGS frame."""
GOAWAY: Final = bytes((0, 0, 8, 7, 0, 0, 0, 0, 0)) + bytes((0, 0, 0, 0, 0, 0, 0, 1))
"""And how it ends with who speaks something else: PROTOCOL_ERROR."""


class Lair:
    """A listener on a free port of 127.0.0.1 that speaks as it is told to, for `async with`."""

    def __init__(self, speak: Speak) -> None:
        self.port = 0
        self.connections = 0
        """How many were accepted in all."""
        self.open = 0
        """How many are open now."""
        self._speak = speak
        self._changed = asyncio.Event()
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def deserted(self) -> None:
        """Return once no connection is open."""
        async with asyncio.timeout(60):
            while self.open:
                self._changed.clear()
                await self._changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._speak(reader, writer)
                while await reader.read(65_536):
                    pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)
            self.open -= 1
            self._changed.set()


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the connection, read, and leave it at that."""


async def refuse_protocols(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a TLS greeting as a server does that speaks none of the protocols it offers."""
    await reader.read(65_536)
    writer.write(NO_PROTOCOL)
    writer.close()


async def change_ciphers_forever(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer a TLS greeting with records that mean nothing (RFC 8446 section 5), without end."""
    await reader.read(65_536)
    while True:
        writer.write(bytes((20, 3, 3, 0, 1, 1)) * 1_000)
        await writer.drain()
        await asyncio.sleep(0)


def drip_after(head: bytes, every_s: float) -> Speak:
    """Answer whatever comes with this, and then with one byte in so many seconds; none if 0."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(head)
        await writer.drain()
        while every_s:
            await asyncio.sleep(every_s)
            writer.write(b"x")
            await writer.drain()

    return speak


def speak_first(words: bytes) -> Speak:
    """Say this to whoever comes, unasked."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await writer.drain()

    return speak


def greet(context: ssl.SSLContext, most: float, every_s: float = 0.0, then: bytes = b"") -> Speak:
    """
    Answer a TLS greeting with this part of a server's own, and then with nothing.

    With `every_s` one byte goes out in so many seconds. `then` is said as soon as the handshake
    is over, in one piece with the server's last word of it (so the handshake is TLS 1.2's).
    """
    if then:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = context.wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(await reader.read(65_536))
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
        greeting = outgoing.read()
        greeting = greeting[: int(len(greeting) * most)]
        if not every_s:
            writer.write(greeting)
            await writer.drain()
        if then:
            while True:
                incoming.write(await reader.read(65_536))
                with contextlib.suppress(ssl.SSLWantReadError):
                    server.do_handshake()
                    break
            server.write(then)
            writer.write(outgoing.read())
        if not every_s:
            return
        for byte in greeting:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(every_s)

    return speak


def signed_by_itself(name: str) -> ssl.SSLContext:
    """The TLS settings of a server whose certificate for this host name nobody has signed but it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        file.flush()
        context.load_cert_chain(file.name)
    return context
