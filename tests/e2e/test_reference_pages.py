"""The document and the page of the API as a browser gets them: whole, cached, and from here alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import httpx
import msgspec
import pytest

from support.conformity import whole

PAGES = {
    "/api/v1/openapi.json": "application/json",
    "/docs": "text/html; charset=utf-8",
    "/docs/reference.css": "text/css; charset=utf-8",
    "/docs/reference.js": "text/javascript; charset=utf-8",
}


@pytest.fixture
def browser(live_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live_url.removesuffix("/api/v1"), trust_env=False) as client:
        yield client


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.unclosed: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "input", "wbr"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unclosed.append(tag)

    def all(self, name: str) -> list[str]:
        return [value for _tag, given in self.found if (value := given.get(name)) is not None]


def test_the_document_is_the_one_that_the_code_makes(browser: httpx.Client) -> None:
    answer = browser.get("/api/v1/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == msgspec.json.decode(msgspec.json.encode(whole()))
    assert browser.get("/api/v1/openapi.json/").content == answer.content


@pytest.mark.parametrize(("path", "kind"), PAGES.items())
def test_each_file_is_kept_by_its_tag(browser: httpx.Client, path: str, kind: str) -> None:
    first = browser.get(path)
    assert (first.status_code, first.headers["content-type"]) == (200, kind)
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = browser.get(path, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert browser.get(path, headers={"if-none-match": '"other"'}).content == first.content
    head = browser.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(first.content))
    for header, word in (
        ("content-security-policy", "default-src 'none'"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ):
        assert word in first.headers[header]
    refused = browser.post(path)
    assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")


def test_the_root_leads_to_the_page(browser: httpx.Client) -> None:
    answer = browser.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
    assert browser.get("/docs/").status_code == 200


def test_the_page_shows_every_operation_and_form(browser: httpx.Client) -> None:
    elements = Elements(browser.get("/docs").text)
    ids = elements.all("id")
    for methods in whole()["paths"].values():
        for operation in methods.values():
            assert operation["operationId"] in ids
    for name in whole()["components"]["schemas"]:
        assert f"form-{name}" in ids


def test_the_page_is_well_formed_and_its_links_lead_somewhere(browser: httpx.Client) -> None:
    elements = Elements(browser.get("/docs").text)
    assert (elements.open, elements.unclosed) == ([], [])
    ids = elements.all("id")
    assert len(ids) == len(set(ids))
    for link in elements.all("href"):
        if link.startswith("#"):
            assert link[1:] in ids
        else:
            assert browser.get(link).status_code == 200
    for name in ("aria-labelledby", "aria-describedby", "for"):
        assert set(elements.all(name)) <= set(ids)


def test_the_page_asks_nothing_of_anybody_else(browser: httpx.Client) -> None:
    text = browser.get("/docs").text
    elements = Elements(text)
    outside = [
        value
        for name in ("src", "href", "action", "srcset", "poster")
        for value in elements.all(name)
        if not value.startswith(("/", "#"))
    ]
    assert outside == []
    assert elements.all("style") == []
    assert [name for _tag, given in elements.found for name in given if name[:2] == "on"] == []
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|<style", text) == []
    shipped = browser.get("/docs/reference.css").text + browser.get("/docs/reference.js").text
    assert re.findall(r"https?:|@import|url\(|fetch|import\(|eval", shipped) == []


def test_what_the_document_says_cannot_become_markup(browser: httpx.Client) -> None:
    text = browser.get("/docs").text
    assert "Seller 42" in text
    assert "{app_id}" in text
    assert "{&quot;name&quot;" in text or "&quot;name&quot;" in text
