"""`marketbell catalogue` answers people and machines, with exit codes for scripts."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest

from marketbell import cli

CODE = "from marketbell.cli import main; main()"


class Stdin(io.TextIOWrapper):
    """Standard input that holds these bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))


def run(*tokens: str) -> int:
    return cli.run(["catalogue", *tokens])


def test_list_shows_all_14_events_and_the_free_dialects(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("ovoko ") for line in lines) == 5
    assert sum(line.startswith("sellercenter ") for line in lines) == 9
    assert lines[-1].endswith(": standard, cloudevents, cloudevents-binary")


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    counts = {entry["dialect"]: len(entry["event_types"]) for entry in listed}
    assert counts == {
        "standard": 0,
        "ovoko": 5,
        "sellercenter": 9,
        "cloudevents": 0,
        "cloudevents-binary": 0,
    }


def test_list_of_a_dialect_without_a_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--dialect", "standard") == 0
    assert capsys.readouterr().out == "Any event type, without a catalogue: standard\n"


def test_show_tells_the_fields_their_words_and_the_wire(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "part.status.changed") == 0
    shown = capsys.readouterr().out
    assert "one of 8 words" in shown
    assert not re.search("[\u2500-\u257f]", shown), "no boxes in a pipe"
    assert "optional, deprecated" in shown
    assert "`written_off`: cancelled or scrapped; final" in shown
    assert '"event_data":{"part_id":"13","status":"sold","id_bridge":"12345"' in shown
    assert run("show", "onStatisticsUpdated") == 0
    assert "empty object: {}" in capsys.readouterr().out


def test_show_as_json_holds_schemas_and_examples_that_agree(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("show", "onOrderCreated", "--dialect", "sellercenter", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    (example,) = shown["examples"]
    jsonschema.validate(example["payload"], shown["schema"])
    jsonschema.validate(example["body"], shown["body_schema"])
    assert example["body"] == {"event": "onOrderCreated", "payload": {"OrderId": 190}}


@pytest.mark.parametrize(
    ("tokens", "code", "says"),
    [
        (("show", "order.creatd"), 1, "did you mean order.created?"),
        (("show", "zzz"), 1, "`marketbell catalogue list` shows them all"),
        (("show", "order.created", "--dialect", "sellercenter"), 1, "no catalogue has"),
        (("list", "--dialect", "ebay"), 2, "use one of: standard, ovoko"),
        (("export", "ebay"), 2, "use one of: standard, ovoko"),
        (("check", "order.created", "/nowhere/payload.json"), 2, "No such file or directory"),
        (("check", "order.created", "/"), 2, "Is a directory"),
        (("check", "order.created", "--jsn"), 2, "unknown option --jsn"),
        (("export", "ovoko", "--output", "/nowhere/x.json"), 2, "No such file or directory"),
    ],
)
def test_an_unknown_name_or_file_is_a_sentence_and_an_exit_code(
    tokens: tuple[str, ...], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*tokens) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("marketbell: ")
    assert says in told.err
    assert run(*tokens, "--json") == code
    told = capsys.readouterr()
    assert told.out == ""
    assert says in json.loads(told.err)["detail"]


def test_an_unknown_option_is_exit_code_2() -> None:
    assert run("export", "ovoko", "--format", "raml") == 2
    assert run("show") == 2


def test_check_reads_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"order_id":"4555"}')
    assert run("check", "order.created", str(file)) == 0
    assert capsys.readouterr().out == "the payload fits order.created\n"
    file.write_text('{"order_id":4555,"id":1}')
    assert run("check", "order.created", str(file)) == 1
    assert capsys.readouterr().out.splitlines() == [
        'payload.order_id is 4555; send it as a JSON string: "4555"',
        "payload.id is not a field of this event; remove it; the fields are order_id",
    ]


def test_check_reads_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(b'{"OrderId":"190"}'))
    assert run("check", "onOrderCreated", "--json") == 1
    assert json.loads(capsys.readouterr().out) == {
        "event_type": "onOrderCreated",
        "valid": False,
        "faults": [
            {
                "loc": ["body", "payload", "OrderId"],
                "msg": 'payload.OrderId is "190"; send it as a JSON number, without quotes: 190',
                "type": "type_error",
            }
        ],
    }
    monkeypatch.setattr("sys.stdin", Stdin(b'{"OrderId":190}'))
    assert run("check", "onOrderCreated", "-", "--json") == 0
    assert json.loads(capsys.readouterr().out)["valid"] is True


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b'{"order_id":"1","order_id":"2"}', ["The key 'order_id' is twice in one object"]),
        (b'{"order_id":"1\\u0000"}', ["The payload has the character U+0000"]),
        (
            b'{"order_id":1,"order_id":2}',
            ["The key 'order_id' is twice in one object", "payload.order_id is 2; send it as"],
        ),
        (b"[]", ["The payload must be a JSON object"]),
        (b"{", ["The payload is not JSON"]),
        (b"{}", ["payload.order_id is missing"]),
        (b' \n{"order_id":"1"}\r\n', []),
    ],
)
def test_check_says_what_a_server_would(
    payload: bytes,
    says: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(payload))
    assert run("check", "order.created") == bool(says)
    told = capsys.readouterr().out.splitlines()
    if not says:
        assert told == ["the payload fits order.created"]
        return
    assert len(told) == len(says)
    for line, beginning in zip(told, says, strict=True):
        assert line.startswith(beginning)


def test_the_catalogues_are_those_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MARKETBELL_SELLERCENTER_IDS_AS_STRINGS", "true")
    config = tmp_path / "marketbell.toml"
    config.write_text('ovoko_zone = "UTC"\novoko_id_bridge = false\n')
    assert run("show", "onOrderCreated", "--json") == 0
    (example,) = json.loads(capsys.readouterr().out)["examples"]
    assert example["body"]["payload"] == {"OrderId": "190"}
    assert run("show", "part.status.changed", "--config", str(config), "--json") == 0
    example, _ = json.loads(capsys.readouterr().out)["examples"]
    assert "id_bridge" not in example["body"]["event_data"]
    assert example["body"]["timestamp"].endswith("+00:00")
    assert run("export", "ovoko", "--config", str(config)) == 0
    schema = json.loads(capsys.readouterr().out)["$defs"]["PartStatusChangedBody"]
    assert "id_bridge" not in schema["properties"]["event_data"]["properties"]
    config.write_text('ovoko_zone = "Vilnius"\n')
    assert run("list", "--config", str(config)) == 2
    assert "ovoko_zone" in capsys.readouterr().err
    monkeypatch.setenv("MARKETBELL_CONFIG", str(config))
    assert run("check", "order.created", "--config", "/nowhere/marketbell.toml") == 2


def test_check_reads_a_megabyte_and_no_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(b" " * 1_000_001))
    assert run("check", "order.created") == 1
    assert capsys.readouterr().out == "the payload is over 1000000 bytes; make it smaller\n"


@pytest.mark.parametrize(
    ("kind", "key", "version"),
    [
        ("json-schema", "$schema", "https://json-schema.org/draft/2020-12/schema"),
        ("openapi", "openapi", "3.1.1"),
        ("asyncapi", "asyncapi", "3.0.0"),
    ],
)
def test_export_writes_each_format_to_a_file_or_to_standard_output(
    kind: str, key: str, version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", "ovoko", "--format", kind) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)[key] == version
    file = tmp_path / "out.json"
    assert run("export", "ovoko", "--format", kind, "--output", str(file)) == 0
    assert capsys.readouterr().out == f"wrote {kind} of ovoko to {file}\n"
    assert file.read_text() == printed
    assert run("export", "ovoko", "--format", kind, "--output", str(file), "--json") == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(file)


def test_a_name_in_two_catalogues_asks_for_the_dialect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from marketbell.dialects import registry as module
    from marketbell.dialects.ovoko import Ovoko

    class Second(Ovoko):
        name = "second"

    own = module.Registry((Ovoko(), Second()))
    monkeypatch.setattr(module.Registry, "load", lambda _options: own)
    assert run("show", "order.created") == 2
    assert "is in ovoko, second; choose with --dialect" in capsys.readouterr().err
    assert run("show", "order.created", "--dialect", "second") == 0


def test_colours_go_to_a_terminal_only() -> None:
    command = [sys.executable, "-c", CODE, "catalogue", "show", "order.created"]
    plain = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment = plain | {"TERM": "xterm-256color", "COLUMNS": "200"}
    piped = subprocess.run(
        command, env=environment, capture_output=True, timeout=60, check=True
    ).stdout
    assert b"\x1b[" not in piped
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environment, stdout=theirs) as process:
        os.close(theirs)
        shown = bytearray()
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:  # Linux tells the end of a terminal with EIO
            pass
        assert process.wait(timeout=60) == 0
    os.close(ours)
    assert b"\x1b[1m" in shown


def test_the_command_line_starts_without_the_heavy_modules() -> None:
    code = (
        "import sys, marketbell.cli.catalogue;"
        "print([m for m in ('jsonschema_rs', 'rich.table', 'cryptography',"
        " 'marketbell.dialects.registry') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout == "[]\n"
