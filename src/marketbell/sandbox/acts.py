"""Everything that can happen in the sandbox, by marketplace and name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from marketbell.errors import NotFoundError
from marketbell.sandbox import feeding, ovoko, sellercenter
from marketbell.sandbox.act import Act

ACTS: Final[Mapping[tuple[str, str], type[Act]]] = {
    (act.marketplace, act.name): act for act in (*ovoko.ACTS, *sellercenter.ACTS, *feeding.ACTS)
}


def act_of(marketplace: str, name: str) -> type[Act]:
    """The kind of act of this name. NotFoundError."""
    found = ACTS.get((marketplace, name))
    if found is None:
        raise NotFoundError(f"There is no act {name!r} at {marketplace!r}.")
    return found
