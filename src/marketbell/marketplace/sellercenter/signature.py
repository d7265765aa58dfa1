"""Signatures of the Action API: HMAC-SHA256 over the sorted parameters of the query. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl, quote

from marketbell.marketplace.sellercenter.errors import ActionError

SIGNATURE: Final = "Signature"
PARAMETERS_MAX: Final = 100
"""The most parameters that a query may have."""


def read_query(query: bytes) -> dict[str, str]:
    """
    The parameters of a query, decoded; of a name that is there twice, the last.

    `+` and `%20` are both a space. Raises ActionError: 5 for what is no UTF-8 text, 11 for
    more than 100 parameters.
    """
    if query.count(b"&") >= PARAMETERS_MAX:
        raise ActionError(11)
    try:
        return dict(parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict"))
    except ValueError:
        raise ActionError(5) from None


def canonical(parameters: Mapping[str, str]) -> str:
    """What is signed: names and values encoded by RFC 3986, sorted by name, without Signature."""
    return "&".join(
        f"{_encoded(name)}={_encoded(parameters[name])}"
        for name in sorted(parameters)
        if name != SIGNATURE
    )


def sign(parameters: Mapping[str, str], key: str) -> str:
    """The signature of these parameters, in hexadecimal."""
    return hmac.new(key.encode(), canonical(parameters).encode(), sha256).hexdigest()


def is_signed(parameters: Mapping[str, str], key: str) -> bool:
    """
    Whether the parameters hold their own signature under this key.

    It is computed over the decoded values, encoded anew: callers send `:` and `,` bare and yet
    sign them encoded. The comparison takes the same time whatever is wrong.
    """
    given = parameters.get(SIGNATURE, "").lower()
    return hmac.compare_digest(sign(parameters, key).encode(), given.encode())


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")
