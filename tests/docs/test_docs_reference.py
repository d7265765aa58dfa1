"""The reference pages: every setting, command, option, error and reason, on both sides."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import pytest
from cyclopts import App

from marketbell import errors
from marketbell.api import problems
from marketbell.cli import build_app
from marketbell.cli.exits import Exit, exit_of
from marketbell.control import event_types
from marketbell.delivery import reasons
from marketbell.settings import NOT_SETTINGS, SETTINGS, flag_of, variable_of
from marketbell.settings.table import page
from marketbell.store.claiming import LOST_REASON

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OF_THE_TESTS = {"MARKETBELL_TEST_POSTGRES"}
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")])


def rows(text: str) -> list[list[str]]:
    """The cells of every table row whose first cell is code."""
    lines = (line for line in text.splitlines() if line.startswith("| `"))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def section(page_name: str, heading: str) -> str:
    text = (DOCS / page_name).read_text()
    return text.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]


# -- settings


def test_the_page_of_settings_is_the_one_that_the_table_makes() -> None:
    assert (DOCS / "settings.md").read_text() == page(), "run: make docs"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_settings_that_are_named_in_prose_exist(path: Path) -> None:
    text = path.read_text()
    known = {variable_of(name) for name in SETTINGS} | NOT_SETTINGS | {"MARKETBELL_"}
    known |= OF_THE_TESTS if path.name == "CONTRIBUTING.md" else set()
    assert set(re.findall(r"MARKETBELL_[A-Z_]*", text)) <= known
    options = {flag_of(name) for name in SETTINGS} | {"--no-ovoko-id-bridge", "--config", "--json"}
    for line in re.findall(r"marketbell serve (--[^\n`]*)", text):
        assert set(re.findall(r"--[a-z-]+", line)) <= options | {"--help"}


# -- commands


def commands(app: App, path: str = "marketbell") -> Iterator[tuple[str, App]]:
    """Every command that does something, by its full name."""
    for name in app:
        if name in {"--help", "-h", "--version"}:
            continue
        command = app[name]
        if command.default_command is None:
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def options_of(command: App) -> set[str]:
    """The long names of a command's options."""
    return {
        next(name for name in argument.names if name.startswith("--"))
        for argument in command.assemble_argument_collection()
    }


def negatives_of(command: App) -> set[str]:
    """The names of what switches an option off."""
    return {
        name
        for argument in command.assemble_argument_collection()
        for name in argument.names[1:]
        if name.startswith("--no-")
    }


COMMANDS = dict(commands(build_app()))
OF_A_SERVER = {
    "application", "endpoint", "event-type", "message", "attempt", "task", "audit", "find",
}  # fmt: skip
"""Groups whose commands have some options in common, which are told once."""


def test_every_command_is_documented_and_no_other() -> None:
    text = (DOCS / "commands.md").read_text()
    assert set(re.findall(r"^## (marketbell .*)$", text, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented_and_no_other(name: str) -> None:
    flags = {f"--no-{flag_of(setting)[2:]}" for setting in SETTINGS}
    text = section("commands.md", f"## {name}")
    documented = {row[0].strip("`") for row in rows(text)}
    options = options_of(COMMANDS[name])
    if name in {"marketbell serve", "marketbell sandbox start"}:
        options -= {flag_of(setting) for setting in SETTINGS}
    if name.split()[1] in OF_A_SERVER:
        shared = rows(section("commands.md", "## The management API from a shell"))
        documented |= {row[0].strip("`") for row in shared}
    assert documented == options
    assert negatives_of(COMMANDS[name]) - flags <= set(re.findall(r"`(--no-[a-z-]+)`", text))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_json(name: str) -> None:
    if name != "marketbell --install-completion":
        assert "--json" in options_of(COMMANDS[name])


def test_serve_takes_every_setting() -> None:
    arguments = COMMANDS["marketbell serve"].assemble_argument_collection()
    names = {name for argument in arguments for name in argument.names}
    assert {flag_of(name) for name in SETTINGS} <= names


def test_the_exit_codes_are_documented_word_for_word() -> None:
    text = section("commands.md", "## Exit codes")
    documented = re.findall(r"^\| (\d+) \| `(\w+)` \| (.*) \|$", text, re.MULTILINE)
    assert documented == [(str(code.value), code.name, code.meaning) for code in Exit]


# -- errors


def classes(base: type[errors.MarketbellError]) -> Iterator[type[errors.MarketbellError]]:
    yield base
    for kind in base.__subclasses__():
        yield from classes(kind)


TREE = [kind for kind in classes(errors.MarketbellError) if kind.__module__ == errors.__name__]
ONLY_HERE = {
    problems.SERVER_ERROR: 500,
    problems.METHOD_NOT_ALLOWED: 405,
}
"""Codes of answers that stand for no exception of ours."""
ON_INSTANCES = {event_types.EXISTS: 409}
"""Codes that one error has and its class has not."""


def made(kind: type[errors.MarketbellError]) -> errors.MarketbellError:
    if issubclass(kind, errors.InvalidError):
        return kind(("body",), "detail")
    if kind is errors.SettingsError:
        return errors.SettingsError(["detail"])
    return kind("detail")


def set_codes() -> Iterator[str]:
    """The codes that the program sets on errors of its own making: `error.code = EXISTS`."""
    source = ROOT / "src"
    for path in sorted((source / "marketbell").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Attribute) and target.attr == "code"
                for target in node.targets
            ):
                name = ".".join(path.relative_to(source).with_suffix("").parts)
                yield getattr(import_module(name), ast.unparse(node.value))


def test_every_code_of_a_single_error_is_named_here() -> None:
    assert set(set_codes()) == set(ON_INSTANCES)


def test_every_error_is_documented_with_its_status_or_exit_code() -> None:
    documented = {
        row[0].strip("`"): int(row[1])
        for row in rows(section("errors.md", "## What the API and the command line answer"))
    }
    expected = ONLY_HERE | ON_INSTANCES
    for kind in TREE:
        status = problems.status_of(made(kind))
        expected[kind.code] = status if status != 500 else int(exit_of(made(kind)))
    expected["settings"] = int(Exit.USAGE)
    expected["locked"] = expected["schema"] = expected["store"] = int(Exit.UNAVAILABLE)
    assert documented == expected


def test_every_class_of_the_tree_stands_in_its_picture() -> None:
    picture = errors.__doc__ or ""
    assert set(re.findall(r"\b(\w+(?:Error|Fault))\b", picture)) == {kind.__name__ for kind in TREE}


NEVER_RECORDED = {reasons.CANCELLED}
"""What becomes a lost claim."""


def test_every_reason_of_an_attempt_is_documented() -> None:
    documented = [
        row[0].strip("`") for row in rows(section("errors.md", "## Why an attempt failed"))
    ]
    constants = {
        value
        for name, value in vars(reasons).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
    }
    constants -= NEVER_RECORDED
    assert constants <= set(documented)
    made_up = {
        reasons.refused_address("private 10.0.0.1"),
        reasons.malformed("bad start"),
        reasons.headers_over(32_000),
        reasons.invalid_header("x"),
        "tls: unknown protocol",
        "dialect: KeyError('part_id')",
        "answered 404",
        LOST_REASON,
    }
    patterns = [re.escape(text).replace(r"\.\.\.", ".*") for text in documented]
    for reason in made_up:
        assert any(re.fullmatch(pattern, reason) for pattern in patterns), reason
    for text in set(documented) - constants:
        assert any(
            re.fullmatch(re.escape(text).replace(r"\.\.\.", ".*"), one) for one in made_up
        ), text


# -- layers


def test_the_layers_are_those_that_imports_are_held_to() -> None:
    told = ConfigParser()
    told.read(ROOT / ".importlinter")
    layers = set(re.findall(r"\w+", told["importlinter:contract:layers"]["layers"]))
    table = rows((DOCS / "design.md").read_text())
    documented = {name for row in table for name in re.findall(r"`(\w+)`", row[0])}
    assert documented == layers - {"__main__"}


# -- links


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text()):
        assert (path.parent / link).exists(), f"{path.name} links to {link}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_that_are_named_in_prose_exist(path: Path) -> None:
    known = set(COMMANDS) | {"marketbell token", "marketbell catalogue"}
    for name in re.findall(r"`(marketbell(?: [a-z][a-z-]*)*)", path.read_text()):
        words = name.split()
        assert any(" ".join(words[:length]) in known for length in (2, 3)) or name == "marketbell"


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in PAGES:
        assert set(re.findall(r"\bmake ([a-z-]+)`", path.read_text())) <= targets, path.name
