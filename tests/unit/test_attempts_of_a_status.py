"""A list of attempts of a status that no attempt has: what it names is looked up, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from marketbell.control import history
from marketbell.errors import NotFoundError
from marketbell.store.base import AttemptFilter, AttemptRow, Page, Slice
from marketbell.testing import FakeClock
from support.bazaar import OPERATOR, Bazaar


async def test_where_nothing_can_be_nothing_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bazaar(tmp_path, FakeClock()) as bazaar:
        services, store = bazaar.services, bazaar.plane.store
        seller = (await bazaar.seller()).public_id
        search, searches = store.attempts, 0

        async def counted(*given: Any) -> Slice[AttemptRow]:
            nonlocal searches
            searches += 1
            return await search(*given)

        monkeypatch.setattr(store, "attempts", counted)
        found = await history.attempts(services, OPERATOR, seller, which=None, page=Page())
        assert (found, searches) == (Slice((), done=True), 0)
        for names in ({"message": "none"}, {"endpoint": "none"}):
            with pytest.raises(NotFoundError):
                await history.attempts(services, OPERATOR, seller, which=None, page=Page(), **names)
        whole = AttemptFilter()
        assert await history.attempts(services, OPERATOR, seller, which=whole, page=Page()) == found
        assert searches == 1
