"""Answers of the Action API: one tree, written as XML or as JSON. Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias
from xml.sax.saxutils import escape  # writes; nothing is parsed here

import msgspec

from marketbell.marketplace.sellercenter.errors import ActionError

Value: TypeAlias = "str | Sequence[Element]"


class Format(enum.StrEnum):
    """In which of the two forms an answer is written."""

    XML = "XML"
    JSON = "JSON"

    @property
    def content_type(self) -> str:
        """The header's value."""
        if self is Format.JSON:
            return "application/json; charset=utf-8"
        return "text/xml; charset=utf-8"


class Element(msgspec.Struct, frozen=True, gc=False):
    """One name with a text, or with elements below it; "" for nothing."""

    name: str
    value: Value = ""


class Success(msgspec.Struct, frozen=True, kw_only=True):
    """What an action gives back."""

    response_type: str = ""
    request_id: str = ""
    """The feed's UUID for the actions that make one."""
    parameters: Mapping[str, str] = {}
    """Shown as RequestParameters."""
    total_count: int | None = None
    body: Sequence[Element] = ()


_PROLOGUE: Final = '<?xml version="1.0" encoding="UTF-8"?>'
# What XML 1.0 cannot hold (section 2.2), not even escaped.
_IMPOSSIBLE: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ENCODE: Final = msgspec.json.Encoder().encode


def record(name: str, fields: Mapping[str, str]) -> Element:
    """An element with one text below it for each field, in order."""
    return Element(name, [Element(key, text) for key, text in fields.items()])


def success(action: str, answer: Success, timestamp: str) -> Element:
    """The envelope of an action that was done."""
    head = [
        Element("RequestId", answer.request_id),
        Element("RequestAction", action),
        Element("ResponseType", answer.response_type),
        Element("Timestamp", timestamp),
    ]
    if answer.parameters:
        head.append(record("RequestParameters", answer.parameters))
    if answer.total_count is not None:
        head.append(Element("TotalCount", str(answer.total_count)))
    return Element("SuccessResponse", [Element("Head", head), Element("Body", answer.body)])


def failure(action: str, fault: ActionError) -> Element:
    """The envelope of an action that was refused."""
    head = {
        "RequestAction": action,
        "ErrorType": fault.kind,
        "ErrorCode": str(fault.number),
        "ErrorMessage": fault.detail,
    }
    details = [
        record(
            "ErrorDetail",
            {
                "Field": detail.field,
                "Message": detail.message,
                "Value": detail.value,
                "SellerSku": detail.seller_sku,
            },
        )
        for detail in fault.details
    ]
    return Element("ErrorResponse", [record("Head", head), Element("Body", details)])


def write(root: Element, form: Format) -> bytes:
    """The bytes of an envelope."""
    if form is Format.JSON:
        return _ENCODE({root.name: _json(root.value)})
    parts = [_PROLOGUE]
    _xml(root, parts)
    return "".join(parts).encode()


def _xml(element: Element, parts: list[str]) -> None:
    """No whitespace between elements or around a text: there are readers that do not trim."""
    if not element.value:
        parts.append(f"<{element.name}/>")
        return
    parts.append(f"<{element.name}>")
    if isinstance(element.value, str):
        parts.append(escape(_IMPOSSIBLE.sub("\ufffd", element.value), {"\r": "&#13;"}))
    else:
        for child in element.value:
            _xml(child, parts)
    parts.append(f"</{element.name}>")


def _json(value: Value) -> object:
    """
    As the platform's own JSON: a name that is there once is its value, twice or more a list.

    An element without anything below it is `""`, and every text stays a text.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if not value:
        return ""
    fields: dict[str, object] = {}
    for name, children in _by_name(value):
        written = [_json(child.value) for child in children]
        fields[name] = written[0] if len(written) == 1 else written
    return fields


def _by_name(elements: Iterable[Element]) -> Iterable[tuple[str, list[Element]]]:
    found: dict[str, list[Element]] = {}
    for element in elements:
        found.setdefault(element.name, []).append(element)
    return found.items()
