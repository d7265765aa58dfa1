"""All routes of one node in one table: the marketplaces' paths meet neither each other nor the API's."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

from starlette.routing import Route

from marketbell.api.routes import operations
from marketbell.testing import FakeClock
from support.bazaar import Bazaar


def sample(path: str, number: int) -> str:
    """A path that a pattern takes, with values that no fixed path has."""
    return re.sub(r"\{[^}]*\}", f"value{number}", path)


async def test_no_path_is_taken_by_two(tmp_path: Path) -> None:
    async with Bazaar(tmp_path, FakeClock()) as bazaar:
        routes = bazaar.marketplaces.routes()
    assert all(isinstance(route, Route) for route in routes)
    own = [route.path for route in routes if isinstance(route, Route)]
    assert "/" in own
    assert "/crm/importPart" in own
    assert len(own) == len(set(own))
    for route in routes:
        assert isinstance(route, Route)
        taken = [path for path in own if route.path_regex.fullmatch(sample(path, 1))]
        assert taken == [route.path]


async def test_no_path_is_the_management_apis(tmp_path: Path) -> None:
    async with Bazaar(tmp_path, FakeClock()) as bazaar:
        own = [route for route in bazaar.marketplaces.routes() if isinstance(route, Route)]
    management = {operation.path for operation in operations()} | {"/metrics"}
    for route in own:
        assert not [path for path in management if route.path_regex.fullmatch(sample(path, 1))]


async def test_fixed_paths_stand_before_patterns(tmp_path: Path) -> None:
    async with Bazaar(tmp_path, FakeClock()) as bazaar:
        own = [route.path for route in bazaar.marketplaces.routes() if isinstance(route, Route)]
    for first, second in combinations(own, 2):
        assert not re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", first), second), (first, second)
