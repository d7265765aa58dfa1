"""What the official `svix` package sends, read from its source, is known to our routes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import svix.api

from marketbell.api.routes import PUBLISH, operations

FOLDER = Path(svix.api.__file__).parent
CLOUD_ONLY = {
    "exclude_apps_with_no_endpoints",
    "exclude_apps_with_disabled_endpoints",
    "exclude_apps_with_svix_play_endpoints",
}
"""Filters of Svix's cloud, refused here with 422."""

OPTIONS = re.compile(r"class (\w+Options)\(.*?(?=\n@dataclass|\nclass )", re.DOTALL)
QUERY = re.compile(r"def _query_params.*?(?=def _header|\Z)", re.DOTALL)
NAME = re.compile(r'^\s+"(\w+)":', re.MULTILINE)
METHOD = re.compile(r'method="(\w+)"')
PATH = re.compile(r'path="([^"]+)"')
GIVEN = re.compile(r"options: (\w+)")


def shape(path: str) -> str:
    return re.sub(r"{.*?}", "{}", path)


def sent() -> dict[tuple[str, str], set[str]]:
    """Method and path to the query parameters that the package may send with it."""
    found: dict[tuple[str, str], set[str]] = {}
    for file in FOLDER.glob("*.py"):
        source = file.read_text()
        options: dict[str, set[str]] = {}
        for part in OPTIONS.finditer(source):
            query = QUERY.search(part[0])
            options[part[1]] = set(NAME.findall(query[0])) if query else set()
        for function in re.split(r"\n    (?:async )?def ", source):
            method, path, given = (one.search(function) for one in (METHOD, PATH, GIVEN))
            if method is not None and path is not None:
                key = (method[1].upper(), shape(path[1]))
                names = options.get(given[1], set()) if given is not None else set()
                found.setdefault(key, set()).update(names)
    return found


OURS = {
    **{(one.method, shape(one.path)): set(one.query) for one in operations()},
    (PUBLISH[0], shape(PUBLISH[1])): set(PUBLISH[3]),
}
BOTH = sorted(OURS.keys() & sent().keys())


def test_the_package_was_understood() -> None:
    assert len(BOTH) >= 28
    assert "event_types" in sent()["GET", "/api/v1/app/{}/msg"]


@pytest.mark.parametrize(("method", "path"), BOTH)
def test_every_parameter_is_known(method: str, path: str) -> None:
    assert sent()[method, path] - CLOUD_ONLY <= OURS[method, path]
