"""Who is let in: tokens and keys judged once, remembered, limited, and refused as soon as they end."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
from collections import OrderedDict
from hashlib import blake2b
from typing import Any, Final

import msgspec

from marketbell.clock import Clock
from marketbell.control.api_keys import parse
from marketbell.control.buckets import Bucket
from marketbell.control.tokens import (
    TOKEN_BYTES,
    Login,
    Principal,
    TokenKey,
    expired,
    read_token,
)
from marketbell.errors import AuthenticationError, RateLimitedError, StoreError
from marketbell.model import NEVER, Instant, Millis
from marketbell.store.base import AccessChange, AccessControl

NOTED_MS: Final[Millis] = 60_000
"""How often a key's use is noted, and the key looked at again on the way."""
CONFIRMED_S: Final = 5.0
"""For how long verdicts are good without asking what other nodes have changed."""

_REMEMBERED: Final = 10_000
_SCHEME: Final = b"bearer "
_NO_DIGEST: Final = bytes(32)

_log = logging.getLogger(__name__)


class GateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How often callers may come."""

    failed_logins: int = 60
    """Of one address in a minute; 0 is no limit."""
    requests: int = 0
    """Of one token in a second; 0 is no limit."""
    remembered: int = _REMEMBERED
    """How many tokens, and how many addresses, are kept in memory."""


class _Verdict:
    """What is remembered of one Authorization header."""

    __slots__ = ("bucket", "good_until", "principal")

    def __init__(self, principal: Principal, good_until: Instant, bucket: Bucket | None) -> None:
        self.principal = principal
        self.good_until = good_until
        self.bucket = bucket


class Gate:
    """
    Tells whose token an Authorization header holds.

    A verdict is remembered by the digest of the header; the least recently used make room. It
    holds until the token ends, and is made anew from the store once anything of its organization
    was revoked. Revocations of this process are known at once, from the store's announcement.
    With `alone=False` other processes write too: then no verdict is used for longer than 5 s
    without the store's word that nothing was revoked. Tokens live on real time: a scaled clock
    does not wear them out faster.
    """

    def __init__(
        self,
        store: AccessControl,
        key: TokenKey,
        clock: Clock,
        limits: GateLimits,
        *,
        alone: bool = True,
    ) -> None:
        self._store = store
        self._key = key
        self._clock = clock
        self._limits = limits
        self._verdicts: OrderedDict[bytes, _Verdict] = OrderedDict()
        self._buckets: OrderedDict[bytes, Bucket] = OrderedDict()
        self._failures: OrderedDict[str, Bucket] = OrderedDict()
        self._used: dict[str, Instant] = {}
        self._noting: asyncio.Task[None] | None = None
        self._changes = 0
        self._revision = 0
        self._alone = alone
        self._confirmed_until = float("-inf")
        store.on_access_change(self._changed)

    def known(self, authorization: bytes | None) -> Principal | None:
        """
        The caller, if this header was judged before and nothing has changed since; never waits.

        RateLimitedError if this token comes too often.
        """
        return self.known_by(digest_of(authorization), self._clock.real_now())

    def known_by(self, digest: bytes, now: Instant) -> Principal | None:
        """The same for the digest of a header, by `digest_of`, at this instant of the wall clock."""
        verdict = self._verdicts.get(digest)
        if verdict is None or now >= verdict.good_until:
            return None
        if not self._alone and self._outdated():
            return None
        self._verdicts.move_to_end(digest)
        if verdict.bucket is not None:
            self._count(verdict.bucket)
        return verdict.principal

    async def admit(self, authorization: bytes | None, source: str) -> Principal:
        """
        The caller; `source` is the address that failures are counted for.

        AuthenticationError for anything but a good Bearer token; RateLimitedError if the token
        comes too often, or too many of this address were not good and this one is not known;
        StoreError if the store cannot say.
        """
        if self._outdated():
            await self._confirm()
        found = self.known(authorization)
        if found is not None:
            return found
        token = _bearer(authorization)
        digest = digest_of(authorization)
        known = digest in self._verdicts
        if not known:
            self._refuse_flood(source)
        changes = self._changes
        try:
            principal, ends_at = await self._judged(token)
        except AuthenticationError:
            self._verdicts.pop(digest, None)
            self._count_failure(source)
            raise
        if changes != self._changes:
            ends_at = 0  # something ended while it was judged: look again the next time
        bucket = self._bucket_of(principal)
        self._verdicts[digest] = _Verdict(principal, ends_at, bucket)
        self._verdicts.move_to_end(digest)
        _trim(self._verdicts, self._limits.remembered)
        if bucket is not None:
            self._count(bucket)
        return principal

    # -- judging ------------------------------------------------------------------------

    async def _judged(self, token: bytes) -> tuple[Principal, Instant]:
        """The caller, and until when that may be remembered."""
        now = self._clock.real_now()
        parsed = parse(token)
        if parsed is not None:
            principal, ends_at = await self._judged_key(*parsed, now)
            return principal, min(ends_at, now + NOTED_MS)
        principal = read_token(token, self._key, now)
        login = principal.login
        if login is None:
            raise TypeError("a token is read with its login")
        ended = await self._store.token_end(
            principal.organization, principal.application, login.digest, login.issued_at
        )
        if ended is not None and ended <= now:
            raise _revoked()
        return principal, min(login.expires_at, NEVER if ended is None else ended)

    async def _judged_key(
        self, public_id: str, digest: bytes, now: Instant
    ) -> tuple[Principal, Instant]:
        login = await self._store.key_login(public_id)
        # An unknown id and a wrong secret take the same time and get the same answer.
        same = hmac.compare_digest(digest, _NO_DIGEST if login is None else login.digest)
        if login is None or not same:
            raise AuthenticationError("There is no such API key.")
        key = login.key
        expires_at = NEVER if key.expires_at is None else key.expires_at
        if login.ends_at is not None and login.ends_at <= now:
            raise _revoked()
        if expires_at <= now:
            raise expired()
        self._note(public_id, now)
        principal = Principal(
            key.organization,
            key.application,
            None if key.scopes is None else frozenset(key.scopes),
            actor=f"key {public_id}",
            login=Login(
                digest=digest, key=public_id, issued_at=key.created_at, expires_at=expires_at
            ),
        )
        return principal, min(expires_at, NEVER if login.ends_at is None else login.ends_at)

    # -- changes ------------------------------------------------------------------------

    def _changed(self, change: AccessChange) -> None:
        """Make every verdict of the organization due; what is known stays known, and is not limited."""
        self._changes += 1
        for verdict in self._verdicts.values():
            if verdict.principal.organization == change.organization:
                verdict.good_until = 0

    def _outdated(self) -> bool:
        return not self._alone and self._clock.monotonic() >= self._confirmed_until

    async def _confirm(self) -> None:
        """Ask what other nodes have changed since the last time."""
        asked_at = self._clock.monotonic()
        self._revision, organizations = await self._store.access_changes(self._revision)
        for organization in organizations:
            self._changed(AccessChange(organization))
        self._confirmed_until = asked_at + CONFIRMED_S

    # -- uses of keys -------------------------------------------------------------------

    def _note(self, public_id: str, now: Instant) -> None:
        """Have it written that a key was used, by and by; nobody waits for it."""
        self._used[public_id] = now
        if self._noting is None:
            self._noting = asyncio.ensure_future(self._write_used())

    async def _write_used(self) -> None:
        try:
            while self._used:
                used, self._used = self._used, {}
                await self._store.note_keys_used(used)
        except StoreError as error:
            _log.warning("the use of API keys was not noted", extra={"reason": str(error)})
        finally:
            self._noting = None

    # -- limits -------------------------------------------------------------------------

    def _bucket_of(self, principal: Principal) -> Bucket | None:
        """One for each token, however its header is written."""
        rate = self._limits.requests
        login = principal.login
        if not rate or login is None:
            return None
        bucket = self._buckets.get(login.digest)
        if bucket is None:
            bucket = Bucket(rate, rate, self._clock.monotonic())
            self._buckets[login.digest] = bucket
        self._buckets.move_to_end(login.digest)
        _trim(self._buckets, self._limits.remembered)
        return bucket

    def _count(self, bucket: Bucket) -> None:
        wait_s = bucket.take(self._clock.monotonic())
        if wait_s:
            raise RateLimitedError(
                f"This token has made more than {bucket.rate:g} requests in a second; "
                "come again after `Retry-After`.",
                wait_s,
            )

    def _refuse_flood(self, source: str) -> None:
        bucket = self._failures.get(_place(source))
        wait_s = 0.0 if bucket is None else bucket.wait(self._clock.monotonic())
        if wait_s:
            raise RateLimitedError(
                "Too many tokens from this address were not good; come again after `Retry-After`.",
                wait_s,
            )

    def _count_failure(self, source: str) -> None:
        limit = self._limits.failed_logins
        if not limit:
            return
        now = self._clock.monotonic()
        place = _place(source)
        bucket = self._failures.get(place)
        if bucket is None:
            bucket = self._failures[place] = Bucket(limit / 60, limit, now)
        bucket.take(now)
        self._failures.move_to_end(place)
        _trim(self._failures, self._limits.remembered)


def digest_of(authorization: bytes | None) -> bytes:
    """What a verdict is remembered by: 16 bytes, none where there is no header."""
    return blake2b(authorization, digest_size=16).digest() if authorization else b""


def _bearer(authorization: bytes | None) -> bytes:
    """The token in a header."""
    if not authorization or len(authorization) > TOKEN_BYTES:
        raise AuthenticationError(
            "Send a token in the header `Authorization: Bearer TOKEN`; "
            "`marketbell token create` makes one."
        )
    if authorization[: len(_SCHEME)].lower() != _SCHEME:
        raise AuthenticationError("The Authorization header must read `Bearer TOKEN`.")
    return authorization[len(_SCHEME) :].strip()


def _revoked() -> AuthenticationError:
    return AuthenticationError("The token has been revoked.")


def _place(source: str) -> str:
    """What counts as one address: of IPv6 the /64 that one household or machine has."""
    if ":" not in source:
        return source
    try:
        address = ipaddress.IPv6Address(source.partition("%")[0])
    except ValueError:
        return source
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))


def _trim(kept: OrderedDict[Any, Any], most: int) -> None:
    """Drop the least recently used beyond so many."""
    while len(kept) > most:
        kept.popitem(last=False)
