"""Every route of the marketplace port of a sandbox in one table, in the docs too: none meets another."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.routing import Route

from marketbell.api.routes import operations
from marketbell.sandbox.controls import CONTROLS, routes
from marketbell.sandbox.sandbox import Sandbox
from marketbell.testing import FakeClock
from support.bazaar import Bazaar

PAGE = Path(__file__).parents[2] / "docs/marketplaces/sandbox.md"
REST = "/sandbox/{rest:path}"


async def whole(folder: Path) -> list[Route]:
    """The routes in the order in which they are tried, without the one for all that is left."""
    async with Bazaar(folder, FakeClock()) as bazaar:
        sandbox = Sandbox(seed=1, chaos=False, feed_after=None)
        app = bazaar.marketplaces.app(routes(sandbox))
    *own, rest = [route for route in app.routes if isinstance(route, Route)]
    assert len(own) + 1 == len(app.routes)
    assert rest.path == REST
    return own


async def test_no_path_is_taken_by_two(tmp_path: Path) -> None:
    own = await whole(tmp_path)
    management = {operation.path for operation in operations()} | {"/metrics"}
    for route in own:
        filled = re.sub(r"\{[^}]*\}", "value", route.path)
        assert [one.path for one in own if one.path_regex.fullmatch(filled)] == [route.path]
        assert not [path for path in management if route.path_regex.fullmatch(path)]
    assert {control.path for control in CONTROLS} <= {route.path for route in own}


async def test_the_page_has_them_all(tmp_path: Path) -> None:
    table = PAGE.read_text().split("\n| path |", 1)[1].split("\n\n", 1)[0]
    shown = [row.split("|")[1].strip(" `") for row in table.splitlines()[2:]]
    assert sorted(shown) == sorted(route.path for route in await whole(tmp_path))
