"""Every operation and every role: who may, may; who may not changes nothing and sees not a byte."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import httpx
import msgspec
import pytest

from marketbell.api.access import APPLICATION, OPERATOR, ROLES, rule_of, table_of
from marketbell.api.call import Access, Operation
from marketbell.api.routes import documented
from marketbell.control.scopes import SCOPES
from marketbell.store.base import Rejected, Store
from support.outbox_rows import reject

MARK = "victims-own"
URL = f"http://127.0.0.1:49151/{MARK}"
"""Nobody listens there, so each attempt is over at once."""
SINCE = "2026-01-01T00:00:00Z"
API = "/api/v1"

BODIES: dict[str, Any] = {
    "v1.application.create": {
        "name": MARK,
        "uid": f"{MARK}-app",
        "metadata": {"k": MARK, "marketbell.retry-schedule": "1h"},
    },
    "v1.endpoint.create": {"url": URL, "uid": f"{MARK}-ep", "description": MARK},
    "v1.event-type.create": {"name": f"{MARK}.type", "description": MARK},
    "v1.message.create": {"eventType": f"{MARK}.type", "payload": {"x": MARK}},
    "v1.endpoint.update": {"url": URL},
    "v1.endpoint.update-headers": {"headers": {"x-own": MARK}},
    "v1.endpoint.patch-headers": {"headers": {"x-own": MARK}},
    "v1.message.create-batch": {"messages": [{"eventType": "a", "payload": {"x": MARK}}]},
    "v1.endpoint.recover": {"since": SINCE},
    "v1.endpoint.replay-missing": {"since": SINCE},
    "v1.endpoint.bulk-replay": {"since": SINCE},
    "v1.authentication.create-api-token": {"name": MARK},
    "v1.marketplace-login.create": {"marketplace": "ovoko"},
}
"""Bodies that are taken; the empty object for all other operations."""

UNLOGGED = {
    "v1.message.create",
    "v1.message.create-batch",
    "v1.message.precheck",
    "v1.endpoint.send-example",
    "v1.admin.redrive-dlq",
}
"""Publishing, which changes no configuration; a question; and the mending of what is not there."""
OPERATIONS = documented()
TABLE = table_of(OPERATIONS)
GUARDED = [one for one in OPERATIONS if one.access is not Access.NOBODY]
CREATES = {one.path: one for one in OPERATIONS if one.method == "POST" and one.takes is not None}
PARAMETER = re.compile(r"{(\w+)}")
PUBLIC_ID = re.compile(r"\b[a-z]{2,6}_[0-9A-Za-z]{27}\b")


class Caller(msgspec.Struct, frozen=True):
    """A token, and the connections that all callers share."""

    http: httpx.Client
    token: str | None

    def request(self, method: str, path: str, *, json: Any = None) -> httpx.Response:
        headers = {} if self.token is None else {"authorization": f"Bearer {self.token}"}
        return self.http.request(method, path, json=json, headers=headers)

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, *, json: Any) -> httpx.Response:
        return self.request("POST", path, json=json)


def body_of(operation: Operation, mark: str = MARK) -> Any:
    if operation.method not in {"POST", "PUT", "PATCH"}:
        return None
    body = BODIES.get(operation.name, {})
    return json.loads(json.dumps(body).replace(MARK, mark))


def bodies_of(operation: Operation, mark: str = MARK) -> tuple[Any, Any]:
    return {}, body_of(operation, mark)


def minimal(form: type | None) -> Any:
    """The fields that a form must have, with the plainest values."""
    if form is None or not issubclass(form, msgspec.Struct):
        return {}
    plain: dict[Any, Any] = {str: MARK, int: 1, float: 1.0, bool: False}
    required = (field for field in msgspec.structs.fields(form) if field.required)
    return {
        field.encode_name: URL if field.name == "url" else plain.get(field.type, {})
        for field in required
    }


class Tenant:
    """An organization with one of everything that a path can name, made when it is asked for."""

    def __init__(self, organization: str, http: httpx.Client, live: Any) -> None:
        self.organization = organization
        self.http = http
        self.settle: Callable[[], None] = live.settle
        self._token = live.token
        self._store: Store = live.node.store
        self._run: Callable[[Coroutine[Any, Any, list[Rejected]]], list[Rejected]] = live.run
        self.operator = self.caller()
        self.mark = MARK if organization == "org_victim" else "of-another"
        self._made: dict[str, str] = {}

    def caller(self, application: str | None = None) -> Caller:
        """One with a signed token."""
        return Caller(self.http, self._token(self.organization, application))

    def path(self, operation: Operation) -> str:
        """The path of an operation on what this tenant has, below /api/v1."""
        filled = operation.path
        for name in PARAMETER.findall(operation.path):
            filled = filled.replace(f"{{{name}}}", self.thing(operation.path, name))
        return filled.removeprefix(API)

    def thing(self, path: str, name: str) -> str:
        """What stands for one parameter of a path."""
        prefix = path.split(f"/{{{name}}}", maxsplit=1)[0]
        if name == "app_id":
            prefix = f"{API}/app"
        elif name in {"endpoint_id", "msg_id"} and (
            "{app_id}" in path or prefix in {f"{API}/endpoint", f"{API}/msg"}
        ):
            prefix = f"{API}/app/{{app_id}}/" + ("msg" if name == "msg_id" else "endpoint")
        if prefix not in self._made:
            self._made[prefix] = self._make(prefix, name)
        return self._made[prefix]

    def _make(self, prefix: str, name: str) -> str:
        if name == "attempt_id":
            return self._attempt()
        if name == "task_id":
            return self.new_task()
        if name == "rejected_id":
            return self._rejected()
        create = CREATES.get(prefix)
        assert create is not None, f"nothing makes what {{{name}}} in {prefix} names: say here how"
        if name == "msg_id":
            self.thing(prefix.replace("msg", "endpoint"), "endpoint_id")  # else nothing is tried
        body = body_of(create, self.mark) or minimal(create.takes)
        made = self.operator.post(self.path(create), json=body)
        assert made.is_success, (f"say in BODIES what {create.name} takes", made.text)
        answer = made.json()
        return str(answer["id"] if "id" in answer else answer["name"])

    def _attempt(self) -> str:
        path = f"{API}/app/{{app_id}}"
        app, _endpoint = self.thing(path, "app_id"), self.thing(path, "endpoint_id")
        message = self.thing(path, "msg_id")
        self.settle()
        listed = self.operator.get(f"/app/{app}/attempt/msg/{message}").json()["data"]
        return str(listed[0]["id"])

    def _rejected(self) -> str:
        """A message of the outbox that was refused."""
        body = json.dumps({"eventType": "a", "payload": {"x": self.mark}}).encode()
        made = reject(self._store, self.organization, body, application=self.mark, now=1)
        return self._run(made)[0].public_id

    def new_task(self) -> str:
        """A background task that has just begun."""
        path = f"{API}/app/{{app_id}}"
        app, endpoint = self.thing(path, "app_id"), self.thing(path, "endpoint_id")
        made = self.operator.post(f"/app/{app}/endpoint/{endpoint}/recover", json={"since": SINCE})
        return str(made.json()["id"])

    def in_role(self, role: str) -> Caller:
        """A caller in this role: with a token, or an API key with one scope."""
        if role == OPERATOR:
            return self.caller()
        if role == APPLICATION:
            return self.caller(self.thing(API, "app_id"))
        made = self.operator.post("/auth/api-token", json={"name": role, "scopes": [role]})
        assert made.status_code == 201, made.text
        return Caller(self.http, made.json()["token"])

    def everything(self) -> str:
        """All that its operator can see, with what time alone changes left out."""
        seen = []
        for operation in GUARDED:
            if operation.method == "GET":
                answer = self.operator.get(self.path(operation))
                assert answer.status_code == 200, (operation.name, answer.text)
                seen.append(answer.text)
        return re.sub(r'"lastUsedAt":("[^"]*"|null)', "", "\n".join(seen))


@pytest.fixture(scope="module")
def http(live: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{live.url}{API}", timeout=30.0) as client:
        yield client


@pytest.fixture(scope="module")
def tenant_of(live: Any, http: httpx.Client) -> Callable[[str], Tenant]:
    """A tenant of that name."""
    return lambda name: Tenant(f"org_{name}", http, live)


@pytest.fixture(scope="module")
def victim(tenant_of: Callable[[str], Tenant]) -> Tenant:
    tenant = tenant_of("victim")
    tenant.everything()
    return tenant


@pytest.fixture(scope="module")
def callers(victim: Tenant) -> dict[str, Caller]:
    """Every role at the victim's."""
    return {role: victim.in_role(role) for role in ROLES}


@pytest.fixture(scope="module")
def strangers(victim: Tenant, tenant_of: Callable[[str], Tenant]) -> dict[str, Caller]:
    """Good tokens of others: of another organization, and of a sibling application."""
    other = tenant_of("other")
    sibling = victim.operator.post("/app", json={"name": "sibling"}).json()["id"]
    return {
        "another organization's operator": other.in_role(OPERATOR),
        "another organization's application": other.in_role(APPLICATION),
        "a sibling application": victim.caller(sibling),
    }


@pytest.fixture(scope="module")
def theirs(victim: Tenant, callers: dict[str, Caller]) -> set[str]:
    """Every id of the victim's."""
    del callers
    return set(PUBLIC_ID.findall(victim.everything()))


@pytest.fixture(scope="module", autouse=True)
def unchanged(
    victim: Tenant, callers: dict[str, Caller], strangers: dict[str, Caller]
) -> Iterator[None]:
    """Whatever the refused have tried, the victim has what it had."""
    del callers, strangers
    victim.settle()
    before = victim.everything()
    yield
    assert victim.everything() == before


def told(answer: httpx.Response) -> str:
    """The text of an answer without what the caller itself has said."""
    request = answer.request
    text = answer.text
    for said in request.url.path.split("/"):
        if len(said) > 3:
            text = text.replace(said, "")
    return text


def ask(client: Caller, victim: Tenant, operation: Operation, body: Any) -> httpx.Response:
    return client.request(operation.method, victim.path(operation), json=body)


named = pytest.mark.parametrize("operation", GUARDED, ids=lambda one: one.name)


@named
def test_without_a_good_token_it_is_401(
    http: httpx.Client, victim: Tenant, operation: Operation
) -> None:
    for token in (None, "mbk_" + "0" * 27 + "_" + "A" * 43):
        answer = ask(Caller(http, token), victim, operation, {})
        assert answer.status_code == 401
        assert answer.json()["code"] == "authentication_failed"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert MARK not in told(answer)


@named
def test_a_role_that_may_not_is_403_whatever_the_body(
    callers: dict[str, Caller], victim: Tenant, operation: Operation
) -> None:
    rule = TABLE[operation.method, operation.path]
    for role in ROLES:
        if role in rule.roles:
            continue
        for body in bodies_of(operation):
            answer = ask(callers[role], victim, operation, body)
            assert answer.status_code == 403, (role, answer.text)
            assert answer.json()["code"] == "insufficient_access"
            assert MARK not in told(answer)


@named
def test_a_stranger_sees_nothing(
    strangers: dict[str, Caller], victim: Tenant, theirs: set[str], operation: Operation
) -> None:
    if operation.access is Access.TOKEN:
        return  # it is about the caller alone, and ends its token
    if operation.method == "PUT" and operation.path.endswith("{event_type_name}"):
        return  # a name is free in every organization, and this makes the caller's own
    # Without a parameter it is about the caller's own, as far as there is something.
    named_thing = PARAMETER.search(operation.path) is not None
    changes_own = not named_thing and operation.method != "GET"
    for who, client in strangers.items():
        shared = who == "a sibling application" and "{app_id}" not in operation.path
        for body in bodies_of(operation, "strangers"):
            if changes_own and client is not strangers["another organization's application"]:
                continue
            answer = ask(client, victim, operation, body)
            if shared and operation.access is Access.APPLICATION:
                assert answer.status_code == 200, (who, answer.text)
                continue  # event types are for all of an organization's applications
            if body == {} and answer.status_code == 422 and "{app_id}" not in operation.path:
                pass  # the body is looked at before the thing, which may be there or not
            elif named_thing:
                assert answer.status_code in {401, 403, 404}, (who, answer.text)
            assert answer.status_code < 500, (who, answer.text)
            assert MARK not in told(answer), (who, answer.text)
            assert not theirs & set(PUBLIC_ID.findall(told(answer))), (who, answer.text)


@named
def test_a_role_that_may_may(tenant_of: Callable[[str], Tenant], operation: Operation) -> None:
    rule = TABLE[operation.method, operation.path]
    name = re.sub(r"[^a-z]", "", operation.name)
    for number, role in enumerate(ROLES):
        # Where no scope matters, one stands for all.
        if role not in rule.roles or (rule.scope is None and role in list(SCOPES)[1:]):
            continue
        tenant = tenant_of(f"{name}{number}")
        path = tenant.path(operation)  # whatever it names is made before
        client = tenant.in_role(role)
        answer = client.request(operation.method, path, json=body_of(operation, tenant.mark))
        assert answer.status_code not in {401, 403}, (role, answer.text)
        assert answer.status_code < 500, (role, answer.text)
        if operation.method == "GET":
            assert answer.status_code == 200, (role, answer.text)


def changing_body(operation: Operation, tenant: Tenant) -> Any:
    """A body with which the operation changes something."""
    if operation.name == "v1.message.bulk-expunge-content":
        return {"ids": [tenant.thing(f"{API}/app/{{app_id}}/msg/{{msg_id}}", "msg_id")]}
    if operation.name == "v1.authentication.expire-organization":
        return {"organization": tenant.organization}
    if operation.name == "v1.event-type.import-openapi":
        webhook: dict[str, Any] = {"post": {"responses": {}}}
        return {"spec": {"openapi": "3.1.0", "info": {}, "webhooks": {"a.b": webhook}}}
    return body_of(operation, tenant.mark) or minimal(operation.takes)


@pytest.mark.parametrize(
    "operation", [one for one in GUARDED if one.method != "GET"], ids=lambda one: one.name
)
def test_each_change_leaves_one_entry_that_names_what_it_was_about(
    tenant_of: Callable[[str], Tenant], operation: Operation
) -> None:
    tenant = tenant_of("audit" + re.sub(r"[^a-z]", "", operation.name))
    path = tenant.path(operation)
    if operation.name == "v1.endpoint.resume":
        assert tenant.operator.post(path.replace("resume", "pause"), json=None).is_success
    tenant.settle()
    body = changing_body(operation, tenant)
    before = audit_log(tenant)
    answer = tenant.operator.request(operation.method, path, json=body)
    while operation.name == "v1.background-task.cancel" and answer.status_code == 409:
        path = path.replace(path.split("/")[2], tenant.new_task())  # that one had ended by then
        answer = tenant.operator.request(operation.method, path, json=body)
    assert answer.is_success or operation.name in UNLOGGED, answer.text
    begun = {"v1.endpoint.recover"} - {operation.name}
    entries = [
        one for one in audit_log(tenant) if one not in before and one["operation"] not in begun
    ]
    if operation.name in UNLOGGED:
        assert entries == []
        return
    (entry,) = entries
    assert entry["operation"] == operation.name
    assert entry["actor"] == f"token {tenant.organization}"
    assert entry["path"] == API + path
    assert entry["requestId"] == answer.headers["x-request-id"]
    about = operation.path
    app = tenant.thing(API, "app_id") if "{app_id}" in about else None
    if app is None and operation.name == "v1.application.create":
        app = answer.json()["id"]
    assert entry["appId"] == app
    if "{endpoint_id}" in about:
        assert entry["endpointId"] == tenant.thing(about, "endpoint_id")
    elif operation.name.endswith("endpoint.create"):
        assert entry["endpointId"] == answer.json()["id"]
    else:
        assert entry["endpointId"] is None


def audit_log(tenant: Tenant) -> list[dict[str, Any]]:
    """All of it, read with a token that was made just now: what is tried may have ended others."""
    answer = tenant.caller().get("/audit-log?limit=250")
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows


def test_the_table_has_one_rule_for_each_operation() -> None:
    assert len(TABLE) == len(OPERATIONS)
    assert {one.name for one in OPERATIONS} >= BODIES.keys()
    assert len({one.name for one in OPERATIONS}) == len(OPERATIONS)


def test_every_scope_is_needed_somewhere_and_an_operation_can_name_its_own() -> None:
    assert {rule.scope for rule in TABLE.values()} - {None} == SCOPES.keys()
    own = msgspec.structs.replace(OPERATIONS[2], scope="task:write")
    assert rule_of(own).scope == "task:write"
    with pytest.raises(ValueError, match="is no scope"):
        rule_of(msgspec.structs.replace(OPERATIONS[2], scope="everything"))


def test_the_victim_itself_sees_all_that_is_searched_for(victim: Tenant) -> None:
    """The marks that the others are searched for are really in what the victim sees."""
    seen = victim.everything()
    assert seen.count(MARK) > 20
    assert len(set(PUBLIC_ID.findall(seen))) >= 6
