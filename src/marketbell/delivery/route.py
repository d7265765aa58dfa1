"""The way to one endpoint: what all of its requests need, worked out once. Pure."""

from __future__ import annotations

import weakref
from collections import deque
from contextlib import suppress
from typing import Final

from marketbell.delivery.exchange import Limits
from marketbell.delivery.flight import Way
from marketbell.delivery.netguard import Target
from marketbell.delivery.plan import Plan
from marketbell.delivery.wire import HeadOf, heads_of
from marketbell.dialects.base import form_of
from marketbell.model import Millis

_NEVER: Final = -(1 << 62)
_NOWHERE: Final = Target(tls=True, host="", port=0, host_header="", target="")


class Route(Way):
    """
    The way to the endpoint of one plan.

    It holds what signs, and so the endpoint's secrets: whoever drops the plan drops it too.
    """

    __slots__ = ("__weakref__", "head_of", "plan", "rendered", "used", "within")

    def __init__(self, plan: Plan, limits: Limits, within: Millis) -> None:
        super().__init__(plan.target or _NOWHERE, limits)
        self.plan = plan
        self.within = within
        """Within so long a request that is begun now has surely ended, on the axis of leases."""
        self.head_of: HeadOf | None = None
        """Writes heads, of messages without headers of their own; None where the dialect renders each."""
        self.rendered = 0
        """How many requests the dialect has rendered since it was looked whether to make a form."""
        self.used = 0.0
        """When the form was used last, in seconds of the monotonic clock."""

    def form(self) -> bool:
        """Have `head_of` from now on; whether the dialect offers a form."""
        target = self.plan.target
        if target is not None:
            with suppress(Exception):  # rendering tells what is wrong
                form = form_of(self.plan.dialect, self.plan.endpoint)
                if form is not None:
                    self.head_of = heads_of(target, form)
        return self.head_of is not None


class Forms:
    """
    Which routes have a form: the busy ones, at most `most` of them.

    To make a form costs as much as it saves in some eight requests, and it takes 2 kB. One that
    has not been used for `rest_s` makes room for another's. None is kept alive by this.
    """

    def __init__(self, *, most: int = 2_048, busy: int = 8, rest_s: float = 10.0) -> None:
        self._most = most
        self._busy = busy
        self._rest_s = rest_s
        self._formed: deque[weakref.ref[Route]] = deque()

    def rendered(self, route: Route, now: float) -> None:
        """A request was rendered at this second of the monotonic clock; from some on it pays to have a form."""
        route.rendered += 1
        if route.rendered < self._busy:
            return
        route.rendered = 0
        formed = self._formed
        if len(formed) >= self._most:
            first = formed.popleft()
            oldest = first()
            if oldest is not None and now - oldest.used < self._rest_s:
                formed.append(first)
                return
            if oldest is not None:
                oldest.head_of = None
        if route.form():
            route.used = now
            formed.append(weakref.ref(route))
        else:
            route.rendered = _NEVER
