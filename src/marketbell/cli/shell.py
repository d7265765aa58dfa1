"""The management API from a shell: one command's server, and how its answers are shown."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeAlias

from marketbell.cli.exits import Exit
from marketbell.cli.options import JsonFlag
from marketbell.cli.parameters import Token, Url
from marketbell.cli.tables import (
    Column,
    Thing,
    print_json,
    print_json_list,
    print_table,
    print_thing,
)
from marketbell.errors import AuthenticationError, InvalidError

if TYPE_CHECKING:
    from marketbell.cli.remote import Remote

P = ParamSpec("P")
Query: TypeAlias = Mapping[str, str | int | bool | None]
"""Parameters of a list; those that are None are left out."""

_PAGE: Final = 250
_LIMIT: Final = 50


class Shell:
    """One command's connection and output; the connection is made when it is first used."""

    def __init__(self, url: str | None, token: str | None, *, as_json: bool) -> None:
        self._url = url or os.environ.get("MARKETBELL_URL")
        self._token = token or os.environ.get("MARKETBELL_TOKEN")
        self.as_json = as_json

    @property
    def elsewhere(self) -> bool:
        """Whether a server was named, by an option or the environment."""
        return self._url is not None

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment, with the server and token that options name."""
        named = given(MARKETBELL_URL=self._url, MARKETBELL_TOKEN=self._token)
        return {**os.environ, **{name: str(value) for name, value in named.items()}}

    @cached_property
    def remote(self) -> Remote:
        """The server. AuthenticationError if there is no token for it."""
        from marketbell.cli.remote import Remote

        url, token = self._url, self._token
        if url is None:
            from marketbell.cli.local import here

            url, own = here(signing=token is None)
            token = token or own
        if token is None:
            other = "" if self._url else ", or call this in the folder of the server's database"
            raise AuthenticationError(
                f"There is no token for {url}: set MARKETBELL_TOKEN or give --token"
                f" (`marketbell token create` makes one){other}."
            )
        return Remote(url, token)

    def close(self) -> None:
        """End the connection, if there is one."""
        if "remote" in vars(self):
            self.remote.__exit__(None, None, None)

    # -- asking

    def get(self, path: str, query: Query | None = None) -> Any:
        """What a GET answers."""
        return self.remote.request("GET", path, query=_given(query))

    def post(self, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
        """What a POST answers."""
        return self.remote.request("POST", path, body={} if body is None else body, headers=headers)

    def request(
        self, method: str, path: str, body: object = None, query: Query | None = None
    ) -> Any:
        """What any other request answers."""
        return self.remote.request(method, path, body=body, query=_given(query))

    def pages(
        self, path: str, query: Query | None = None, *, limit: int | None = None, whole: bool = True
    ) -> Iterator[list[Thing]]:
        """A list page by page: all of it, or `limit` elements (50 if None)."""
        if limit is not None and limit < 1:
            raise InvalidError(("limit",), f"{limit} is not 1 or more")
        left = None if whole and limit is None else limit or _LIMIT
        given = {**_given(query), "limit": min(_PAGE, left or _PAGE)}
        while True:
            page = self.remote.request("GET", path, query=given)
            data = page["data"][:left]
            yield data
            left = None if left is None else left - len(data)
            if page["done"] or left == 0:
                if not page["done"]:
                    print("There are more: --limit N or --all.", file=sys.stderr)
                return
            given["iterator"] = page["iterator"]
            given["limit"] = min(_PAGE, left or _PAGE)

    # -- showing

    def show(self, thing: Thing, columns: Sequence[Column]) -> int:
        """Print one thing."""
        if self.as_json:
            print_json(thing)
        else:
            print_thing(columns, thing)
        return Exit.OK

    def made(self, thing: Thing, name: str = "id") -> int:
        """Print what was made: its id alone, for `ID=$(marketbell ...)`."""
        if self.as_json:
            print_json(thing)
        else:
            print(thing[name])
        return Exit.OK

    def done(self, facts: Thing, sentence: str) -> int:
        """Say that it is done."""
        if self.as_json:
            print_json(facts)
        else:
            print(sentence)
        return Exit.OK

    def list(
        self,
        path: str,
        columns: Sequence[Column],
        query: Query | None = None,
        *,
        limit: int | None,
        whole: bool,
        none: str,
    ) -> int:
        """Print a list; `none` is what is said if it is empty."""
        if limit is not None and whole:
            raise InvalidError(("limit",), "give --limit or --all, not both")
        pages = self.pages(path, query, limit=limit, whole=whole)
        if self.as_json:
            print_json_list(pages)
        else:
            print_table(columns, pages, none)
        return Exit.OK

    def note(self, sentence: str) -> None:
        """Say something beside the answer, on stderr."""
        print(f"marketbell: {sentence}", file=sys.stderr)


def in_shell(command: Callable[Concatenate[Shell, P], int]) -> Callable[P, int]:
    """
    A command whose first parameter is a Shell, with the options --url, --token and --json.

    The connection is closed when it ends.
    """

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        options: dict[str, Any] = dict(kwargs)
        given = {name: options.pop(name, None) for name in ("url", "token")}
        shell = Shell(**given, as_json=options.pop("json", False))
        try:
            return command(shell, *args, **options)
        finally:
            shell.close()

    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, kind, default in (
            ("url", Url, None),
            ("token", Token, None),
            ("json", JsonFlag, False),
        )
    ]
    described: Any = run
    described.__signature__ = inspect.Signature([*own, *shared], return_annotation=int)
    described.__annotations__ = {one.name: one.annotation for one in (*own, *shared)}
    return run


def path_of(*parts: str) -> str:
    """A path of the API: every other part is a word, the rest ids or uids."""
    from urllib.parse import quote

    for part in parts:
        if part in {"", ".", ".."}:
            raise InvalidError((), f"{part!r} is no id and no uid")
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def given(**fields: object) -> dict[str, object]:
    """A body of the fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def _given(query: Query | None) -> dict[str, str | int | bool]:
    return {name: value for name, value in (query or {}).items() if value is not None}
