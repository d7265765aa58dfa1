"""Dialects are found by name, set up by options, and come from other packages too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from marketbell.dialects import registry as module
from marketbell.dialects.base import AttemptStart, Dialect, Request, Schedule, Signal
from marketbell.dialects.catalogue import Catalogue
from marketbell.dialects.export import sample
from marketbell.dialects.registry import DialectOptions, Registry, built_in
from marketbell.errors import ConflictError, InvalidError, SettingsError
from marketbell.model import Endpoint, Message
from support.values import an_endpoint

OURS = ("standard", "ovoko", "sellercenter", "cloudevents", "cloudevents-binary")


class Plain:
    """A dialect as somebody else would write it in a test."""

    name = "plain"
    catalogue = Catalogue(())
    schedule = Schedule(waits=())
    honours: frozenset[Signal] = frozenset()
    https_only = False

    def render(self, message: Message, endpoint: Endpoint, start: AttemptStart) -> Request:
        """The payload and nothing else."""
        return Request((), message.payload)

    def accepted(self, status: int) -> bool:
        """Anything."""
        return True


def first_body(dialect: Dialect, name: str) -> dict[str, object]:
    event_type = dialect.catalogue[name]
    body = json.loads(sample(dialect, event_type, event_type.examples[0]).body)
    assert isinstance(body, dict)
    return body


def test_our_own_dialects_are_there_by_name() -> None:
    registry = Registry(built_in())
    assert registry.names == OURS
    assert [dialect.name for dialect in registry] == list(OURS)
    for name in OURS:
        assert name in registry
        assert registry.dialect(name).name == name


def test_an_unknown_name_lists_those_that_exist() -> None:
    registry = Registry(built_in())
    with pytest.raises(InvalidError, match="no dialect 'ebay'; use one of: standard, ovoko") as e:
        registry.dialect("ebay")
    assert e.value.field == ("body", "metadata", "marketbell.dialect")
    with pytest.raises(InvalidError) as e:
        registry.dialect("x" * 9999, field=("dialect",))
    assert e.value.field == ("dialect",)
    assert len(e.value.detail) < 250


def test_options_reach_the_dialects() -> None:
    registry = Registry(
        built_in(
            DialectOptions(
                ovoko_zone="Asia/Tokyo",
                ovoko_id_bridge=False,
                sellercenter_ids_as_strings=True,
                cloudevents_source="urn:example:shop",
            )
        )
    )
    part = first_body(registry.dialect("ovoko"), "part.status.changed")
    assert part["timestamp"] == "2023-01-12T21:17:20+09:00"
    assert part["event_data"] == {"part_id": "13", "status": "sold", "external_id": None}
    order = first_body(registry.dialect("sellercenter"), "onOrderCreated")
    assert order["payload"] == {"OrderId": "190"}
    message = Message(
        id=1,
        public_id="msg_1",
        application_id=1,
        event_type="a",
        event_id=None,
        payload=b"{}",
        occurred_at=0,
        created_at=0,
        payload_expires_at=0,
    )
    for name in ("cloudevents", "cloudevents-binary"):
        request = registry.dialect(name).render(message, ENDPOINT, AttemptStart(0, 1))
        assert "urn:example:shop" in str(request)


def test_wrong_options_are_told_all_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        built_in(DialectOptions(ovoko_zone="Vilnius", cloudevents_source="a b"))
    zone, source = caught.value.faults
    assert zone.startswith("ovoko_zone: 'Vilnius' is not a time zone")
    assert source.startswith("cloudevents_source: 'a b' is not a URI reference")


def test_a_dialect_may_be_registered_once() -> None:
    registry = Registry(built_in())
    registry.register(Plain())
    assert registry.names == (*OURS, "plain")
    with pytest.raises(ConflictError, match="a dialect plain already"):
        registry.register(Plain())


def test_what_is_not_a_dialect_is_refused_with_what_it_lacks() -> None:
    class Half:
        name = "half"
        catalogue = Catalogue(())
        schedule = (5, 5)

    with pytest.raises(TypeError, match="schedule, honours, https_only, render, accepted missing"):
        Registry().register(Half())  # type: ignore[arg-type]


def test_the_default_registry_serves_tools_without_settings() -> None:
    assert module.dialect_names()[: len(OURS)] == OURS
    assert module.dialect("ovoko") is module.default_registry().dialect("ovoko")


def test_registering_by_function_adds_to_the_default_registry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = Registry(built_in())
    monkeypatch.setattr(module, "default_registry", lambda: own)
    module.register(Plain())
    assert module.dialect("plain").name == "plain"
    assert module.dialect_names() == (*OURS, "plain")


ENDPOINT = an_endpoint()

KAUPPA = '''
"""A marketplace's dialect as another package ships it: this one file."""

import msgspec

from marketbell.dialects.base import Request, Schedule
from marketbell.dialects.catalogue import Catalogue, EventType


class TilausLuotu(msgspec.Struct, forbid_unknown_fields=True):
    """The order."""

    tilaus: int


class Kauppa:
    name = "kauppa"
    catalogue = Catalogue(
        (
            EventType(
                name="tilaus.luotu",
                title="Tilaus luotu",
                subject="order",
                description="An order was placed.",
                fires="Once for each order.",
                payload=TilausLuotu,
                examples=(TilausLuotu(tilaus=7),),
            ),
        )
    )
    schedule = Schedule(waits=(1_000,))
    honours = frozenset()
    https_only = False

    def render(self, message, endpoint, start):
        return Request((("content-type", "application/json"),), message.payload)

    def accepted(self, status):
        return status == 204


def broken():
    raise RuntimeError("no licence")


shared = Kauppa()
'''


def installed(folder: Path, points: str) -> Path:
    """A folder that holds one foreign package, as an installer would have left it."""
    (folder / "kauppa.py").write_text(KAUPPA)
    info = folder / "kauppa-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kauppa\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[marketbell.dialects]\n" + textwrap.dedent(points).strip() + "\n"
    )
    return folder


def ran(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


CLI = "import sys; from marketbell.cli import run; sys.exit(run(['catalogue', *{!r}]))"


@pytest.mark.parametrize("target", ["Kauppa", "shared"])
def test_a_package_from_outside_ships_a_dialect_in_one_file(tmp_path: Path, target: str) -> None:
    folder = installed(tmp_path, f"kauppa = kauppa:{target}")
    listed = ran(folder, CLI.format(["list", "--dialect", "kauppa", "--json"]))
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout)[0]["event_types"][0]["name"] == "tilaus.luotu"
    exported = ran(folder, CLI.format(["export", "kauppa", "--format", "openapi"]))
    operation = json.loads(exported.stdout)["webhooks"]["tilaus.luotu"]["post"]
    assert list(operation["responses"]) == ["204"]


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ("kauppa = kauppa:broken", "dialect 'kauppa' from kauppa:broken: no licence"),
        ("kauppa = kauppa:missing", "dialect 'kauppa' from kauppa:missing"),
        ("other = kauppa:Kauppa", "its name is 'kauppa', not the entry point's"),
    ],
)
def test_a_broken_package_is_named_at_the_start(tmp_path: Path, points: str, says: str) -> None:
    folder = installed(tmp_path, points)
    listed = ran(folder, CLI.format(["list"]))
    assert listed.returncode == 2
    assert says in listed.stderr
    assert "Traceback" not in listed.stderr
