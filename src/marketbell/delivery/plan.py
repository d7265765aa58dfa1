"""All that sending to one endpoint needs, worked out once for each of its revisions."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from typing import Protocol

import msgspec

from marketbell.delivery.netguard import Networks, Target, check_url
from marketbell.dialects.base import DEFAULT_DIALECT, Dialect, Schedule, Signal
from marketbell.errors import InvalidError
from marketbell.model import Application, Endpoint, Millis, OrderOnFailure

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
"""An index into a list as RFC 6901 writes it; no payload has more elements."""

_REMEMBERED = 50_000
"""So many plans are kept; whoever uses one has it still."""

_log = logging.getLogger(__name__)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of an endpoint with its policy resolved."""

    application: Application
    endpoint: Endpoint
    dialect: Dialect
    schedule: Schedule
    honours: frozenset[Signal]
    target: Target | None
    """None if the URL may not be called under the present settings; `fault` says why."""
    fault: str
    timeout: Millis
    max_in_flight: int
    order_by: tuple[str, ...] | None
    """The tokens of the JSON pointer."""
    hold_on_failure: bool
    installed: bool = True
    """Whether its dialect is there. If not, everything waits for it: another's wire is not its own."""


class Dialects(Protocol):
    """Finds a dialect by name."""

    def dialect(self, name: str) -> Dialect:
        """InvalidError if there is none."""


class Planner:
    """Makes plans under the node's settings."""

    def __init__(
        self,
        dialects: Dialects,
        *,
        timeout: Millis,
        timeout_max: Millis,
        max_in_flight: int,
        networks: Networks,
    ) -> None:
        self._dialects = dialects
        self._timeout = timeout
        self._timeout_max = timeout_max
        """What the lease has room for; a policy may be older than the lease."""
        self._told = False
        self._max_in_flight = max_in_flight
        self._networks = networks
        self._plans: dict[int, Plan] = {}

    def plan(self, application: Application, endpoint: Endpoint) -> Plan:
        """The plan of an endpoint as it is now; made once for each pair of revisions."""
        known = self._plans.get(endpoint.id)
        if (
            known is not None
            and known.endpoint.revision == endpoint.revision
            and known.application.revision == application.revision
        ):
            return known
        if len(self._plans) >= _REMEMBERED:  # a node matches messages for endpoints of others too
            self._plans.clear()
        made = self._plans[endpoint.id] = self._make(application, endpoint)
        return made

    def forget(self, endpoint_id: int) -> None:
        """Make the plan of this endpoint anew when it is next asked for."""
        self._plans.pop(endpoint_id, None)

    def keep(self, endpoint_ids: Iterable[int]) -> None:
        """Forget all other endpoints."""
        for endpoint_id in self._plans.keys() - set(endpoint_ids):
            del self._plans[endpoint_id]

    def _make(self, application: Application, endpoint: Endpoint) -> Plan:
        policy = endpoint.policy.over(application.policy)
        target, fault, installed = None, "", True
        try:
            dialect = self._dialects.dialect(policy.dialect or DEFAULT_DIALECT)
        except InvalidError as error:  # the package that brought it has gone
            dialect, installed = self._dialects.dialect(DEFAULT_DIALECT), False
            fault = f"dialect: {error.detail}"
        schedule = dialect.schedule
        if policy.retry_schedule is not None:
            schedule = Schedule(waits=policy.retry_schedule)
        if not fault:
            try:
                target = check_url(
                    endpoint.url, https_only=dialect.https_only, allowed=self._networks
                )
            except InvalidError as error:
                fault = f"refused address: {error.detail}"
        return Plan(
            application=application,
            endpoint=endpoint,
            dialect=dialect,
            schedule=schedule,
            honours=dialect.honours,
            target=target,
            fault=fault,
            timeout=self._within_lease(policy.timeout or self._timeout, endpoint),
            max_in_flight=policy.max_in_flight or self._max_in_flight,
            order_by=None if not policy.order_by else pointer_tokens(policy.order_by),
            hold_on_failure=policy.order_on_failure is OrderOnFailure.HOLD,
            installed=installed,
        )

    def _within_lease(self, timeout: Millis, endpoint: Endpoint) -> Millis:
        """The time-out that is in force; the first that is cut is told of."""
        if timeout <= self._timeout_max:
            return timeout
        if not self._told:
            self._told = True
            extra = {"endpoint": endpoint.public_id, "timeout": timeout, "most": self._timeout_max}
            _log.warning("time-outs are cut to what the lease has room for", extra=extra)
        return self._timeout_max


def pointer_tokens(pointer: str) -> tuple[str, ...]:
    """The reference tokens of a JSON pointer (RFC 6901); '' is the whole document."""
    if not pointer:
        return ()
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/"))


def order_key(payload: bytes, tokens: tuple[str, ...]) -> bytes | None:
    """
    What deliveries of one key have in common: 16 bytes of the value that the pointer names.

    None if the payload has no such value; such a delivery stands outside of any order.
    """
    try:
        value: object = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return None
    for token in tokens:
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif isinstance(value, list) and _INDEX.fullmatch(token) and int(token) < len(value):
            value = value[int(token)]
        else:
            return None
    text = msgspec.json.encode(value, order="sorted")
    return hashlib.blake2b(text, digest_size=16).digest()
