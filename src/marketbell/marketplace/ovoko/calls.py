"""One call of Ovoko's API: who calls, with which fields, and an answer that is always HTTP 200."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from marketbell.control.sellers import OVOKO, OvokoSecrets
from marketbell.errors import (
    AuthenticationError,
    InvalidError,
    MarketbellError,
    MoveRefusedError,
    NotFoundError,
)
from marketbell.marketplace.ovoko.form import Form, read_form
from marketbell.marketplace.ovoko.market import Market
from marketbell.model import Application, Instant
from marketbell.settings import Settings
from marketbell.store.base import Store

SPAN_DAYS: Final = 3_660
"""The longest span of days that a list is asked for."""

_ENCODE: Final = msgspec.json.Encoder(decimal_format="number").encode
_YEARS: Final = (1970, 9998)
_SALT: Final = os.urandom(16)
_log = logging.getLogger(__name__)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation is given."""

    application: Application
    user: str
    form: Form
    path: dict[str, str]
    market: Market
    store: Store
    zone: ZoneInfo

    def number(self, name: str) -> int:
        """A number of the path. InvalidError."""
        return Form({name: [self.path[name]]}).required(name, 1)

    def days(self, since: str, until: str) -> tuple[Instant, Instant]:
        """From the first day's start to the last day's end, in Ovoko's zone. InvalidError."""
        first, last = _day(since, "from"), _day(until, "to")
        if not 0 <= (last - first).days <= SPAN_DAYS:
            raise InvalidError(("to",), f"to is before from, or more than {SPAN_DAYS} days after")
        return self._start(first), self._start(last + datetime.timedelta(days=1))

    def day(self, text: str, name: str, *, after: int = 0) -> Instant:
        """The start of a day in Ovoko's zone, or of one so many days after it. InvalidError."""
        return self._start(_day(text, name) + datetime.timedelta(days=after))

    def _start(self, day: datetime.date) -> Instant:
        at = datetime.datetime.combine(day, datetime.time(), self.zone)
        return int(at.timestamp()) * 1000


Answer: TypeAlias = dict[str, object]
Operation: TypeAlias = Callable[[Call], Awaitable[Answer]]


class Desk:
    """Lets operations be called over HTTP: form in, user checked, JSON out, always status 200."""

    def __init__(self, market: Market, store: Store, settings: Settings) -> None:
        self._market = market
        self._store = store
        self._body_max = settings.body_max
        self._body_s = settings.request_timeout / 1000
        self._zone = ZoneInfo(settings.ovoko_zone)

    def endpoint(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        """The operation as Starlette calls it."""

        async def endpoint(request: Request) -> Response:
            return _response(await self._answer(request, operation))

        return endpoint

    async def _answer(self, request: Request, operation: Operation) -> Answer:
        try:
            if request.method != "POST":
                raise InvalidError((), "Only POST is allowed")
            form = await read_form(request, body_max=self._body_max, limit_s=self._body_s)
            application, user = await self._authenticate(form)
            call = Call(
                application=application,
                user=user,
                form=form,
                path={name: str(value) for name, value in request.path_params.items()},
                market=self._market,
                store=self._store,
                zone=self._zone,
            )
            return {**await operation(call), "msg": "OK", "status_code": "R200"}
        except MarketbellError as error:
            return _refused(error)
        except Exception:
            _log.exception("an operation of Ovoko's API failed", extra={"path": request.url.path})
            return {"msg": "Internal error", "status_code": "R500"}

    async def _authenticate(self, form: Form) -> tuple[Application, str]:
        """Whose call it is. The time it takes tells nothing of how much of the secrets is right."""
        user = form.text("username")
        given = OvokoSecrets(form.text("password"), form.text("user_token"))
        try:
            credential = await self._store.credential(OVOKO, user)
        except NotFoundError:
            _same(given, OvokoSecrets("", "no such user"))
            raise AuthenticationError("Wrong username, password or user_token") from None
        if not _same(given, msgspec.json.decode(credential.secret, type=OvokoSecrets)):
            raise AuthenticationError("Wrong username, password or user_token")
        return credential.application, user


def _same(given: OvokoSecrets, kept: OvokoSecrets) -> bool:
    """Whether both secrets fit, compared by digests of one length."""
    return hmac.compare_digest(_digest(given), _digest(kept))


def _digest(secrets: OvokoSecrets) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(secrets), key=_SALT).digest()


def _refused(error: MarketbellError) -> Answer:
    """Our choice where Ovoko's documents have no code: R403 for a stranger, R500 for our trouble."""
    if isinstance(error, NotFoundError):
        code = "R404"
    elif isinstance(error, AuthenticationError):
        code = "R403"
    elif isinstance(error, InvalidError | MoveRefusedError):
        code = "R400"
    else:
        code = "R500"
    return {"msg": error.detail, "status_code": code}


def _response(answer: Answer) -> Response:
    return Response(_ENCODE(answer), media_type="application/json")


def _day(text: str, name: str) -> datetime.date:
    try:
        day = datetime.datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - no instant
    except ValueError:
        day = None
    if day is None or not _YEARS[0] <= day.year <= _YEARS[1]:
        raise InvalidError((name,), f"{name} is not a date such as 2026-01-31")
    return day
