"""Settings of what goes out: limits of an attempt, fairness and health, and how long things are kept."""

from __future__ import annotations

from typing import Annotated

from marketbell.settings.edge import EdgeSettings
from marketbell.settings.values import DAY, HOUR, KB, MB, MINUTE, SECOND, Setting


class AttemptSettings(EdgeSettings, frozen=True, kw_only=True):
    """What holds for attempts, endpoints and history."""

    attempt_timeout: Annotated[
        int,
        Setting(
            "duration",
            "The longest that one attempt may take in all, where no policy says otherwise.",
            100,
            5 * MINUTE,
        ),
    ] = 20 * SECOND
    resolve_timeout: Annotated[
        int, Setting("duration", "Of it, to resolve the host's name.", 50, MINUTE)
    ] = 5 * SECOND
    connect_timeout: Annotated[
        int, Setting("duration", "Of it, to connect, TLS included.", 50, MINUTE)
    ] = 10 * SECOND
    first_byte_timeout: Annotated[
        int,
        Setting("duration", "Of it, from the request to the reply's first byte.", 50, 5 * MINUTE),
    ] = 15 * SECOND
    lease: Annotated[
        int,
        Setting(
            "duration",
            "How long a claim is good for. At least the sum of the four limits above and 5s.",
            6 * SECOND,
            HOUR,
        ),
    ] = 60 * SECOND
    reply_kept: Annotated[
        int, Setting("size", "How much of a reply's body is kept; the rest is not read.", 0, MB)
    ] = 20 * KB
    answer_headers_max: Annotated[int, Setting("size", "The largest head of a reply.", KB, MB)] = (
        32 * KB
    )
    endpoint_in_flight: Annotated[
        int,
        Setting(
            "count", "Requests to one endpoint at a time, where no policy says otherwise.", 1, 4_096
        ),
    ] = 64
    lost_claims_max: Annotated[
        int,
        Setting(
            "count",
            "Claims in a row that may be lost before a delivery is parked and reported.",
            2,
            1_000,
        ),
    ] = 20

    at_work_max: Annotated[
        int, Setting("count", "Requests being prepared or read at a time.", 64, 256)
    ] = 128
    sockets_max: Annotated[
        int, Setting("count", "Requests waiting on a receiver at a time.", 16, 60_000)
    ] = 4_096
    unproven_share: Annotated[
        float,
        Setting(
            "number",
            "The share of `sockets_max` that endpoints may take which were never tried or last timed out.",
            0.01,
            1.0,
        ),
    ] = 0.5
    idle_connections_max: Annotated[
        int, Setting("count", "Kept connections without a request.", 0, 60_000)
    ] = 1_024
    idle_connection_timeout: Annotated[
        int,
        Setting(
            "duration",
            "How long a connection is kept without a request; a receiver may ask for less.",
            0,
            MINUTE,
        ),
    ] = 1_500
    breaker_failures: Annotated[
        int, Setting("count", "Failures in a row after which an endpoint rests.", 1, 10_000)
    ] = 10
    breaker_rest: Annotated[
        int, Setting("duration", "How long it rests before one probe.", SECOND, HOUR)
    ] = 30 * SECOND
    retry_after_max: Annotated[
        int, Setting("duration", "The longest `Retry-After` that is honoured.", 0, DAY)
    ] = HOUR
    auto_disable_after: Annotated[
        int,
        Setting(
            "duration",
            "How long an endpoint may do nothing but fail before it is disabled.",
            HOUR,
            365 * DAY,
        ),
    ] = 5 * DAY

    payload_retention: Annotated[
        int, Setting("duration", "How long payloads are kept.", HOUR, 3650 * DAY)
    ] = 90 * DAY
    attempt_retention: Annotated[
        int, Setting("duration", "How long attempts are kept.", HOUR, 3650 * DAY)
    ] = 90 * DAY
    message_retention: Annotated[
        int,
        Setting(
            "duration",
            "How long messages are kept; at least as long as payloads and attempts.",
            HOUR,
            3650 * DAY,
        ),
    ] = 90 * DAY
    audit_retention: Annotated[
        int, Setting("duration", "How long the audit log is kept.", DAY, 3650 * DAY)
    ] = 365 * DAY
    marketplace_retention: Annotated[
        int,
        Setting(
            "duration",
            "How long orders, returns and the log of the marketplaces are kept once they have ended.",
            30 * DAY,
            3650 * DAY,
        ),
    ] = 365 * DAY
    task_retention: Annotated[
        int,
        Setting(
            "duration", "How long a background task is shown that has ended.", HOUR, 3650 * DAY
        ),
    ] = 90 * DAY
    figures_retention: Annotated[
        int,
        Setting("duration", "How long the figures of endpoints are kept.", 28 * DAY, 3650 * DAY),
    ] = 90 * DAY
    prune_interval: Annotated[
        int, Setting("duration", "How often what is too old is removed.", SECOND, DAY)
    ] = MINUTE
    prune_rows: Annotated[
        int, Setting("count", "Rows of each kind removed in one transaction.", 1, 10_000)
    ] = 500
