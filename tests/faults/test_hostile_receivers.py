"""
Receivers that mean harm: each costs one attempt with a clear reason, and nothing after it.

Real sockets and real TLS on the event loop of the server. Time limits are real ones too, with
room above them, since other work shares the machine.

What they cost is counted on SQLite, where every socket of this process is a receiver's or ours.
What comes of them is shown on PostgreSQL, too: all of them at once, each attempt on record there
with its reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import pytest
import uvloop

from marketbell.clock import SystemClock
from marketbell.delivery import reasons
from marketbell.delivery.addresses import ADDRESSES
from marketbell.model import Attempt, DeliveryState, Endpoint, Millis, Outcome, Policy
from marketbell.testing import HANG, Answer, Authority, TestReceiver, Then
from support.creatures import (
    GOAWAY,
    SETTINGS,
    Lair,
    change_ciphers_forever,
    drip_after,
    greet,
    refuse_protocols,
    say_nothing,
    signed_by_itself,
    speak_first,
)
from support.footprint import footprint
from support.knobs import Knobs
from support.nodes import OpenPlane, opener, postgres_opener

HOST: Final = "shop.example"
HERE: Final = ("127.0.0.1",)
METADATA: Final = "http://169.254.169.254/latest/meta-data/"
OK_HEAD: Final = b"HTTP/1.1 200 OK\r\n"

ROOM_MS: Final = 10_000
"""By how much an attempt may end after its limit where the machine is busy with other things."""
MEMORY: Final = 6_000_000
"""What one attempt may take of memory at its worst, the receiver's own share included."""

Home: TypeAlias = TestReceiver | Lair


class Creature(msgspec.Struct, frozen=True, kw_only=True):
    """One receiver, and what an attempt at it must come to."""

    home: Callable[[Authority], Home]
    reason: str
    status: int = 0
    outcome: Outcome = Outcome.NO_ANSWER
    response: range = range(1)
    """How many bytes of its answer's body are kept."""
    tls: bool = False
    timeout: Millis = 20_000
    least: Millis = 0
    """How long the attempt takes at least; at most its time limit, and some room."""
    names: Sequence[Sequence[str]] = (HERE,)
    """What its name server says, question by question; the last is repeated."""
    before: int = 0
    """So many messages are taken well before the one that counts."""
    connections: int = 1
    """How many it gets in all; those that end in the handshake it is not told of."""


def zeros(size: int) -> bytes:
    """So many zeros, in gzip."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(1 << 20)
    return b"".join(squeeze.compress(piece) for _ in range(size >> 20)) + squeeze.flush()


BOMB: Final = zeros(100 << 20)


def http(*answers: Answer) -> Callable[[Authority], Home]:
    return lambda _: TestReceiver(answers)


def https(answer: Answer, *, protocol: str = "http/1.1") -> Callable[[Authority], Home]:
    def home(authority: Authority) -> Home:
        context = authority.server_context(HOST)
        context.set_alpn_protocols([protocol])
        return TestReceiver([answer], tls=context)

    return home


def certified(name: str, *, expired: bool = False) -> Callable[[Authority], Home]:
    return lambda authority: TestReceiver(tls=authority.server_context(name, expired=expired))


def addresses(count: int, *more: str) -> tuple[str, ...]:
    """So many addresses of this machine at which nobody is at home, and others."""
    return (*(f"127.1.{place >> 8}.{place & 255}" for place in range(count)), *more)


BESTIARY: Final[Mapping[str, Creature]] = {
    "endless headers": Creature(
        home=http(Answer(raw=OK_HEAD, endless=b"X-Header: value\r\n")),
        reason="answer headers over 32000 bytes",
    ),
    "one endless header": Creature(
        home=http(Answer(raw=OK_HEAD + b"X-Header: ", endless=b"x" * 1_000)),
        reason="answer headers over 32000 bytes",
    ),
    "endless interim answers": Creature(
        home=http(Answer(raw=b"", endless=b"HTTP/1.1 102 Wait\r\n\r\n")),
        reason="malformed answer: too many interim answers",
    ),
    "endless body": Creature(
        home=http(Answer(raw=b"HTTP/1.1 500 Oh\r\n\r\n", endless=b"x" * 1_000)),
        reason="answered 500",
        status=500,
        outcome=Outcome.REJECTED,
        response=range(20_000, 20_001),
    ),
    "endless body of a success": Creature(
        home=http(Answer(raw=OK_HEAD + b"Content-Length: 1000000000000\r\n\r\n", endless=b"x")),
        reason="",
        status=200,
        outcome=Outcome.ACCEPTED,
        response=range(20_000, 20_001),
    ),
    "endless chunks of nothing": Creature(
        home=http(
            Answer(
                raw=OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
                endless=b"1;extension=" + b"e" * 500 + b"\r\nx\r\n",
            )
        ),
        reason="",
        status=200,
        outcome=Outcome.ACCEPTED,
        response=range(2, 20_000),
    ),
    "gzip bomb": Creature(
        home=http(Answer(status=500, headers=(("Content-Encoding", "gzip"),), body=BOMB)),
        reason="answered 500",
        status=500,
        outcome=Outcome.REJECTED,
        response=range(20_000, 20_001),
    ),
    "gzip bomb over TLS": Creature(
        home=https(Answer(status=500, headers=(("Content-Encoding", "gzip"),), body=BOMB)),
        reason="answered 500",
        status=500,
        outcome=Outcome.REJECTED,
        response=range(20_000, 20_001),
        tls=True,
    ),
    "never an answer": Creature(
        home=http(HANG),
        reason=reasons.ANSWER_TIMED_OUT,
        timeout=1_000,
        least=1_000,
    ),
    "head of one byte a second": Creature(
        home=http(Answer(drip_s=1.0)),
        reason=reasons.READ_TIMED_OUT,
        timeout=3_500,
        least=3_500,
    ),
    "body of one byte a second": Creature(
        home=lambda _: Lair(drip_after(OK_HEAD + b"Content-Length: 20\r\n\r\n", 1.0)),
        reason=reasons.READ_TIMED_OUT,
        timeout=3_500,
        least=3_500,
        response=range(1, 4),
    ),
    "TLS that never begins": Creature(
        home=lambda _: Lair(say_nothing),
        reason=reasons.TLS_TIMED_OUT,
        tls=True,
        timeout=1_000,
        least=1_000,
    ),
    "TLS that never finishes": Creature(
        home=lambda authority: Lair(greet(authority.server_context(HOST), 0.5)),
        reason=reasons.TLS_TIMED_OUT,
        tls=True,
        timeout=1_000,
        least=1_000,
    ),
    "TLS of ten bytes a second": Creature(
        home=lambda authority: Lair(greet(authority.server_context(HOST), 1.0, 0.1)),
        reason=reasons.TLS_TIMED_OUT,
        tls=True,
        timeout=1_000,
        least=1_000,
    ),
    "TLS that greets for ever": Creature(
        home=lambda _: Lair(change_ciphers_forever),
        reason="tls: unexpected message",
        tls=True,
    ),
    "plain HTTP where TLS should be": Creature(
        home=lambda _: Lair(drip_after(b"HTTP/1.1 400 Bad Request\r\n\r\n", 0.0)),
        reason="tls: wrong version number",
        tls=True,
    ),
    "certificate signed by itself": Creature(
        home=lambda _: TestReceiver(tls=signed_by_itself(HOST)),
        reason="tls: certificate: self-signed certificate",
        tls=True,
        connections=0,
    ),
    "certificate of an unknown authority": Creature(
        home=lambda _: TestReceiver(tls=Authority("Nobody's").server_context(HOST)),
        reason="tls: certificate: unable to get local issuer certificate",
        tls=True,
        connections=0,
    ),
    "certificate for another name": Creature(
        home=certified("other.example"),
        reason="tls: certificate: Hostname mismatch, certificate is not valid for 'shop.example'",
        tls=True,
        connections=0,
    ),
    "certificate that has expired": Creature(
        home=certified(HOST, expired=True),
        reason="tls: certificate: certificate has expired",
        tls=True,
        connections=0,
    ),
    "HTTP/2 only, said in TLS": Creature(
        home=lambda _: Lair(refuse_protocols),
        reason=reasons.TLS_NO_HTTP_1,
        tls=True,
    ),
    "HTTP/2 only, said in frames": Creature(
        home=https(Answer(raw=SETTINGS + GOAWAY, then=Then.CLOSE), protocol="h2"),
        reason="malformed answer: HTTP/2",
        tls=True,
    ),
    "HTTP/2 only, without TLS": Creature(
        home=http(Answer(raw=SETTINGS, then=Then.HANG)),
        reason="malformed answer: HTTP/2",
    ),
    "HTTP/2 only, without waiting for a request": Creature(
        home=lambda _: Lair(speak_first(SETTINGS)),
        reason="malformed answer: HTTP/2",
    ),
    "HTTP/2 only, with its last word of TLS": Creature(
        home=lambda authority: Lair(greet(authority.server_context(HOST), 1.0, then=SETTINGS)),
        reason="malformed answer: HTTP/2",
        tls=True,
    ),
    "another protocol that speaks first, in TLS": Creature(
        home=lambda authority: Lair(greet(authority.server_context(HOST), 1.0, then=b"220 ESMTP")),
        reason="malformed answer: Expected HTTP/, RTSP/ or ICE/",
        tls=True,
    ),
    "redirect to the metadata of the machine": Creature(
        home=http(Answer(status=302, headers=(("Location", METADATA),))),
        reason="answered 302",
        status=302,
        outcome=Outcome.REJECTED,
    ),
    "redirect that asks for the same POST": Creature(
        home=http(Answer(status=307, headers=(("Location", METADATA),))),
        reason="answered 307",
        status=307,
        outcome=Outcome.REJECTED,
    ),
    "DNS that says the metadata's address": Creature(
        home=http(),
        reason="refused address: cloud metadata 169.254.169.254",
        names=(("169.254.169.254",),),
        connections=0,
    ),
    "DNS that rebinds to the metadata": Creature(
        home=http(Answer()),
        reason="refused address: cloud metadata 169.254.169.254",
        names=(HERE, ("169.254.169.254",)),
        before=1,
    ),
    "DNS that rebinds to the private network": Creature(
        home=http(Answer()),
        reason="refused address: private 10.0.0.1",
        names=(HERE, HERE, (*HERE, "10.0.0.1")),
        before=2,
    ),
    "DNS with 1,000 answers": Creature(
        home=http(),
        reason=f"refused address: more than {ADDRESSES} addresses",
        names=(addresses(999, *HERE),),
        connections=0,
    ),
    "DNS with as many answers as may be, nobody at home": Creature(
        home=http(),
        reason=reasons.CONNECT_REFUSED,
        names=(addresses(ADDRESSES - 1, *HERE),),
        connections=0,
    ),
    "dual stack with a private v6": Creature(
        home=http(),
        reason="refused address: unique local fd00::1",
        names=((*HERE, "fd00::1"),),
        connections=0,
    ),
    "dual stack with a private v4 in v6": Creature(
        home=http(),
        reason="refused address: private 10.0.0.1",
        names=((*HERE, "::ffff:10.0.0.1"),),
        connections=0,
    ),
}
"""Each receiver by name."""


class NameServer(Mapping[str, Sequence[str]]):
    """Answers for hosts, each question with the next of its host's answers."""

    def __init__(self, answers: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._answers = {host: list(each) for host, each in answers.items()}

    def __getitem__(self, host: str) -> Sequence[str]:
        answers = self._answers[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What one encounter came to."""

    attempts: list[Attempt]
    state: DeliveryState | None
    connections: int


async def meet(
    creatures: Sequence[Creature], open_plane: OpenPlane, authority: Authority, trusted: Path
) -> tuple[list[Found], int]:
    """
    Send one message to these creatures, and wait until they have been left for good.

    What came of each, and the most memory that was allocated at a time meanwhile.
    """
    before = max(creature.before for creature in creatures)
    knobs = Knobs(
        names=NameServer({HOST: creatures[0].names}),
        names_ttl_s=0.0,
        extra_ca=trusted,
        idle_s=60.0 if before else 0.0,
    )
    async with contextlib.AsyncExitStack() as stack:
        plane = await stack.enter_async_context(open_plane(SystemClock(), knobs))
        application = await plane.application(Policy(retry_schedule=()))
        homes: list[tuple[Home, Endpoint]] = []
        for creature in creatures:
            home = creature.home(authority)
            await stack.enter_async_context(home)
            url = f"http{'s' if creature.tls else ''}://{HOST}:{home.port}/hook"
            policy = Policy(timeout=creature.timeout)
            homes.append((home, await plane.endpoint(application, url, policy=policy)))
        for _ in range(before):
            well = await plane.publish(application)
            await plane.settled()
            assert await plane.states([well], homes[0][1]) == {DeliveryState.DELIVERED}

        def own_sockets() -> int:
            """Those of the receivers are their own business."""
            return footprint().sockets - sum(home.open for home, _ in homes)

        gc.collect()
        at_rest = own_sockets()
        tracemalloc.start()
        try:
            message = await plane.publish(application)
            await plane.settled(limit_s=60)
            memory = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        async with asyncio.timeout(30):
            while own_sockets() > at_rest:  # noqa: ASYNC110 - closing tells nobody
                await asyncio.sleep(0.01)
        assert plane.client.connections == (1 if before else 0)
        return [
            Found(
                attempts=await plane.attempts(message, endpoint=endpoint),
                state=await plane.state(message, endpoint),
                connections=home.connections,
            )
            for home, endpoint in homes
        ], memory


async def meet_all(open_plane: OpenPlane, authority: Authority, trusted: Path) -> dict[str, Found]:
    """Send one message to all creatures at once, and to some of them others before; what came of each."""
    hosts = {name: _host(place, name) for place, name in enumerate(BESTIARY)}
    names = NameServer({hosts[name]: one.names for name, one in BESTIARY.items()})
    knobs = Knobs(names=names, names_ttl_s=0.0, extra_ca=trusted, idle_s=60.0)
    async with contextlib.AsyncExitStack() as stack:
        plane = await stack.enter_async_context(open_plane(SystemClock(), knobs))
        application = await plane.application(Policy(retry_schedule=()))
        homes: dict[str, tuple[Home, Endpoint]] = {}
        for name, one in BESTIARY.items():
            home = one.home(authority)
            await stack.enter_async_context(home)
            wanted = {"now", *(f"before.{number}" for number in range(one.before))}
            url = f"http{'s' if one.tls else ''}://{hosts[name]}:{home.port}/hook"
            homes[name] = (
                home,
                await plane.endpoint(
                    application,
                    url,
                    policy=Policy(timeout=one.timeout),
                    event_types=frozenset(wanted),
                ),
            )
        for number in range(max(one.before for one in BESTIARY.values())):
            await plane.publish(application, event_type=f"before.{number}")
            await plane.settled()
        message = await plane.publish(application, event_type="now")
        await plane.settled()
        return {
            name: Found(
                attempts=await plane.attempts(message, endpoint=endpoint),
                state=await plane.state(message, endpoint),
                connections=home.connections,
            )
            for name, (home, endpoint) in homes.items()
        }


def _host(place: int, name: str) -> str:
    """The one that certificates are for, or one of a creature's own for which it has name servers."""
    return HOST if BESTIARY[name].names == (HERE,) else f"shop-{place}.example"


@pytest.fixture
def open_plane(tmp_path: Path) -> OpenPlane:
    """On SQLite alone: connections to a database would be counted as a receiver's."""
    return opener(tmp_path)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The authority that the client trusts."""
    return Authority()


@pytest.fixture(scope="module")
def trusted(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate in a file."""
    return authority.write(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """What the first loop of a process opens for good is no trace of a receiver."""
    uvloop.run(asyncio.sleep(0))


def judge(name: str, found: Found) -> None:
    """Hold what came of an encounter against what must."""
    creature = BESTIARY[name]
    (attempt,) = found.attempts
    assert attempt.reason == creature.reason, name
    assert (attempt.outcome, attempt.status_code) == (creature.outcome, creature.status), name
    assert len(attempt.response) in creature.response, name
    accepted = creature.outcome is Outcome.ACCEPTED
    assert found.state is (DeliveryState.DELIVERED if accepted else DeliveryState.FAILED), name
    assert creature.least <= attempt.duration <= creature.timeout + ROOM_MS, name
    assert found.connections == creature.connections, name


PATIENT: Final = tuple(name for name, creature in BESTIARY.items() if creature.least)
"""Those that only time rids of; they are met together."""


@pytest.mark.parametrize(
    "names",
    [PATIENT, *((name,) for name in BESTIARY if name not in PATIENT)],
    ids=lambda names: names[0] if len(names) == 1 else "those that take their time",
)
def test_one_attempt_with_its_reason_and_nothing_is_left(
    names: Sequence[str],
    open_plane: OpenPlane,
    authority: Authority,
    trusted: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("CRITICAL", logger="asyncio")  # servers whose handshakes fail
    creatures = [BESTIARY[name] for name in names]
    gc.collect()
    before = footprint()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found, memory = runner.run(meet(creatures, open_plane, authority, trusted))
    after = footprint()
    for name, one in zip(names, found, strict=True):
        judge(name, one)
    assert memory <= MEMORY
    assert after.sockets <= before.sockets
    assert after.descriptors <= before.descriptors


def test_on_postgresql_each_attempt_is_on_record_with_its_reason(
    migrated_url: str, authority: Authority, trusted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", logger="asyncio")  # servers whose handshakes fail
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(meet_all(postgres_opener(migrated_url), authority, trusted))
    assert found.keys() == BESTIARY.keys()
    for name, one in found.items():
        judge(name, one)


async def _all_at_once(
    open_plane: OpenPlane, authority: Authority, trusted: Path, rounds: int
) -> tuple[list[Attempt], int]:
    """Those that never end, many of each at a time; their attempts, and the memory they took."""
    names = ("endless headers", "endless body", "endless chunks of nothing", "gzip bomb")
    knobs = Knobs(extra_ca=trusted, breaker_failures=100_000)
    async with contextlib.AsyncExitStack() as stack:
        plane = await stack.enter_async_context(open_plane(SystemClock(), knobs))
        application = await plane.application(Policy(retry_schedule=(1,) * (rounds - 1)))
        for name in names:
            home = BESTIARY[name].home(authority)
            await stack.enter_async_context(home)
            for place in range(16):
                await plane.endpoint(application, f"http://127.0.0.1:{home.port}/{place}")
        gc.collect()
        tracemalloc.start()
        try:
            await plane.publish(application)
            await plane.settled(limit_s=90)
            memory = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        return plane.told.attempts, memory


def test_many_at_a_time_take_no_more_than_so_many_single_ones(
    open_plane: OpenPlane, authority: Authority, trusted: Path
) -> None:
    gc.collect()
    before = footprint()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        attempts, memory = runner.run(_all_at_once(open_plane, authority, trusted, 3))
    reasons_told = Counter(attempt.reason for attempt in attempts)
    assert set(reasons_told) == {"", "answered 500", "answer headers over 32000 bytes"}
    assert reasons_told["answered 500"] == 2 * 16 * 3
    assert reasons_told["answer headers over 32000 bytes"] == 16 * 3
    assert reasons_told[""] == 16
    assert memory <= 64 * 500_000
    assert footprint().descriptors <= before.descriptors
