"""Query strings, slices of lists, instants and bodies, as the API reads and writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell import ids
from marketbell.api.instants import GREATEST, instant_of, iso
from marketbell.api.pagination import list_of, page_of
from marketbell.api.query import Query
from marketbell.api.wire import Decoder
from marketbell.errors import InvalidError
from marketbell.store.base import Page, Slice

KNOWN = ("limit", "iterator", "order", "event_types", "flag", "at")
ID = ids.new_id(ids.MESSAGE, 1_800_000_000_000)


def query(**parameters: str) -> Query:
    return Query(urlencode(parameters).encode(), KNOWN)


def test_a_slice_is_fifty_from_the_beginning_unless_asked_otherwise() -> None:
    assert page_of(query(), ids.MESSAGE) == Page(limit=50)
    newest = page_of(query(), ids.MESSAGE, newest_first=True)
    assert newest == Page(limit=50, descending=True)


def test_an_iterator_goes_on_and_with_a_dash_back() -> None:
    forth = page_of(query(iterator=ID, limit="1"), ids.MESSAGE)
    assert forth == Page(limit=1, after=ID)
    back = page_of(query(iterator=f"-{ID}", limit="250", order="descending"), ids.MESSAGE)
    assert back == Page(limit=250, before=ID, descending=True)
    assert page_of(query(iterator="a.b"), None).after == "a.b"


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": "0"},
        {"limit": "251"},
        {"limit": "-1"},
        {"limit": "1e2"},
        {"limit": "９"},
        {"limit": "9" * 5000},
        {"iterator": "app_" + "0" * 27},
        {"iterator": "--" + ID},
        {"iterator": "x" * 5000},
        {"order": "up"},
    ],
)
def test_a_slice_that_cannot_be_is_refused_by_name(parameters: dict[str, str]) -> None:
    with pytest.raises(InvalidError) as refused:
        page_of(query(**parameters), ids.MESSAGE)
    assert refused.value.field == ("query", *parameters)
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize(
    ("raw", "name"),
    [(b"iterator=", "iterator"), (b"flag", "flag"), (b"event_types[]=", "event_types")],
)
def test_an_empty_parameter_is_refused_and_not_passed_over(raw: bytes, name: str) -> None:
    with pytest.raises(InvalidError, match="empty") as refused:
        Query(raw, KNOWN)
    assert refused.value.field == ("query", name)


def test_a_list_names_its_ends() -> None:
    part = list_of(Slice(("b", "c"), False), str.upper, str)
    assert (part.data, part.iterator, part.prev_iterator, part.done) == (
        ["B", "C"],
        "c",
        "-b",
        False,
    )
    empty = list_of(Slice[str]((), True), str.upper, str)
    assert (empty.data, empty.iterator, empty.prev_iterator, empty.done) == ([], None, None, True)


NAMES = st.lists(st.from_regex(r"[a-zA-Z0-9._-]{1,20}", fullmatch=True), min_size=1, max_size=8)


@given(NAMES)
def test_event_types_are_read_in_every_form(names: list[str]) -> None:
    forms = [
        urlencode({"event_types": ",".join(names)}),
        "&".join(f"event_types={quote(name)}" for name in names),
        "&".join(f"event_types[]={name}" for name in names),
        "&".join(f"event_types%5B{place}%5D={name}" for place, name in enumerate(names)),
    ]
    for form in forms:
        assert Query(form.encode(), KNOWN).event_types() == frozenset(names)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"other=1", "other"),
        (b"limit=1&limit=1", "limit"),
        (b"limit[]=1", "limit[]"),
        (b"=1", ""),
    ],
)
def test_parameters_that_mean_nothing_are_refused(raw: bytes, field: str) -> None:
    with pytest.raises(InvalidError) as refused:
        Query(raw, KNOWN)
    assert refused.value.field == ("query", field)


@pytest.mark.parametrize("raw", [b"flag=%ff", b"flag=\xff", b"&".join([b"event_types=a"] * 601)])
def test_what_is_no_query_string_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidError):
        Query(raw, KNOWN)


def test_flags_are_true_or_false() -> None:
    assert query(flag="true").flag("flag")
    assert not query(flag="False").flag("flag", default=True)
    assert query().flag("flag", default=True)
    with pytest.raises(InvalidError):
        query(flag="yes").flag("flag")


def test_a_plus_that_became_a_space_is_forgiven() -> None:
    raw = b"at=2026-01-01T02:00:00+02:00"
    assert Query(raw, KNOWN).instant("at") == query(at="2026-01-01T00:00:00Z").instant("at")


@given(st.integers(0, GREATEST))
def test_an_instant_is_written_and_read_back(instant: int) -> None:
    assert instant_of(iso(instant), ("x",)) == instant
    assert len(iso(instant)) == 24


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1)),  # noqa: DTZ001 - the zone comes next
    st.integers(-14 * 60, 14 * 60),
)
def test_any_offset_is_understood(moment: datetime, minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    there = moment.replace(tzinfo=zone)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    wanted = (there - epoch) // timedelta(milliseconds=1)
    assert instant_of(there.isoformat(), ("x",)) == wanted


@pytest.mark.parametrize("text", ["", "now", "2026-01-01", "2026-13-01T00:00:00Z", "T", "T" * 99])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="write it as 2026-11-21T09:30:00Z"):
        instant_of(text, ("x",))


def test_the_last_instant_leaves_a_day_for_the_zones_ahead() -> None:
    assert instant_of("9999-12-30T23:59:59.999Z", ("x",)) == GREATEST
    assert instant_of(GREATEST, ("x",)) == GREATEST
    for late in ("9999-12-31T00:00:00Z", "1969-12-31T23:59:59Z", GREATEST + 1, -1):
        with pytest.raises(InvalidError, match="between 1970-01-01 and 9999-12-30, in UTC"):
            instant_of(late, ("x",))


def test_small_letters_are_understood_too() -> None:
    """RFC 3339, section 5.6."""
    assert instant_of("2024-07-01t12:00:00z", ("x",)) == instant_of("2024-07-01T12:00:00Z", ("x",))


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    numbers: list[int]


class Form(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    inner: Inner | None = None
    words: dict[str, str] = {}


@pytest.mark.parametrize(
    ("body", "field", "kind"),
    [
        (b"", (), "value_error.jsondecode"),
        (b"{", (), "value_error.jsondecode"),
        (b'{"name":"\xff"}', (), "value_error.jsondecode"),
        (b"[]", (), "type_error"),
        (b"{}", ("name",), "value_error.missing"),
        (b'{"name":1}', ("name",), "type_error"),
        (b'{"name":"a","x.y":1}', ("x.y",), "value_error.extra"),
        (b'{"name":"a","inner":{}}', ("inner", "numbers"), "value_error.missing"),
        (b'{"name":"a","inner":{"numbers":[1,"x"]}}', ("inner", "numbers", 1), "type_error"),
        (b'{"name":"a","words":{"k":1}}', ("words", "k"), "type_error"),
        (b'{"name":"a","name":"b"}', (), "value_error"),
    ],
)
def test_a_fault_of_a_body_is_named_by_its_place(
    body: bytes, field: tuple[str | int, ...], kind: str
) -> None:
    with pytest.raises(InvalidError) as refused:
        Decoder(Form)(body)
    assert refused.value.field == ("body", *field)
    assert refused.value.kind == kind
