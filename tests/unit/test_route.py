"""Heads that are written by a form are those of rendered requests, to the byte; and nothing else gets out."""

from __future__ import annotations

import gc
import weakref

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.delivery.exchange import Limits
from marketbell.delivery.fairness import Lanes, Places
from marketbell.delivery.netguard import check_url
from marketbell.delivery.plan import Plan
from marketbell.delivery.route import Forms, Route
from marketbell.delivery.wire import heads_of, request_head
from marketbell.dialects.base import AttemptStart, Form, Request
from marketbell.dialects.standard import Standard
from marketbell.model import Endpoint, Instant, Message, SigningKey
from support.lanes import NOW, make_claim, make_plan
from support.values import an_endpoint

STANDARD = Standard()
TARGET = check_url("http://shop.example/a%20b?c=%s&d=%25", https_only=False)
MESSAGE = msgspec.structs.replace(
    make_claim(1).message, public_id="msg_2KFw7HTKyrpLbNEhNZMYY2nDBjS", payload=b'{"a": "%d"}'
)

keys = st.lists(
    st.builds(
        SigningKey,
        kind=st.sampled_from(("v1", "v1a")),
        secret=st.binary(min_size=64, max_size=75),
        expires_at=st.sampled_from((None, NOW, NOW + 1)),
    ),
    max_size=3,
)
own = st.lists(
    st.tuples(
        st.sampled_from(("X-Own", "x-%s", "Content-Type", "SVIX-ID", "authorization")),
        st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=8),
    ),
    max_size=3,
)


@given(keys, own, st.binary(max_size=40), st.integers(NOW, NOW + 2_000))
def test_a_form_writes_what_is_rendered(
    secrets: list[SigningKey], headers: list[tuple[str, str]], payload: bytes, at: Instant
) -> None:
    endpoint = an_endpoint(secrets=tuple(secrets), headers=tuple(headers))
    message = msgspec.structs.replace(MESSAGE, payload=payload)
    request = STANDARD.render(message, endpoint, AttemptStart(at, 1))
    head_of = heads_of(TARGET, STANDARD.request_form(endpoint))
    assert head_of is not None
    assert head_of(message, at) == request_head(TARGET, request.headers, len(payload))
    assert request.body == payload


@pytest.mark.parametrize("value", ["a\r\nHost: b", "a\n", "a\r", "\0", "€"])
def test_what_cannot_be_sent_is_not_written(value: str) -> None:
    differing = heads_of(
        TARGET, Form((("x-a", "1"), ("x-b", None)), lambda _message, _at: (value,))
    )
    assert differing is not None
    assert differing(MESSAGE, NOW) is None
    assert heads_of(TARGET, Form((("x-a", value),), lambda _message, _at: ())) is None
    assert heads_of(TARGET, Form(((value, None),), lambda _message, _at: ("",))) is None


class Broken(Standard):
    """Its form cannot be had."""

    def request_form(self, endpoint: Endpoint) -> Form:
        """Raise."""
        raise KeyError(endpoint.public_id)


class Wrapped(Standard):
    """Renders otherwise than the class that it builds on."""

    def render(self, message: Message, endpoint: Endpoint, start: AttemptStart) -> Request:
        """The payload within another object."""
        made = super().render(message, endpoint, start)
        return Request(made.headers, b'{"data":%b}' % made.body)


def route(plan: Plan) -> Route:
    """The way of a plan."""
    return Route(plan, Limits(), 16_000)


def test_only_a_dialect_that_has_a_form_is_not_rendered() -> None:
    plan = msgspec.structs.replace(make_plan(1), target=TARGET)
    assert route(plan).head_of is None
    assert route(plan).form()
    assert not route(msgspec.structs.replace(plan, dialect=Broken())).form()
    assert not route(msgspec.structs.replace(plan, dialect=Wrapped())).form()
    assert not route(msgspec.structs.replace(plan, target=None, fault="refused")).form()


def _rendered(forms: Forms, one: Route, now: float, times: int) -> None:
    for _ in range(times):
        forms.rendered(one, now)


def test_a_form_is_made_for_a_busy_endpoint_alone() -> None:
    plan = msgspec.structs.replace(make_plan(1), target=TARGET)
    forms, one = Forms(busy=3), route(plan)
    formed = []
    for _ in range(4):
        formed.append(one.head_of is not None)
        forms.rendered(one, 0.0)
    assert formed == [False, False, False, True]
    without = route(msgspec.structs.replace(plan, dialect=Broken()))
    _rendered(forms, without, 0.0, 9)
    assert without.head_of is None


def test_forms_are_bounded_and_go_to_whom_they_serve() -> None:
    plans = [msgspec.structs.replace(make_plan(n), target=TARGET) for n in range(1, 4)]
    forms, (first, second, third) = Forms(most=2, busy=1), list(map(route, plans))
    for one in (first, second, third):
        forms.rendered(one, 0.0)
    assert _formed(first, second, third) == [True, True, False]
    first.used, second.used = 8.0, 19.0
    _rendered(forms, third, 20.0, 2)
    assert _formed(first, second, third) == [False, True, True]  # it had rested for ten seconds
    _rendered(forms, first, 21.0, 4)
    assert _formed(first, second, third) == [False, True, True]


def test_a_form_is_kept_by_its_lane_alone() -> None:
    forms = Forms(most=1, busy=1)
    one = route(msgspec.structs.replace(make_plan(1), target=TARGET))
    forms.rendered(one, 0.0)
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
    other = route(msgspec.structs.replace(make_plan(2), target=TARGET))
    forms.rendered(other, 0.0)
    assert other.head_of is not None


def _formed(*routes: Route) -> list[bool]:
    return [one.head_of is not None for one in routes]


def test_what_signs_goes_with_the_plan() -> None:
    lanes = Lanes(Places(), breaker_failures=3, breaker_rest=1_000)
    lane = lanes.lane(make_plan(1), None, NOW)
    lane.route = route(lane.plan)
    assert lanes.lane(lane.plan, None, NOW).route is not None
    assert lanes.lane(make_plan(1, revision=2), None, NOW).route is None


def test_a_form_sees_each_message_anew() -> None:
    seen: list[Message] = []

    def fill(message: Message, at: Instant) -> tuple[str, ...]:
        seen.append(message)
        return (str(at),)

    head_of = heads_of(TARGET, Form((("x-at", None),), fill))
    assert head_of is not None
    assert b"x-at: 5\r\n" in (head_of(MESSAGE, 5) or b"")
    assert b"x-at: 6\r\n" in (head_of(MESSAGE, 6) or b"")
    assert len(seen) == 2
