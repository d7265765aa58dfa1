"""Arguments and options that several commands have, each with one meaning and one help text."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import Group, Parameter

_GROUP: Final = Group("Server", sort_key=9)

Url = Annotated[
    str | None,
    Parameter(help="The server; else MARKETBELL_URL, else the one on this machine.", group=_GROUP),
]
Token = Annotated[
    str | None,
    Parameter(help="A token or API key; better in MARKETBELL_TOKEN, which ps does not show.",
              group=_GROUP),
]  # fmt: skip
Limit = Annotated[int | None, Parameter(help="How many to list; 50 if left out.")]
All = Annotated[bool, Parameter(name="--all", negative="", help="List all there are.")]
Yes = Annotated[bool, Parameter(negative="", help="Do not ask; needed where nobody can answer.")]
Since = Annotated[str | None, Parameter(help="Only from then on: 2h, 7d, or 2026-11-21T09:30:00Z.")]
Until = Annotated[str | None, Parameter(help="Only before then, written like --since.")]

AppRef = Annotated[str, Parameter(help="The application, by id or uid.")]
EndpointRef = Annotated[str, Parameter(help="The endpoint, by id or uid.")]
MessageRef = Annotated[str, Parameter(help="The message, by id or eventId.")]
TypeName = Annotated[str, Parameter(help="The event type, such as order.created.")]
TaskId = Annotated[str, Parameter(help="The background task, by its id qtask_...")]

OfApp = Annotated[str | None, Parameter(help="Only of this application, by id or uid.")]
OfEndpoint = Annotated[
    str | None, Parameter(help="Only at this endpoint, by id; by uid beside --app.")
]
EventTypes = Annotated[
    tuple[str, ...],
    Parameter(name="--event-type", negative="", help="Only of this event type; can be repeated."),
]
Channel = Annotated[str | None, Parameter(help="Only with this channel.")]
Tag = Annotated[str | None, Parameter(help="Only with this tag.")]

Uid = Annotated[str | None, Parameter(help="Your own name for it.")]
RateLimit = Annotated[int | None, Parameter(help="At most so many attempts a second.")]
Metadata = Annotated[
    tuple[str, ...],
    Parameter(
        name="--metadata",
        negative="",
        help="KEY=VALUE; can be repeated. The keys marketbell.* are the policy.",
    ),
]
NoWait = Annotated[
    bool, Parameter(negative="", help="Print the task's id and do not wait for its end.")
]
