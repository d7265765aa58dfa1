"""The portal: a link that lets one browser in once, its pages, and what it may do there."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from svix.api import Svix, SvixOptions
from svix.models import AppPortalAccessIn, AppPortalCapability

from marketbell.testing import OK, Answer, FakeClock, TestReceiver

# A name that does harm wherever it is not escaped: in text, in an attribute, in a script.
HOSTILE = "\"><script>alert(1)</script>' onload=alert(2) {{7*7}} {% raw %}"
MINUTE = 60_000


def link(api: httpx.Client, app: str = "s", /, **body: Any) -> str:
    answer = api.post(f"/auth/app-portal-access/{app}", json=body)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"url", "token"}
    url: str = answer.json()["url"]
    return url


@contextlib.contextmanager
def sign_in(url: str) -> Iterator[httpx.Client]:
    """A browser that followed a link and pressed its button."""
    site = url.partition("/portal")[0]
    with httpx.Client(base_url=site, follow_redirects=True) as browser:
        page = browser.get(url)
        assert page.status_code == 200
        code = re.search(r'name="code" value="([^"]+)"', page.text)
        assert code is not None
        home = browser.post("/portal/login", data={"code": code[1]})
        assert home.status_code == 200, home.text
        yield browser


def use(url: str) -> None:
    """Sign in and go."""
    with sign_in(url):
        pass


def form_token(page: httpx.Response) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


@pytest.fixture
def seller(
    api: httpx.Client,
    receiver_of: Callable[..., TestReceiver],
    settle: Callable[[], None],
) -> dict[str, str]:
    """A seller with an endpoint and a message that was refused once; its ids."""
    receiver = receiver_of(Answer(status=500, body=b"no"), OK)
    assert api.post("/app", json={"name": "Seller", "uid": "s"}).status_code == 201
    endpoint = api.post(
        "/app/s/endpoint",
        json={
            "url": receiver.url,
            "description": HOSTILE,
            "metadata": {"marketbell.retry-schedule": "1h"},
        },
    ).json()["id"]
    message = api.post(
        "/app/s/msg", json={"eventType": "order.paid", "payload": {"note": HOSTILE}}
    ).json()["id"]
    settle()
    return {"endpoint": endpoint, "message": message, "receiver": receiver.url}


@pytest.fixture
def browser(api: httpx.Client, seller: dict[str, str]) -> Iterator[httpx.Client]:
    del seller
    with sign_in(link(api)) as client:
        yield client


class TestSigningIn:
    def test_the_link_leads_to_the_endpoints(
        self, browser: httpx.Client, seller: dict[str, str]
    ) -> None:
        home = browser.get("/portal")
        assert home.status_code == 200
        assert seller["receiver"] in home.text
        assert "answered 500" in home.text

    def test_a_code_is_good_once(self, api: httpx.Client, seller: dict[str, str]) -> None:
        url = link(api)
        use(url)
        code = url.rpartition("code=")[2]
        again = httpx.post(url.partition("?")[0], data={"code": code})
        assert again.status_code == 401
        assert "used already" in again.text
        assert "set-cookie" not in again.headers

    def test_a_code_is_good_once_in_a_race(self, api: httpx.Client, seller: dict[str, str]) -> None:
        url = link(api)
        place, _, code = url.partition("?code=")
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: httpx.post(place, data={"code": code}), range(10)))
        assert sorted(answer.status_code for answer in answers) == [303] + [401] * 9

    def test_following_the_link_alone_does_not_use_it_up(
        self, api: httpx.Client, seller: dict[str, str]
    ) -> None:
        url = link(api)
        for _ in range(3):
            assert httpx.get(url).status_code == 200
        use(url)

    def test_the_cookie_is_kept_from_scripts_and_other_sites(
        self, api: httpx.Client, seller: dict[str, str]
    ) -> None:
        place, _, code = link(api).partition("?code=")
        answer = httpx.post(place, data={"code": code})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert "path=/portal" in cookie
        assert "max-age=43200" in cookie
        assert "secure" not in cookie
        assert answer.headers["location"] == "/portal"

    def test_without_a_session_there_is_nothing(
        self, live_url: str, seller: dict[str, str]
    ) -> None:
        site = live_url.removesuffix("/api/v1")
        for path in (
            "/portal",
            f"/portal/endpoint/{seller['endpoint']}",
            f"/portal/endpoint/{seller['endpoint']}/secret",
            f"/portal/message/{seller['message']}",
        ):
            for cookies in ({}, {"marketbell_portal": "x" * 43}):
                answer = httpx.get(site + path, cookies=cookies)
                assert answer.status_code == 401
                assert "order.paid" not in answer.text

    def test_signing_out_ends_the_session(self, browser: httpx.Client) -> None:
        cookie = browser.cookies["marketbell_portal"]
        token = form_token(browser.get("/portal"))
        assert browser.post("/portal/logout", data={"form_token": token}).status_code == 200
        assert "marketbell_portal" not in browser.cookies
        browser.cookies.set("marketbell_portal", cookie)
        assert browser.get("/portal").status_code == 401

    def test_expire_all_ends_sessions_and_links(
        self, api: httpx.Client, browser: httpx.Client
    ) -> None:
        unused = link(api)
        assert browser.get("/portal").status_code == 200
        assert api.post("/auth/app/s/expire-all", json={}).status_code in {200, 204}
        assert browser.get("/portal").status_code == 401
        place, _, code = unused.partition("?code=")
        assert httpx.post(place, data={"code": code}).status_code == 401

    def test_a_deleted_application_shows_nothing(
        self, api: httpx.Client, browser: httpx.Client
    ) -> None:
        assert api.delete("/app/s").status_code == 204
        answer = browser.get("/portal")
        assert answer.status_code == 404
        assert "order.paid" not in answer.text


class TestAccess:
    def test_the_token_is_the_applications(
        self, api: httpx.Client, live_url: str, seller: dict[str, str]
    ) -> None:
        api.post("/app", json={"name": "Other", "uid": "other"})
        answer = api.post("/auth/app-portal-access/s", json={"expiry": 3600})
        with httpx.Client(
            base_url=live_url, headers={"authorization": f"Bearer {answer.json()['token']}"}
        ) as own:
            assert own.get("/app/s/endpoint").status_code == 200
            assert own.get("/app/other/endpoint").status_code == 404
            assert own.get("/app").status_code == 403

    def test_the_official_client_reads_it(
        self, live_url: str, token_of: Callable[..., str], organization: str, seller: dict[str, str]
    ) -> None:
        options = SvixOptions(server_url=live_url.removesuffix("/api/v1"))
        client = Svix(token_of(organization), options)
        wanted = AppPortalAccessIn(
            capabilities=[AppPortalCapability.VIEW_BASE, AppPortalCapability.MANAGE_ENDPOINT],
            expiry=7_200,
            session_id="session-1",
            feature_flags=["beta"],
            read_only=False,
        )
        access = client.authentication.app_portal_access("s", wanted)
        assert access.token
        use(access.url)
        use(client.authentication.app_portal_access("s", AppPortalAccessIn()).url)
        client._httpx_client.close()

    def test_the_older_name_does_the_same(self, api: httpx.Client, seller: dict[str, str]) -> None:
        answer = api.post("/auth/dashboard-access/s")
        assert answer.status_code == 200
        use(answer.json()["url"])

    def test_it_makes_the_application_that_it_brings_along(self, api: httpx.Client) -> None:
        body = {"application": {"name": "New", "uid": "new"}}
        use(link(api, "new", **body))
        assert api.get("/app/new").json()["name"] == "New"
        assert api.post("/auth/app-portal-access/none", json={}).status_code == 404

    @pytest.mark.parametrize("ref", ["s", "another"], ids=["there", "not yet there"])
    def test_an_application_that_it_brings_along_is_good_in_any_case(
        self, api: httpx.Client, seller: dict[str, str], ref: str
    ) -> None:
        for field, bad in (("name", ""), ("metadata", {"marketbell.dialect": "none"})):
            body = {"application": {"name": "New", "uid": ref, field: bad}}
            answer = api.post(f"/auth/app-portal-access/{ref}", json=body)
            assert answer.status_code == 422
            assert answer.json()["detail"][0]["loc"][:3] == ["body", "application", field]
        body = {"application": {"name": "New", "uid": "other"}}
        answer = api.post("/auth/app-portal-access/another", json=body)
        assert answer.json()["detail"][0]["loc"] == ["body", "application", "uid"]
        assert api.get("/app/another").status_code == 404

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"expiry": 3599}, "expiry"),
            ({"expiry": 28 * 86_400 + 1}, "expiry"),
            ({"capabilities": ["Everything"]}, "capabilities"),
            ({"capabilities": ["ManageEndpoint"]}, "capabilities"),
            ({"readOnly": True, "capabilities": ["ViewBase", "ManageEndpoint"]}, "readOnly"),
            ({"sessionId": "a b"}, "sessionId"),
            ({"featureFlags": [""]}, "featureFlags"),
            ({"theme": "dark"}, "theme"),
        ],
    )
    def test_what_it_cannot_do_is_refused(
        self, api: httpx.Client, seller: dict[str, str], body: dict[str, Any], field: str
    ) -> None:
        answer = api.post("/auth/app-portal-access/s", json=body)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"][1] == field

    def test_read_only_shows_and_changes_nothing(
        self, api: httpx.Client, live_url: str, seller: dict[str, str]
    ) -> None:
        answer = api.post("/auth/app-portal-access/s", json={"readOnly": True}).json()
        own = httpx.Client(
            base_url=live_url, headers={"authorization": f"Bearer {answer['token']}"}
        )
        secret = f"/portal/endpoint/{seller['endpoint']}/secret"
        with sign_in(answer["url"]) as browser, own:
            page = browser.get(f"/portal/message/{seller['message']}")
            assert page.status_code == 200
            assert "Send again" not in page.text
            token = form_token(page)
            resend = {"form_token": token, "endpoint": seller["endpoint"]}
            refused = browser.post(f"/portal/message/{seller['message']}", data=resend)
            assert refused.status_code == 403
            assert browser.get(secret).status_code == 403
            rotate = {"form_token": token, "grace": "24h"}
            assert browser.post(secret, data=rotate).status_code == 403
            path = f"/app/s/endpoint/{seller['endpoint']}"
            assert own.get(path).status_code == 200
            assert own.get(f"{path}/secret").status_code == 403
            assert own.delete(path).status_code == 403

    @pytest.mark.parametrize(
        ("capabilities", "sees", "rotates", "resends"),
        [
            (["ViewBase", "ViewEndpointSecret"], True, False, False),
            (["ViewBase", "ManageEndpointSecret"], True, True, False),
            (["ViewBase", "CreateAttempts", "ManageTransformations"], False, False, True),
            (["ViewBase", "ManageEndpoint"], True, True, False),
        ],
    )
    def test_capabilities_bound_the_page_and_the_token(
        self,
        api: httpx.Client,
        live_url: str,
        seller: dict[str, str],
        capabilities: list[str],
        sees: bool,
        rotates: bool,
        resends: bool,
    ) -> None:
        answer = api.post("/auth/app-portal-access/s", json={"capabilities": capabilities}).json()
        secret = f"/portal/endpoint/{seller['endpoint']}/secret"
        message = f"/portal/message/{seller['message']}"
        with sign_in(answer["url"]) as browser:
            assert (browser.get(secret).status_code == 200) is sees
            token = form_token(browser.get(message))
            rotated = browser.post(secret, data={"form_token": token, "grace": "1h"})
            assert (rotated.status_code == 200) is rotates
            form = {"form_token": token, "endpoint": seller["endpoint"]}
            assert (browser.post(message, data=form).status_code == 200) is resends
        with httpx.Client(
            base_url=live_url, headers={"authorization": f"Bearer {answer['token']}"}
        ) as own:
            path = f"/app/s/endpoint/{seller['endpoint']}"
            assert (own.get(f"{path}/secret").status_code == 200) is rotates
            again = own.post(f"/app/s/msg/{seller['message']}/endpoint/{seller['endpoint']}/resend")
            assert (again.status_code == 202) is resends
            renamed = own.patch(path, json={"description": "mine"})
            assert (renamed.status_code == 200) is ("ManageEndpoint" in capabilities)

    def test_a_key_gives_no_more_than_it_has(
        self, api: httpx.Client, live_url: str, seller: dict[str, str], organization: str
    ) -> None:
        asked = {"name": "portal", "scopes": ["access:write", "endpoint:read", "message:read"]}
        made = api.post("/auth/api-token", json=asked)
        assert made.status_code == 201, made.text
        key = made.json()["token"]
        with httpx.Client(base_url=live_url, headers={"authorization": f"Bearer {key}"}) as own:
            refused = own.post(
                "/auth/app-portal-access/s", json={"capabilities": ["ViewBase", "ManageEndpoint"]}
            )
            assert refused.status_code == 403
            with sign_in(link(own)) as browser:
                assert browser.get("/portal").status_code == 200
                secret = f"/portal/endpoint/{seller['endpoint']}/secret"
                assert browser.get(secret).status_code == 403

    def test_a_repeated_request_gets_a_link_of_its_own(
        self, api: httpx.Client, seller: dict[str, str]
    ) -> None:
        headers = {"idempotency-key": "mine"}
        urls = [
            api.post("/auth/app-portal-access/s", json={}, headers=headers).json()["url"]
            for _ in range(2)
        ]
        for url in urls:
            use(url)
        other = api.post("/auth/app-portal-access/s", json={"expiry": 3600}, headers=headers)
        assert other.status_code == 409

    def test_its_secrets_are_not_in_the_database(
        self,
        api: httpx.Client,
        live: Any,
        seller: dict[str, str],
    ) -> None:
        answer = api.post("/auth/app-portal-access/s", json={}).json()
        code = answer["url"].rpartition("code=")[2]
        with sign_in(answer["url"]) as browser:
            cookie = browser.cookies["marketbell_portal"]
        kept = b"".join(
            file.read_bytes()
            for file in Path(live.settings.db_file).parent.glob("node.db*")
            if file.is_file() and not file.name.endswith(".secrets")
        )
        assert b"portal_session" in kept
        for secret in (code, cookie, answer["token"]):
            assert secret.encode() not in kept


class TestPages:
    def test_names_and_payloads_are_escaped(
        self, browser: httpx.Client, seller: dict[str, str]
    ) -> None:
        for path in (
            "/portal",
            f"/portal/endpoint/{seller['endpoint']}",
            f"/portal/endpoint/{seller['endpoint']}/secret",
            f"/portal/message/{seller['message']}",
            "/portal/login?code=" + "%22%3E%3Cscript%3Ealert(1)",
        ):
            text = browser.get(path).text
            assert "<script>" not in text
            assert "alert(2) 49" not in text  # not any 49: a clock shows one each minute
        assert "{{7*7}}" in browser.get("/portal").text

    def test_every_page_says_what_it_may_load(
        self, browser: httpx.Client, seller: dict[str, str]
    ) -> None:
        for path in ("/portal", "/portal/login", "/portal/endpoint/none", "/portal/static/none"):
            headers = browser.get(path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert headers["cache-control"] == "no-store"
            assert headers["x-request-id"]

    def test_pages_need_nothing_from_elsewhere(
        self, browser: httpx.Client, seller: dict[str, str]
    ) -> None:
        page = browser.get(f"/portal/message/{seller['message']}").text
        loaded = re.findall(r'<(?:link|script)[^>]+(?:href|src)="([^"]+)"', page)
        assert len(loaded) == 3
        for place in loaded:
            assert place.startswith("/portal/static/")
            file = browser.get(place)
            assert file.status_code == 200
            assert "immutable" in file.headers["cache-control"]
        assert "style=" not in page

    def test_a_message_is_shown_with_its_attempts(
        self, browser: httpx.Client, seller: dict[str, str]
    ) -> None:
        page = browser.get(f"/portal/message/{seller['message']}").text
        assert "alert(1)" in page
        assert "waiting for the next attempt" in page
        assert "answered 500" in page

    def test_a_message_is_sent_again(
        self, browser: httpx.Client, seller: dict[str, str], settle: Callable[[], None]
    ) -> None:
        place = f"/portal/message/{seller['message']}"
        token = form_token(browser.get(place))
        done = browser.post(place, data={"form_token": token, "endpoint": seller["endpoint"]})
        assert "is sent again" in done.text
        settle()
        page = browser.get(place).text
        assert "delivered" in page
        assert page.count("<tr>") == 3

    def test_the_secret_is_shown_and_rotated(
        self, api: httpx.Client, browser: httpx.Client, seller: dict[str, str]
    ) -> None:
        place = f"/portal/endpoint/{seller['endpoint']}/secret"
        page = browser.get(place)
        before = api.get(f"/app/s/endpoint/{seller['endpoint']}/secret").json()["key"]
        assert before in page.text
        wrong = {"form_token": form_token(page), "grace": "forever"}
        assert browser.post(place, data=wrong).status_code == 422
        right = {"form_token": form_token(page), "grace": "1h"}
        assert "was rotated" in browser.post(place, data=right).text
        after = api.get(f"/app/s/endpoint/{seller['endpoint']}/secret").json()["key"]
        assert after != before
        assert after in browser.get(place).text

    def test_a_form_of_another_site_is_refused(
        self, browser: httpx.Client, seller: dict[str, str]
    ) -> None:
        place = f"/portal/message/{seller['message']}"
        good = {"form_token": form_token(browser.get(place)), "endpoint": seller["endpoint"]}
        for form in ({"endpoint": seller["endpoint"]}, {**good, "form_token": "x"}):
            assert browser.post(place, data=form).status_code == 403
        other = browser.post(place, data=good, headers={"sec-fetch-site": "cross-site"})
        assert other.status_code == 403
        assert browser.post(place, json=good).status_code == 422
        large = browser.post(place, data={**good, "more": "x" * 5_000})
        assert large.status_code == 413

    def test_another_sellers_things_are_not_found(
        self, api: httpx.Client, browser: httpx.Client, seller: dict[str, str]
    ) -> None:
        api.post("/app", json={"name": "Other", "uid": "other"})
        endpoint = api.post("/app/other/endpoint", json={"url": seller["receiver"]}).json()["id"]
        message = api.post(
            "/app/other/msg", json={"eventType": "order.secret", "payload": {}}
        ).json()["id"]
        token = form_token(browser.get("/portal"))
        for path in (f"/portal/endpoint/{endpoint}", f"/portal/endpoint/{endpoint}/secret"):
            assert browser.get(path).status_code == 404
        assert browser.get(f"/portal/message/{message}").status_code == 404
        form = {"form_token": token, "endpoint": endpoint, "grace": "0"}
        assert browser.post(f"/portal/endpoint/{endpoint}/secret", data=form).status_code == 404
        assert browser.post(f"/portal/message/{message}", data=form).status_code == 404
        own = f"/portal/message/{seller['message']}"
        assert browser.post(own, data=form).status_code == 404

    def test_long_lists_go_on(
        self,
        api: httpx.Client,
        browser: httpx.Client,
        seller: dict[str, str],
        settle: Callable[[], None],
    ) -> None:
        for _ in range(30):
            api.post("/app/s/msg", json={"eventType": "order.paid", "payload": {}})
        settle()
        place = f"/portal/endpoint/{seller['endpoint']}"
        page = browser.get(place).text
        older = re.search(rf'href="({place}\?after=atmpt_\w+)"', page)
        assert page.count("<tr>") == 26
        assert older is not None
        rest = browser.get(older[1]).text
        assert rest.count("<tr>") == 7
        assert browser.get(f"{place}?after=x").status_code == 404

    def test_what_a_seller_does_is_in_the_audit_log(
        self, api: httpx.Client, browser: httpx.Client, seller: dict[str, str]
    ) -> None:
        place = f"/portal/message/{seller['message']}"
        token = form_token(browser.get(place))
        browser.post(place, data={"form_token": token, "endpoint": seller["endpoint"]})
        entry = api.get("/audit-log").json()["data"][0]
        application = api.get("/app/s").json()["id"]
        assert entry["operation"] == "v1.message-attempt.resend"
        assert entry["actor"] == f"portal {application}"
        assert entry["appId"] == application
        assert entry["path"] == place
        assert entry["requestId"]


class TestTime:
    def test_links_and_sessions_end_in_time(
        self, tmp_path: Path, node_at: Callable[..., Any]
    ) -> None:
        clock = FakeClock()
        with node_at(tmp_path, clock) as live:
            api = live.client()
            api.post("/app", json={"name": "S", "uid": "s"})
            late, good = link(api), link(api)
            with sign_in(good) as browser:
                assert browser.get("/portal").status_code == 200
                live.advance(10 * MINUTE)
                code = late.rpartition("code=")[2]
                answer = httpx.post(late.partition("?")[0], data={"code": code})
                assert answer.status_code == 401
                assert browser.get("/portal").status_code == 200
                live.advance(12 * 60 * MINUTE)
                assert browser.get("/portal").status_code == 401

    def test_over_https_the_cookie_says_so(
        self, tmp_path: Path, node_at: Callable[..., Any]
    ) -> None:
        with node_at(tmp_path, None, public_url="https://hooks.example") as live:
            api = live.client()
            api.post("/app", json={"name": "S", "uid": "s"})
            url = link(api)
            assert url.startswith("https://hooks.example/portal/login?code=")
            code = url.rpartition("code=")[2]
            answer = httpx.post(f"{live.url}/portal/login", data={"code": code})
            assert "secure" in answer.headers["set-cookie"].lower()


# -- paths and methods


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_that_is_not_there_is_told_as_a_page(
    live_url: str, browser: httpx.Client, method: str
) -> None:
    site = live_url.partition("/api")[0]
    for answer in (
        httpx.request(method, f"{site}/portal/nothing/here"),
        browser.request(method, "/portal/nothing"),
    ):
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        assert "There is no such page." in answer.text
        assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/portal/login", {"GET", "HEAD", "POST"}),
        ("/portal/endpoint/ep_x/secret", {"GET", "HEAD", "POST"}),
        ("/portal/message/msg_x", {"GET", "HEAD", "POST"}),
        ("/portal", {"GET", "HEAD"}),
        ("/portal/logout", {"POST"}),
    ],
)
def test_a_refused_method_is_told_every_other(live_url: str, path: str, methods: set[str]) -> None:
    answer = httpx.delete(live_url.partition("/api")[0] + path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == methods
