"""Public ids: shape, time and order."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell import ids

EPOCH = 1_400_000_000_000
LAST = EPOCH + (2**32 - 1) * 1000

instants = st.integers(min_value=EPOCH, max_value=LAST)


@given(instants)
def test_an_id_has_its_prefix_and_tells_its_time_to_4_ms(now: int) -> None:
    made = ids.new_id("msg_", now)
    assert ids.is_id("msg_", made)
    assert len(made) == 4 + 27
    late = now - ids.time_of(made)
    assert -1000 <= late < 4


@given(instants, st.lists(st.integers(min_value=-400, max_value=5000), max_size=50))
def test_ids_rise_while_the_clock_steps_back_by_less_than_a_second(
    start: int, steps: list[int]
) -> None:
    now = highest = min(max(start, EPOCH + 10_000_000), LAST - 20_000_000)
    ids.new_id("msg_", now + 10_000_000)  # so far ahead that the next one begins anew
    made = [ids.new_id("msg_", now)]
    for step in steps:
        now = max(now + step, highest - 900)
        highest = max(highest, now)
        made.append(ids.new_id("msg_", now))
    assert made == sorted(set(made))


@given(instants, instants)
def test_ids_of_different_ticks_sort_by_time(one: int, other: int) -> None:
    earlier, later = sorted((one, other))
    first = ids.smallest_at("app_", earlier)
    second = ids.smallest_at("app_", later)
    assert first <= second
    assert second <= ids.new_id("app_", later + 2000)


def test_many_ids_of_one_instant_are_unique_and_in_order() -> None:
    made = [ids.new_id("atmpt_", EPOCH + 77_000) for _ in range(20_000)]
    assert made == sorted(set(made))
    assert all(EPOCH + 76_000 <= ids.time_of(one) <= EPOCH + 77_000 for one in made)


def test_ids_of_one_instant_rise_over_a_carry_into_their_first_characters() -> None:
    """A hundred ids or so use up the last nine characters, as each is up to 2**48 further on."""
    made = [ids.new_id("", EPOCH + 99_000) for _ in range(500)]
    assert made == sorted(set(made))
    assert len({one[:18] for one in made}) > 1


def test_after_a_great_step_back_ids_follow_the_clock() -> None:
    ids.new_id("msg_", EPOCH + 10_000_000)
    assert ids.time_of(ids.new_id("msg_", EPOCH + 5_000_000)) == EPOCH + 5_000_000


def test_an_id_decodes_as_a_ksuid_with_milliseconds() -> None:
    made = ids.smallest_at("", EPOCH + 1_000 + 8)
    value = 0
    for character in made:
        value = value * 62 + (
            "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".index(character)
        )
    assert value.to_bytes(20, "big") == (1).to_bytes(4, "big") + bytes([2]) + bytes(15)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "msg_",
        "msg_" + "0" * 26,
        "msg_" + "0" * 28,
        "app_" + "0" * 27,
        "msg_" + "z" * 27,
        "msg_" + "0" * 26 + "-",
        "msg_" + "0" * 26 + "é",
    ],
)
def test_what_is_not_an_id_is_told_apart(text: str) -> None:
    assert not ids.is_id("msg_", text)


def test_the_greatest_value_is_an_id() -> None:
    assert ids.is_id("msg_", "msg_aWgEPTl1tmebfsQzFP4bxwgy80V")
    assert not ids.is_id("msg_", "msg_aWgEPTl1tmebfsQzFP4bxwgy80W")


def test_instants_out_of_range_are_kept_within_it() -> None:
    assert ids.time_of(ids.smallest_at("", 0)) == EPOCH
    assert ids.time_of(ids.smallest_at("", 1 << 62)) == LAST + 996


def test_a_forked_process_makes_other_ids() -> None:
    now = EPOCH + 123_000_000
    ids.new_id("msg_", now)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, ids.new_id("msg_", now).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 64).decode()
    os.close(read)
    os.close(write)
    assert theirs != ids.new_id("msg_", now)
