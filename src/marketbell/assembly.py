"""The parts of a node, each made from the settings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from marketbell.clock import Clock
from marketbell.control.publishing import Publisher
from marketbell.control.relay import Read, Relay, RelayLimits, Share
from marketbell.control.task_runner import TaskLimits, TaskRunner
from marketbell.delivery.dialer import DirectDialer, tls_context
from marketbell.delivery.dispatcher import Dispatcher
from marketbell.delivery.fairness import Lanes, Places
from marketbell.delivery.follower import Follower, Following
from marketbell.delivery.http1 import Client
from marketbell.delivery.janitor import Duties, Janitor
from marketbell.delivery.limits import DispatchLimits
from marketbell.delivery.netguard import Networks
from marketbell.delivery.plan import Planner
from marketbell.delivery.resolver import Resolver
from marketbell.delivery.sender import Sender, SendLimits
from marketbell.delivery.tenure import Owned
from marketbell.dialects.registry import DialectOptions, Registry
from marketbell.marketplace.ageing import ages
from marketbell.observe import Observer
from marketbell.settings import Settings
from marketbell.store.base import Ages, OutboxRows
from marketbell.store.opening import AnyStore, open_store, prepare

__all__ = [
    "dialect_options",
    "make_dispatcher",
    "make_follower",
    "make_janitor",
    "make_relay",
    "make_task_runner",
    "networks",
    "open_client",
    "open_store",
    "prepare",
    "register_gauges",
    "tell_of_lost",
]

_log = logging.getLogger(__name__)


def dialect_options(settings: Settings) -> DialectOptions:
    """What the settings say to the dialects."""
    return DialectOptions(
        ovoko_zone=settings.ovoko_zone,
        ovoko_id_bridge=settings.ovoko_id_bridge,
        sellercenter_ids_as_strings=settings.sellercenter_ids_as_strings,
        cloudevents_source=settings.cloudevents_source,
    )


def open_client(settings: Settings, clock: Clock) -> Client:
    """The HTTP client of the deliveries."""
    resolver = Resolver(
        clock=clock,
        allowed=networks(settings),
        limit_s=settings.resolve_timeout / 1000,
    )
    return Client(
        clock=clock,
        resolver=resolver,
        dialer=DirectDialer(tls_context(settings.extra_ca)),
        max_idle=settings.idle_connections_max,
        idle_s=settings.idle_connection_timeout / 1000,
    )


def networks(settings: Settings) -> Networks:
    """The private ranges that may be called."""
    return Networks.parse(str(network) for network in settings.allow_networks)


def make_dispatcher(
    settings: Settings,
    clock: Clock,
    *,
    store: AnyStore,
    client: Client,
    registry: Registry,
    observer: Observer,
    owned: Owned | None = None,
    hint: Callable[[Collection[int] | None], None] = lambda _slots: None,
) -> Dispatcher:
    """The loop that claims, sends and records; not started yet."""
    sender = Sender(
        client,
        clock,
        SendLimits(
            resolve_s=settings.resolve_timeout / 1000,
            connect_s=settings.connect_timeout / 1000,
            first_byte_s=settings.first_byte_timeout / 1000,
            header_bytes=settings.answer_headers_max,
            reply_bytes=settings.reply_kept,
        ),
    )
    planner = Planner(
        registry,
        timeout=settings.attempt_timeout,
        timeout_max=settings.timeout_max,
        max_in_flight=settings.endpoint_in_flight,
        networks=networks(settings),
    )
    lanes = Lanes(
        Places(
            at_work=settings.at_work_max,
            sockets=settings.sockets_max,
            unproven_share=settings.unproven_share,
        ),
        breaker_failures=settings.breaker_failures,
        breaker_rest=settings.breaker_rest,
    )
    return Dispatcher(
        store,
        sender=sender,
        planner=planner,
        lanes=lanes,
        clock=clock,
        witness=observer,
        limits=DispatchLimits(
            lease=settings.lease,
            retry_after_max=settings.retry_after_max,
            lost_claims_max=settings.lost_claims_max,
        ),
        owned=owned,
        hint=hint,
    )


def make_janitor(
    settings: Settings,
    clock: Clock,
    store: AnyStore,
    observer: Observer,
    *,
    leads: Callable[[], bool] = lambda: True,
) -> Janitor:
    """What keeps the store small and disables endpoints that only fail; not started yet."""
    return Janitor(
        store,
        observer,
        clock,
        Duties(
            ages=Ages(
                payloads=settings.payload_retention,
                attempts=settings.attempt_retention,
                messages=settings.message_retention,
                audit=settings.audit_retention,
                ended=ages(settings),
            ),
            interval_s=settings.prune_interval / 1000,
            rows=settings.prune_rows,
            auto_disable_after=settings.auto_disable_after,
        ),
        leads,
    )


def make_task_runner(
    settings: Settings, clock: Clock, store: AnyStore, dispatcher: Dispatcher
) -> TaskRunner:
    """What makes the steps of background tasks; not started yet."""
    return TaskRunner(
        store,
        clock,
        limits=TaskLimits(retention=settings.task_retention),
        waiting_rows=lambda: store.waiting_rows,
        wake=dispatcher.wake,
    )


def make_follower(
    settings: Settings, clock: Clock, store: AnyStore, leads: Callable[[], bool] = lambda: True
) -> Follower:
    """What adds up figures and notes the words of payloads; not started yet."""
    return Follower(
        store,
        clock,
        Following(figures_age=settings.figures_retention, texts=settings.payload_search),
        leads,
    )


def make_relay(
    settings: Settings,
    clock: Clock,
    *,
    store: OutboxRows,
    publisher: Publisher,
    observer: Observer,
    read: Read,
    share: Share = lambda: None,
) -> Relay:
    """What takes messages from the outbox; not started yet."""
    relay = Relay(
        store,
        publisher,
        clock,
        read=read,
        limits=RelayLimits(
            body_max=settings.body_max, rejected_retention=settings.payload_retention
        ),
        share=share,
    )
    observer.gauge("marketbell_outbox_waiting", lambda: relay.figures.waiting)
    observer.gauge("marketbell_outbox_lag_seconds", lambda: relay.figures.lag / 1000)
    observer.gauge("marketbell_outbox_rejected", lambda: relay.figures.rejected)
    return relay


def tell_of_lost(observer: Observer, store: AnyStore) -> None:
    """Count and log what the process before has left under way."""
    if store.lost_at_open:
        observer.lost_claims(store.lost_at_open)
        _log.warning(
            "deliveries are made again that the last process left under way",
            extra={"count": store.lost_at_open},
        )


def register_gauges(
    observer: Observer,
    *,
    store: AnyStore,
    dispatcher: Dispatcher,
    client: Client,
    janitor: Janitor,
    clock: Clock,
) -> None:
    """Let the metrics read the present from the parts."""

    def oldest_due() -> float:
        gauges = janitor.gauges
        pending = None if gauges is None else gauges.oldest_due
        since = [at for at in (pending, dispatcher.oldest_waiting) if at is not None]
        return max(0.0, (clock.now() - min(since)) / 1000) if since else 0.0

    observer.gauge("marketbell_oldest_due_seconds", oldest_due)
    observer.gauge("marketbell_in_flight", lambda: dispatcher.in_flight)
    observer.gauge("marketbell_unrecorded_attempts", lambda: len(dispatcher.recorder))
    observer.gauge("marketbell_sockets", lambda: client.connections - client.idle, state="busy")
    observer.gauge("marketbell_sockets", lambda: client.idle, state="idle")
    observer.gauge("marketbell_waiting_rows", lambda: store.waiting_rows)
    observer.gauge(
        "marketbell_parked_deliveries", lambda: janitor.gauges.parked if janitor.gauges else 0
    )
    observer.gauge(
        "marketbell_database_bytes",
        lambda: janitor.gauges.file_bytes + janitor.gauges.log_bytes if janitor.gauges else 0,
    )
