"""The tutorial on a marketplace of one's own: its files as they stand, its test run, its entry point."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from marketbell.dialects.registry import ENTRY_POINTS, Registry

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/marketplaces/your-own.md").read_text()
FILES = dict(re.findall(r"<!-- file: ([\w.]+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The tutorial's files in a folder of their own."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def loaded(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("attic", folder / "attic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_own_test_passes(folder: Path) -> None:
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "pytest_asyncio.plugin", "test_attic.py"],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(folder),
            "HOME": str(folder),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_its_entry_point_names_the_dialect(folder: Path) -> None:
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    ((name, value),) = project["project"]["entry-points"][ENTRY_POINTS].items()
    module, _, attribute = value.partition(":")
    assert (folder / f"{module}.py").exists()
    made = getattr(loaded(folder), attribute)()
    assert made.name == name
    registry = Registry()
    registry.register(made)
    assert registry.names == (name,)


@pytest.mark.slow
def test_its_types_hold(folder: Path) -> None:
    """mypy --strict has nothing to say of the dialect."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--cache-dir",
            str(ROOT / ".mypy_cache/attic"),
            "attic.py",
        ],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "MYPYPATH": str(ROOT / "src"), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout
