"""The pages in a real browser: on a phone, by keyboard alone, in the dark, without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from e2e.conftest import LiveNode
from marketbell.testing import OK, Answer

if TYPE_CHECKING:
    from playwright.sync_api import Page

PHONE = {"width": 360, "height": 740}
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>' {{7*7}}"
LONG = "x" * 300

# Of each visible text that stands in an element itself: how far its colour is from what is behind it
# (WCAG 2.2, section 1.4.3).
CONTRASTS = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parts(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
  };
  const poor = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || element.tagName === "OPTION" || !element.checkVisibility()) continue;
    const one = light(parts(getComputedStyle(element).color));
    const other = light(behind(element));
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) poor.push(`${element.tagName} ${ratio.toFixed(2)} ${element.textContent.slice(0, 40)}`);
  }
  return poor.slice(0, 10);
}"""


class Seller:
    """A seller whose one message was refused, and links into its portal."""

    def __init__(self, live: LiveNode, api: httpx.Client) -> None:
        self.url = live.url
        self._live = live
        self._api = api
        made = api.post("/app", json={"name": HOSTILE})
        self.app = made.json()["id"]
        self.receiver = live.receiver(Answer(status=500, body=b"no"), OK)
        endpoint = api.post(
            f"/app/{self.app}/endpoint",
            json={
                "url": f"{self.receiver.url}/{LONG}",
                "description": f"{HOSTILE} {LONG}",
                "metadata": {"marketbell.retry-schedule": "1h"},
            },
        )
        self.endpoint = endpoint.json()["id"]
        message = api.post(
            f"/app/{self.app}/msg",
            json={"eventType": "order.paid", "eventId": LONG[:256], "payload": {HOSTILE: LONG}},
        )
        self.message = message.json()["id"]
        live.settle()

    def link(self, **body: Any) -> str:
        """A fresh link, good once."""
        answer = self._api.post(f"/auth/app-portal-access/{self.app}", json=body)
        assert answer.status_code == 200, answer.text
        url: str = answer.json()["url"]
        return url

    def settle(self) -> None:
        self._live.settle()

    @property
    def pages(self) -> tuple[str, ...]:
        return (
            "/portal",
            f"/portal/endpoint/{self.endpoint}",
            f"/portal/endpoint/{self.endpoint}/secret",
            f"/portal/message/{self.message}",
        )


@pytest.fixture(scope="module")
def seller(live: LiveNode) -> Seller:
    return Seller(live, live.client("org_seller"))


def signed_in(page: Page, link: str) -> None:
    page.goto(link)
    page.wait_for_url("**/portal")


def tab_to(page: Page, text: str) -> None:
    """Press Tab until what has this name has the focus, which can be seen."""
    for _ in range(40):
        page.keyboard.press("Tab")
        at = page.evaluate(
            """() => {
              const at = document.activeElement;
              const style = getComputedStyle(at);
              return [at.ariaLabel || at.innerText || at.id, style.outlineStyle, style.outlineWidth];
            }"""
        )
        if text in at[0]:
            assert at[1:] == ["solid", "3px"], at
            return
    pytest.fail(f"nothing named {text!r} is reached by Tab")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone_and_can_be_read(
    page_of: Callable[..., Page], seller: Seller, scheme: str
) -> None:
    page = page_of(viewport=PHONE, color_scheme=scheme)
    signed_in(page, seller.link())
    backs = set()
    for path in seller.pages:
        answer = page.goto(seller.url + path)
        assert answer is not None
        assert answer.status == 200
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
        assert page.evaluate(CONTRASTS) == [], path
        assert page.locator("h1").count() == 1
        backs.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(backs) == 1
    assert (backs == {"rgb(255, 255, 255)"}) == (scheme == "light")


def test_what_others_wrote_is_shown_and_never_run(
    page_of: Callable[..., Page], seller: Seller
) -> None:
    page = page_of()
    signed_in(page, seller.link())
    assert HOSTILE in page.locator("main").inner_text()
    page.goto(seller.url + seller.pages[3])
    assert "<script>alert(1)</script>" in page.locator("pre").inner_text()
    assert page.locator("main img, main script").count() == 0


def test_all_of_it_by_keyboard_alone(page_of: Callable[..., Page], seller: Seller) -> None:
    page = page_of(viewport=PHONE)
    signed_in(page, seller.link())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    tab_to(page, LONG)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{seller.pages[1]}")
    tab_to(page, "Show or rotate")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{seller.pages[2]}")
    before = page.locator("code.secret").inner_text()
    tab_to(page, "Make a new secret")
    page.keyboard.press("Enter")  # and the dialog is accepted
    page.wait_for_url("**?done=rotated")
    assert page.get_by_role("status").inner_text() == "The secret was rotated."
    after = page.locator("code.secret").inner_text()
    assert re.fullmatch(r"whsec_\S{30,}", after)
    assert after != before
    page.goto(seller.url + seller.pages[3])
    attempts = page.locator("tbody tr").count()
    tab_to(page, "Send again")
    page.keyboard.press("Enter")
    page.wait_for_url("**?done=resent")
    seller.settle()
    page.reload()
    assert page.locator("tbody tr").count() == attempts + 1
    tab_to(page, "Sign out")
    page.keyboard.press("Enter")
    page.get_by_text("You are signed out.").wait_for()
    for path in seller.pages:
        assert page.request.get(seller.url + path).status == 401


def test_it_works_without_scripts(page_of: Callable[..., Page], seller: Seller) -> None:
    page = page_of(java_script_enabled=False)
    page.goto(seller.link())
    page.get_by_role("button", name="Open").click()
    page.wait_for_url("**/portal")
    page.goto(seller.url + seller.pages[2])
    page.get_by_label("The present secret signs along for").select_option("0")
    page.get_by_role("button", name="Make a new secret").click()
    page.get_by_text("The secret was rotated.").wait_for()


def test_a_session_that_may_only_look_has_nothing_to_press(
    page_of: Callable[..., Page], seller: Seller
) -> None:
    page = page_of()
    signed_in(page, seller.link(readOnly=True))
    for path in (seller.pages[0], seller.pages[1], seller.pages[3]):
        page.goto(seller.url + path)
        assert page.get_by_role("button").all_inner_texts() == ["Sign out"]
        assert page.get_by_text("Show or rotate").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_reference_fits_a_phone_and_can_be_read(
    page_of: Callable[..., Page], live: LiveNode, scheme: str
) -> None:
    page = page_of(viewport=PHONE, color_scheme=scheme)
    page.goto(f"{live.url}/docs")
    assert page.locator("h1").count() == 1
    assert page.evaluate(CONTRASTS) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
