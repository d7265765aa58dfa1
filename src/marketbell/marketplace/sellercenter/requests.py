"""XML that callers post, read with care: no DTD, no entities of its own, bounded, tolerant of slips."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from marketbell.marketplace.sellercenter.errors import ActionError

DEPTH_MAX: Final = 32
"""How deep elements may lie within one another."""
ELEMENTS_MAX: Final = 200_000
"""The most elements of one request."""
MENDED_MAX: Final = 100_000
"""The most ampersands and CDATA sections of a request that is not well-formed as it came."""

# A bare ampersand; what looks like an entity of the caller's own is left alone, and refused. A
# CDATA section without an end takes all the rest, so that no byte is looked at twice.
_BARE: Final = re.compile(
    rb"<!\[CDATA\[.*?(?:\]\]>|\Z)|&(?!#\d+;|#x[0-9A-Fa-f]+;|[A-Za-z_][\w.-]*;)", re.DOTALL
)


def read_request(body: bytes) -> Element:
    """
    The `Request` element of a posted body; what the Content-Type says does not matter.

    An ampersand that is not escaped is taken as one. Raises ActionError: 30 for an empty body,
    5 for what is not well-formed (ampersands are mended in a body that has up to 100,000), has a
    DTD or entities, or is deeper than 32, 11 for more than 200,000 elements.
    """
    if not body.strip():
        raise ActionError(30)
    try:
        root = _parsed(body)
    except (ParseError, UnicodeDecodeError):
        root = _mended(body)
    except (DefusedXmlException, ValueError, LookupError):
        raise ActionError(5) from None
    if root.tag != "Request":
        raise ActionError(5)
    return root


def text_of(element: Element | None) -> str:
    """The text of an element without the whitespace around it; "" if it is not there."""
    return "" if element is None or element.text is None else element.text.strip()


def child(parent: Element, name: str) -> Element | None:
    """The first element of that name right below."""
    return parent.find(name)


def anywhere(parent: Element, name: str) -> Iterator[str]:
    """The texts of all elements of that name below, however deep, that have one."""
    for element in parent.iter(name):
        text = text_of(element)
        if element is not parent and text:
            yield text


def _parsed(body: bytes) -> Element:
    parser = DefusedXMLParser(
        target=_Bounded(), forbid_dtd=True, forbid_entities=True, forbid_external=True
    )
    parser.feed(body.lstrip())
    root: Element = parser.close()
    return root


def _mended(body: bytes) -> Element:
    if body.count(b"&") + body.count(b"<![") > MENDED_MAX:
        raise ActionError(5)
    try:
        return _parsed(_BARE.sub(lambda found: found[0] if len(found[0]) > 1 else b"&amp;", body))
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise ActionError(5) from None


def _local(tag: str) -> str:
    """A name without its namespace, which means nothing here."""
    return tag.rpartition("}")[2]


class _Bounded(TreeBuilder):
    """Builds the tree, and stops where it grows too deep or too large."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._count = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        """An element begins."""
        self._depth += 1
        self._count += 1
        if self._depth > DEPTH_MAX:
            raise ActionError(5)
        if self._count > ELEMENTS_MAX:
            raise ActionError(11)
        del attrs  # they mean nothing here, and may be many
        return super().start(_local(tag), {})

    def end(self, tag: str, /) -> Element:
        """An element ends."""
        self._depth -= 1
        return super().end(_local(tag))
