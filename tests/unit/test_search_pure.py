"""The pure parts of searching: words, tallies, statements with parts, places in lists, and list bodies."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from marketbell import ids
from marketbell.api.pagination import list_of, page_of
from marketbell.api.query import Query
from marketbell.store import statements as reading
from marketbell.store.base import Slice, Stop
from marketbell.store.tally import BORN, DELIVERED, HOUR_MS, Tally
from marketbell.store.texts import WORD_MAX, WORDS_MAX, words_of, words_of_payload


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ada  LOVELACE, ada!", ("ada", "lovelace")),
        ("AB-12_x 3.5", ("ab", "12", "x", "3", "5")),
        ("Straße ŻÓŁW ﬁne", ("strasse", "żółw", "fine")),
        ("- _ !", ()),
        ("a" * 100, ("a" * WORD_MAX,)),
    ],
)
def test_words_are_runs_of_letters_and_digits(text: str, words: tuple[str, ...]) -> None:
    assert words_of(text) == words


def test_a_payloads_words_are_those_of_its_values() -> None:
    payload = b'{"key":{"k":["One",{"deep":"two"}],"n":12,"f":1.5,"t":true,"z":null}}'
    assert set(words_of_payload(payload)) == {"one", "two", "12", "1", "5"}
    assert words_of_payload(b"plain, text \xff") == ("plain", "text")
    many = msgspec.json.encode({"x": [f"w{number}" for number in range(2 * WORDS_MAX)]})
    assert len(words_of_payload(many)) == WORDS_MAX


def test_a_tally_is_read_back_as_it_was_written() -> None:
    one, two = Tally(), Tally()
    assert not one
    one.add(7, HOUR_MS, BORN)
    one.add(7, HOUR_MS + 1, DELIVERED)
    one.add(8, 2 * HOUR_MS, BORN, 3)
    two.add(7, HOUR_MS, DELIVERED, -1)
    both = Tally()
    both.take([one.text(), two.text()])
    assert both.rows() == [(1, 7, 1, 0, 0, 0, 0, 0), (2, 8, 3, 0, 0, 0, 0, 0)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "-- part: p\n-- A part.\nx > 1\n\n-- name: a\n-- A.\nselect {p};\n",
            {"a": "select x > 1;"},
        ),
        ("-- name: a\n-- A.\nselect {p};\n", None),
        ("-- part: p\n-- A part.\nx;\n", None),
        ("-- name: a\n-- A.\nselect 1\n", None),
        ("-- part: a\n-- A.\nx\n\n-- name: a\n-- A.\nselect 1;\n", None),
    ],
)
def test_statements_take_their_parts(
    text: str, expected: dict[str, str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sql" / "x"
    folder.mkdir(parents=True)
    (folder / "y.sql").write_text(text)
    monkeypatch.setattr(reading, "files", lambda _package: tmp_path)
    if expected is None:
        with pytest.raises(ValueError, match=r"y\.sql"):
            reading.texts.__wrapped__("x", "y")
    else:
        assert reading.texts.__wrapped__("x", "y") == expected


def test_a_place_is_an_id_that_is_never_made() -> None:
    for key in (0, 1, 12_345_678_901):
        place = ids.of_key(ids.MESSAGE, key)
        assert ids.is_id(ids.MESSAGE, place)
        assert ids.key_of(place) == key
    assert ids.key_of(ids.new_id(ids.MESSAGE, 1_767_225_600_000)) is None


@pytest.mark.parametrize(
    ("data", "backward", "iterator", "previous"),
    [
        (("b", "a"), False, "s", "-b"),
        ((), False, "s", "-s"),
        (("b", "a"), True, "a", "-s"),
        ((), True, "s", "-s"),
    ],
)
def test_a_list_that_stopped_goes_on_from_there(
    data: tuple[str, ...], backward: bool, iterator: str, previous: str
) -> None:
    part = Slice(data, done=False, stopped=Stop("s", 1_500, backward=backward))
    body = list_of(part, str.upper, str)
    assert (body.iterator, body.prev_iterator, body.done) == (iterator, previous, False)
    assert msgspec.json.decode(msgspec.json.encode(body))["lookedTo"] == "1970-01-01T00:00:01.500Z"
    whole = msgspec.json.encode(list_of(Slice(("a",), done=True), str, str))
    assert b"lookedTo" not in whole
    place = ids.of_key(ids.MESSAGE, 7)
    query = Query(f"iterator=-{place}".encode(), ("iterator", "limit", "order"))
    assert page_of(query, ids.MESSAGE).before == place
