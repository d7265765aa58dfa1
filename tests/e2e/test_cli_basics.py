"""The command line as a shell sees it: help, mistakes, exit codes, what is imported."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from marketbell.cli import build_app, doctor, run
from marketbell.cli.credentials import DEFAULT_ORGANIZATION
from marketbell.cli.exits import Exit

MARKETBELL = Path(sys.executable).parent / "marketbell"


def marketbell(
    *arguments: str, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MARKETBELL, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_group(tmp_path: Path) -> None:
    for arguments in ((), ("--help",), ("-h",)):
        done = marketbell(*arguments, folder=tmp_path)
        assert done.returncode == 0
        for name in ("serve", "demo", "token", "catalogue", "version", "--install-completion"):
            assert name in done.stdout


def options(app: App) -> Iterator[str]:
    """The names of every option of every command."""
    for name in app:
        if name in {"--help", "-h", "--version"}:
            continue
        command = app[name]
        if command.default_command is None:
            yield from options(command)
        else:
            for argument in command.assemble_argument_collection():
                yield from argument.names


def test_no_list_has_an_option_that_empties_it() -> None:
    """`--empty-scope` beside `--scope` would make a key that may do everything."""
    assert [name for name in options(build_app()) if name.startswith("--empty")] == []


@pytest.mark.parametrize(
    "line", ["token create", "message expunge", "sandbox qc", "endpoint pause"]
)
def test_help_shows_defaults_that_say_something(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*line.split(), "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert set(re.findall(r"\[default: [^\]]*\]", shown)) <= {
        f"[default: {DEFAULT_ORGANIZATION}]",
        "[default: approved]",
    }
    assert [int(code) for code in re.findall(r"(\d+) \w", shown.split("Exit codes: ")[1])] == [
        code.value for code in Exit
    ]


def test_what_a_terminal_shows_of_the_doctor_has_heads_like_every_table() -> None:
    assert [column.head for column in doctor._COLUMNS] == ["Verdict", "Check", "Found", "Mend"]


def test_help_imports_nothing_heavy() -> None:
    """`marketbell --help` answers before a person notices: no server, no crypto, no database."""
    code = (
        "import sys\n"
        "from marketbell.cli import run\n"
        "assert run(['--help']) == 0\n"
        "heavy = {'uvicorn', 'starlette', 'httpx', 'apsw', 'cryptography', 'jwt', 'structlog',"
        " 'jsonschema_rs', 'prometheus_client', 'asyncio', 'ssl', 'uvloop'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == "[]\n"


def test_help_takes_little(tmp_path: Path) -> None:
    """Some 0.2 s of CPU, whatever else the machine does; the best of five."""

    def spent() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        marketbell("--help", folder=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    best = min(spent() for _ in range(5))
    print(f"marketbell --help: {best:.3f} s of CPU")
    assert best < 0.6


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "marketbell", "version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == marketbell("version", folder=tmp_path).stdout
    assert done.stdout == marketbell("--version", folder=tmp_path).stdout


def test_version_as_json_names_what_it_runs_on(tmp_path: Path) -> None:
    facts = json.loads(marketbell("version", "--json", folder=tmp_path).stdout)
    assert set(facts) == {"marketbell", "python", "sqlite"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("servo",), 'Unknown command "servo".'),
        (("message", "list", "kaunas"), "There is no place for 'kaunas' here"),
        (("serve", "--prot", "1"), "Did you mean --port?"),
        (("serve", "--port", "many"), "port (--port): 'many' is not a whole number"),
        (("serve", "--speed", "2"), "only the demo runs on a scaled clock"),
        (("serve", "--workers", "2"), "needs PostgreSQL"),
        (("serve", "--config", "none.toml"), "none.toml: cannot be read"),
        (("token", "create", "--org", "shop"), "An organization is named `org_`"),
        (("token", "create", "--app", "shop"), "An application's token names it by its id"),
        (("token", "create", "--ttl", "1"), "ttl: '1' is not a duration"),
        (("demo", "--speed", "1"), "speed: 1 is not between 25 and 60"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    done = marketbell(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("marketbell: ")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_all_faults_of_the_settings_come_at_once(tmp_path: Path) -> None:
    done = marketbell(
        "serve", "--port", "x", folder=tmp_path, MARKETBELL_LEASE="1", MARKETBELL_BODYMAX="1"
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 3
    as_json = marketbell("serve", "--port", "x", "--json", folder=tmp_path, MARKETBELL_LEASE="1")
    report = json.loads(as_json.stderr)
    assert report["code"] == "settings"
    assert len(report["detail"]) == 2


def test_a_mistake_with_json_is_an_object(tmp_path: Path) -> None:
    done = marketbell("token", "create", "--org", "shop", "--json", folder=tmp_path)
    assert done.returncode == 2
    assert json.loads(done.stderr)["code"] == "validation"
    unknown = marketbell("serve", "--prot", "1", "--json", folder=tmp_path)
    assert json.loads(unknown.stderr)["code"] == "usage"


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    """As `marketbell catalogue export ovoko | head -n 1`."""
    command = f"{MARKETBELL} catalogue export ovoko | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_completion_is_installed_for_the_shell(tmp_path: Path) -> None:
    done = marketbell("--install-completion", "--shell", "bash", folder=tmp_path)
    assert done.returncode == 0
    (script,) = (tmp_path / ".local").rglob("marketbell")
    text = script.read_text()
    for name in ("catalogue", "--allow-networks", "--drain-timeout"):
        assert name in text
    subprocess.run(["bash", "-n", script], check=True, timeout=60)
