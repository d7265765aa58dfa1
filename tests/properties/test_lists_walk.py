"""Lists in slices: no row twice and none missed, both ways, while rows are added and removed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypothesis import given
from hypothesis import strategies as st

from marketbell.store.base import EventType, Page, Store
from marketbell.testing.stores import ORGANIZATION, Scene
from support.grounds import Grounds

LISTS = ("applications", "endpoints", "event types")


class Listed:
    """One list of a store: how a row is added, taken away and named, and how slices are read."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.scene = Scene(store)
        self._count = itertools.count()
        self._owner = 0

    async def begin(self, kind: str) -> None:
        """Choose the list."""
        self.kind = kind
        if kind == "endpoints":
            self._owner = (await self.scene.application("org_owner")).id

    async def add(self, name: str) -> str:
        """A new row; what a list names it."""
        self.scene.pass_time(1)
        now = self.scene.now
        if self.kind == "applications":
            return (await self.scene.application()).public_id
        if self.kind == "endpoints":
            owner = await self.store.application("org_owner", await self._owner_id())
            return (await self.scene.endpoint(owner)).public_id
        unique = f"{name}{next(self._count)}"
        await self.store.create_event_type(
            EventType(
                organization=ORGANIZATION,
                name=unique,
                description="",
                created_at=now,
                updated_at=now,
            )
        )
        return unique

    async def take_away(self, name: str) -> None:
        """Delete a row."""
        now = self.scene.now
        if self.kind == "applications":
            await self.store.delete_application(ORGANIZATION, name, now=now)
        elif self.kind == "endpoints":
            await self.store.delete_endpoint(self._owner, name, now=now)
        else:
            await self.store.delete_event_type(ORGANIZATION, name)

    async def slice(self, page: Page) -> tuple[list[str], bool]:
        """The names of a slice, and whether anything follows."""
        if self.kind == "event types":
            types = await self.store.event_types(ORGANIZATION, page)
            return [one.name for one in types.data], types.done
        if self.kind == "applications":
            found = await self.store.applications(ORGANIZATION, page)
            return [one.public_id for one in found.data], found.done
        part = await self.store.endpoints(self._owner, page)
        return [one.public_id for one in part.data], part.done

    async def _owner_id(self) -> str:
        (owner,) = (await self.store.applications("org_owner", Page())).data
        return owner.public_id


@asynccontextmanager
async def listed(grounds: Grounds, kind: str) -> AsyncIterator[Listed]:
    with grounds.fresh() as ground:
        async with ground.opened() as store:
            one = Listed(store)
            await one.begin(kind)
            yield one


changes = st.lists(
    st.tuples(st.sampled_from(["add", "add", "take", "step", "step"]), st.integers(0, 5)),
    max_size=14,
)


def test_a_walk_sees_every_row_that_was_there_all_the_time_once(grounds: Grounds) -> None:
    @grounds.examples(25)
    @given(
        kind=st.sampled_from(LISTS),
        before=st.integers(0, 8),
        limit=st.integers(1, 4),
        descending=st.booleans(),
        backwards=st.booleans(),
        changes=changes,
    )
    def holds(
        kind: str,
        before: int,
        limit: int,
        descending: bool,
        backwards: bool,
        changes: list[tuple[str, int]],
    ) -> None:
        asyncio.run(_walk(grounds, kind, before, limit, descending, backwards, changes))

    holds()


async def _walk(
    grounds: Grounds,
    kind: str,
    before: int,
    limit: int,
    descending: bool,
    backwards: bool,
    changes: list[tuple[str, int]],
) -> None:
    async with listed(grounds, kind) as one:
        names = [await one.add("bcdefa"[number % 6]) for number in range(before)]
        stayed, gone, seen = set(names), set(), []
        page = Page(limit=limit, descending=descending)
        if backwards:
            everything = await one.slice(Page(limit=250, descending=descending))
            if not everything[0]:
                return
            last = everything[0][-1]
            page = Page(limit=limit, descending=descending, before=last)
            seen.append(last)
        done = False
        todo = iter(changes)
        while not done:
            for what, number in itertools.takewhile(lambda change: change[0] != "step", todo):
                if what == "add":
                    await one.add("adgz0m"[number])
                elif stayed:
                    name = sorted(stayed)[number % len(stayed)]
                    await one.take_away(name)
                    stayed.remove(name)
                    gone.add(name)
            part, done = await one.slice(page)
            assert len(part) <= limit
            assert done or len(part) == limit
            assert not set(part) & set(seen)
            seen.extend(reversed(part) if backwards else part)
            if not part:
                break
            page = (
                Page(limit=limit, descending=descending, before=part[0])
                if backwards
                else Page(limit=limit, descending=descending, after=part[-1])
            )
        assert stayed <= set(seen)
        assert seen == sorted(seen, reverse=descending != backwards)
