from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pty
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
import structlog

from marketbell.logs import LineWriter, Renderer, configure_logging, timestamp


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def pipe() -> Iterator[tuple[int, IO[str]]]:
    """The reading end as a descriptor, the writing end as a stream."""
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        yield read, stream
    with contextlib.suppress(OSError):
        os.close(read)


def read_all(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(fd, 65_536)
    return data


def test_lines_come_out_whole_and_in_order(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        writer = LineWriter(stream, gather_s=0.0)
        for number in range(1000):
            writer.write(b"line %d" % number)
        assert writer.flush()
        writer.write(b"last")
        writer.close()
    lines = (tmp_path / "log").read_bytes().split(b"\n")
    assert lines == [b"line %d" % number for number in range(1000)] + [b"last", b""]
    assert writer.dropped == 0


def test_lines_of_several_threads_are_not_mixed(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        writer = LineWriter(stream, gather_s=0.0)

        def write(letter: bytes) -> None:
            for _ in range(500):
                writer.write(letter * 50)

        threads = [threading.Thread(target=write, args=(bytes([c]),)) for c in b"abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.close()
    lines = (tmp_path / "log").read_bytes().splitlines()
    assert sorted(lines) == [bytes([c]) * 50 for c in b"abcd" for _ in range(500)]


def test_a_stuck_reader_costs_lines_beyond_the_bound_and_no_more(
    pipe: tuple[int, IO[str]],
) -> None:
    read, stream = pipe
    writer = LineWriter(stream, buffer_max=100_000, gather_s=0.0)
    line = b"x" * 999
    for _ in range(1000):
        writer.write(line)
    assert not writer.flush(timeout=0.01)
    assert writer.dropped > 0
    kept = 1000 - writer.dropped
    assert read_all(read, kept * 1000) == (line + b"\n") * kept
    assert writer.flush()
    writer.close()


def test_of_many_lines_at_once_those_without_room_are_lost(pipe: tuple[int, IO[str]]) -> None:
    read, stream = pipe
    writer = LineWriter(stream, buffer_max=100, gather_s=0.2)
    writer.write_each([b"a" * 60, b"b" * 60, b"c" * 40])
    writer.close()
    assert writer.dropped == 1
    assert read_all(read, 102) == b"a" * 60 + b"\n" + b"c" * 40 + b"\n"
    writer.write_each([b"d", b"e"])
    assert writer.dropped == 3


def test_a_reader_that_went_away_is_survived(pipe: tuple[int, IO[str]]) -> None:
    read, stream = pipe
    os.close(read)
    writer = LineWriter(stream, gather_s=0.0)
    writer.write(b"one")
    assert writer.flush()
    writer.write(b"two")
    writer.close()
    assert writer.dropped == 2


def test_a_full_disk_costs_the_lines_of_that_moment_only() -> None:
    with Path("/dev/full").open("w") as stream:
        writer = LineWriter(stream, gather_s=0.0)
        writer.write(b"one")
        writer.flush()
        assert writer.dropped == 1
        writer.write(b"two")
        writer.close()
        assert writer.dropped == 2


def test_a_non_blocking_descriptor_still_gets_every_byte(pipe: tuple[int, IO[str]]) -> None:
    read, stream = pipe
    os.set_blocking(stream.fileno(), False)
    writer = LineWriter(stream, gather_s=0.0)
    for _ in range(300):
        writer.write(b"y" * 999)
    assert read_all(read, 300_000) == (b"y" * 999 + b"\n") * 300
    writer.close()
    assert writer.dropped == 0


def test_closing_does_not_wait_for_a_stuck_reader(pipe: tuple[int, IO[str]]) -> None:
    read, stream = pipe
    writer = LineWriter(stream, gather_s=0.0)
    for _ in range(200):
        writer.write(b"z" * 999)
    writer.close(timeout=0.01)
    assert read_all(read, 200_000).count(b"\n") == 200


def test_a_stream_that_is_closed_already_is_survived() -> None:
    stream = io.StringIO()
    stream.close()
    writer = LineWriter(stream, gather_s=0.0)
    writer.write(b"one")
    writer.close()
    assert writer.dropped == 1


def test_lines_have_time_level_and_event_first() -> None:
    stream = io.StringIO()
    log = configure_logging("json", "info", stream)
    structlog.get_logger().bind(port=8080).info("started", hosts=["a"])
    structlog.get_logger().debug("not shown")
    log.writer.close()
    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert list(fields) == ["time", "level", "event", "port", "hosts"]
    assert (fields["level"], fields["event"], fields["port"]) == ("info", "started", 8080)
    assert fields["time"].endswith("Z")


def test_the_standard_librarys_lines_have_the_same_shape() -> None:
    stream = io.StringIO()
    log = configure_logging("json", "info", stream)
    try:
        raise LookupError("gone")
    except LookupError:
        logging.getLogger("some.library").exception("it broke: %s", "so")
    logging.getLogger("some.library").debug("not shown")
    log.writer.close()
    fields = json.loads(stream.getvalue().splitlines()[0])
    assert list(fields)[:3] == ["time", "level", "event"]
    assert (fields["level"], fields["event"], fields["logger"]) == (
        "error", "it broke: so", "some.library",
    )  # fmt: skip
    assert "LookupError: gone" in fields["exception"]


def test_what_our_own_modules_say_beside_the_event_is_shown() -> None:
    stream = io.StringIO()
    log = configure_logging("json", "info", stream)
    extra = {"count": 3, "reason": "The database is starting or stopping."}
    logging.getLogger("marketbell.delivery.claims").warning("claims not released", extra=extra)
    logging.getLogger("some.library").warning("coloured", extra={"color_message": "[31m"})
    log.writer.close()
    ours, theirs = map(json.loads, stream.getvalue().splitlines())
    assert extra.items() <= ours.items()
    assert theirs.keys() == {"time", "level", "event", "logger"}


def test_a_librarys_wrong_format_string_does_not_raise() -> None:
    stream = io.StringIO()
    log = configure_logging("json", "info", stream)
    root = logging.getLogger()
    root.handlers[:] = root.handlers[-1:]  # pytest's own handlers do raise
    logging.getLogger("some.library").warning("wrong %d", "format")
    logging.getLogger("some.library").warning("right %d", 1)
    log.writer.close()
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "right 1"


def test_configuring_again_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    one = configure_logging("json", "info", first)
    other = configure_logging("json", "info", second)
    logging.getLogger("some.library").warning("once")
    structlog.get_logger().info("too")
    one.writer.close()
    other.writer.close()
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 2


def test_what_cannot_be_encoded_is_shown_by_its_repr_and_never_raises() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "<odd>"

    class Worse:
        def __repr__(self) -> str:
            raise RuntimeError

    stream = io.StringIO()
    log = configure_logging("json", "info", stream)
    structlog.get_logger().info("a", value=Odd())
    structlog.get_logger().info("b", value=Worse())
    log.writer.close()
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["value"] == "<odd>"
    assert log.writer.dropped == 1


def test_a_very_long_text_is_cut_in_its_middle() -> None:
    stream = io.StringIO()
    log = configure_logging("json", "info", stream)
    structlog.get_logger().info("a", value="<" + "x" * 1_000_000 + ">")
    log.writer.close()
    value = json.loads(stream.getvalue())["value"]
    assert len(value) < 20_000
    assert value.startswith("<x")
    assert value.endswith("x>")


def test_auto_is_console_and_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    leader, follower = pty.openpty()
    try:
        with os.fdopen(follower, "w") as stream:
            log = configure_logging("auto", "info", stream)
            structlog.get_logger().warning("full", disk="/")
            log.writer.close()
            line = os.read(leader, 65_536).decode()
    finally:
        os.close(leader)
    assert "\x1b[33m" in line
    assert "full" in line


def test_auto_is_json_elsewhere_and_console_there_is_not_coloured() -> None:
    assert not configure_logging("auto", "info", io.StringIO()).console
    stream = io.StringIO()
    log = configure_logging("console", "info", stream)
    structlog.get_logger().info("full", disk="/", why="two words", none=None)
    log.writer.close()
    assert (
        stream.getvalue().split("Z ", 1)[1]
        == 'info    full                     disk=/ why="two words"\n'
    )


def test_no_color_is_respected_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        log = configure_logging("console", "info", stream)
        structlog.get_logger().warning("full")
        log.writer.close()
        assert b"\x1b" not in os.read(leader, 65_536)
    os.close(leader)


def test_a_console_line_shows_a_traceback_on_lines_of_its_own() -> None:
    rendered = Renderer(console=True).render(
        {"time": "t", "level": "error", "event": "e", "exception": "Traceback:\n  x"}
    )
    assert rendered.decode().splitlines()[1:] == ["Traceback:", "  x"]


def test_a_control_character_in_a_fact_does_not_reach_the_terminal() -> None:
    rendered = Renderer(console=True).render(
        {"time": "t", "level": "info", "event": "e", "reason": "a\x1b[2Jb\nc"}
    )
    assert b"\x1b" not in rendered
    assert b"\n" not in rendered


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_298_400_007, "2026-11-21T22:00:00.007Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_instants_are_shown_in_utc_with_milliseconds(instant: int, text: str) -> None:
    assert timestamp(instant) == text
