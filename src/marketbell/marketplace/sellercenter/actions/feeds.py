"""Feeds: listed, counted, looked into and canceled."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Final

import msgspec

from marketbell.errors import MoveRefusedError, NotFoundError
from marketbell.marketplace.sellercenter import feeds, runs
from marketbell.marketplace.sellercenter.actions.call import GET, POST, Action, Call
from marketbell.marketplace.sellercenter.envelope import Element, Success, record
from marketbell.marketplace.sellercenter.errors import ActionError
from marketbell.marketplace.sellercenter.feeds import FeedStatus
from marketbell.marketplace.sellercenter.times import plain_time
from marketbell.store.marketplace_plane import Entity, EntityFilter

LIST_MAX: Final = 1_000
"""The most feeds in one answer."""
PAGE: Final = 100
"""Feeds on a page unless the caller says."""

_COUNTED: Final = (
    FeedStatus.QUEUED,
    FeedStatus.PROCESSING,
    FeedStatus.FINISHED,
    FeedStatus.CANCELED,
)


async def feed_list(call: Call) -> Success:
    """The feeds of the last 30 days, newest first, at most 1,000."""
    found = await call.seller.services.store.entities(
        call.seller.application.id, _recent(call), limit=LIST_MAX, descending=True
    )
    return _listed(call, found)


async def feed_offset_list(call: Call) -> Success:
    """A page of them, by status and times."""
    offset = call.count("Offset", 0, (0, 10**9), 14)
    size = call.count("PageSize", PAGE, (1, LIST_MAX), 15)
    which = _recent(call)
    status = call.text("Status")
    if status:
        if status not in _COUNTED:
            raise ActionError(13)
        which = msgspec.structs.replace(which, states=[status])
    created = call.instant("CreationDate", 46)
    if created is not None:
        since = max(created, which.created_since or 0)
        which = msgspec.structs.replace(which, created_since=since)
    updated = call.instant("UpdatedDate", 47)
    if updated is not None:
        which = msgspec.structs.replace(which, updated_since=updated)
    found = await call.seller.services.store.entities(
        call.seller.application.id, which, offset=offset, limit=size, descending=True
    )
    return _listed(call, found)


async def feed_count(call: Call) -> Success:
    """How many feeds of the last 30 days there are, in all and by status."""
    counts = await call.seller.services.store.count_entities(
        call.seller.application.id, _recent(call)
    )
    fields = {"Total": str(sum(counts.values()))}
    fields |= {status.value: str(counts.get(status, 0)) for status in _COUNTED}
    return Success(response_type="FeedCount", body=[record("FeedCount", fields)])


async def feed_status(call: Call) -> Success:
    """One feed that is still kept, with its errors, warnings and failure report."""
    feed_id = call.needed("FeedID")
    try:
        feed = await call.seller.by_key(feeds.KIND, feed_id.lower())
    except NotFoundError:
        raise ActionError(12) from None
    return Success(
        response_type="FeedDetail",
        parameters={"FeedID": feed_id},
        body=[Element("FeedDetail", _shown(feed, call.zone, whole=True))],
    )


async def feed_cancel(call: Call) -> Success:
    """Cancel a feed that is queued still."""
    feed_id = call.needed("FeedID")
    try:
        await runs.cancel_feed(call.seller, feed_id.lower())
    except NotFoundError:
        raise ActionError(12) from None
    except MoveRefusedError:
        raise ActionError(13) from None
    return Success(parameters={"FeedID": feed_id})


ACTIONS: Final = (
    Action(name="FeedList", methods=GET, work=feed_list),
    Action(name="FeedOffsetList", methods=GET, work=feed_offset_list),
    Action(name="FeedCount", methods=GET, work=feed_count),
    Action(name="FeedStatus", methods=GET, work=feed_status),
    Action(name="FeedCancel", methods=GET | POST, work=feed_cancel),
)


def _recent(call: Call) -> EntityFilter:
    since = call.seller.services.clock.now() - feeds.LISTED
    return EntityFilter(kind=feeds.KIND, created_since=since)


def _listed(call: Call, found: Sequence[Entity]) -> Success:
    body = [Element("Feed", _shown(feed, call.zone, whole=False)) for feed in found]
    return Success(response_type="Feed", body=body)


def _shown(feed: Entity, zone: datetime.tzinfo, *, whole: bool) -> list[Element]:
    body = feeds.body_of(feed)
    updated = feed.revision > 1
    fields = {
        "Feed": feed.key,
        "Status": feed.state,
        "Action": body.action,
        "CreationDate": plain_time(feed.created_at, zone),
        "UpdatedDate": plain_time(feed.updated_at, zone) if updated else "",
        "Source": body.source,
        "TotalRecords": str(body.total),
        "ProcessedRecords": str(body.processed),
        "FailedRecords": str(body.failed),
    }
    shown = [Element(name, text) for name, text in fields.items()]
    if whole:
        shown.append(
            Element(
                "FeedErrors",
                [
                    record(
                        "Error",
                        {
                            "Code": str(error.code),
                            "Message": error.message,
                            "SellerSku": error.sku,
                        },
                    )
                    for error in body.errors
                ],
            )
        )
        shown.append(
            Element(
                "FeedWarnings",
                [
                    record("Warning", {"Message": warning.message, "SellerSku": warning.sku})
                    for warning in body.warnings
                ],
            )
        )
    report = feeds.report(body)
    files = [Element("MimeType", "text/csv"), Element("File", report)] if report else []
    shown.append(Element("FailureReports", files))
    return shown
