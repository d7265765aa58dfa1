"""What a run found out: figures with their targets and ratios, as tables or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

_ROWS: Final = 25


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured value."""

    scenario: str
    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = True
    """Whether the target is the least that is asked, else the most."""
    ratios: dict[str, float] = {}
    """By the name of a limit measured in the same run, the share of it that was reached."""

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; None if there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server's time went in one scenario, in microseconds per message."""

    scenario: str
    per_message_us: float
    rooms: dict[str, float]
    """By part of the program or library, the time of its functions themselves."""
    own: list[tuple[str, float]]
    held: list[tuple[str, float]]


class Report:
    """All that one run found out."""

    def __init__(self, machine: dict[str, str]) -> None:
        self.machine = machine
        self.figures: list[Figure] = []
        self.profiles: list[Profile] = []
        self.faults: list[str] = []
        """What must not be: messages lost, doubled or not recorded, answers other than 202."""

    def add_profile(self, scenario: str, path: Path, messages: int) -> None:
        """Take over what the sampler wrote, for a scenario of so many messages."""
        seen = json.loads(path.read_text())
        total = sum(one[2] for one in seen["own"])
        rooms: dict[str, float] = {}
        for file, name, us in seen["own"]:
            room = _room(file, name)
            rooms[room] = rooms.get(room, 0.0) + us / messages
        self.profiles.append(
            Profile(
                scenario=scenario,
                per_message_us=total / messages,
                rooms=dict(sorted(rooms.items(), key=lambda room: -room[1])),
                own=[(_place(file, name), us / messages) for file, name, us in seen["own"]],
                held=[(_place(file, name), us / messages) for file, name, us in seen["held"]],
            )
        )

    def json(self) -> str:
        """The whole report as JSON."""
        document = {
            "machine": self.machine,
            "figures": [{**msgspec.to_builtins(one), "met": one.met} for one in self.figures],
            "profiles": msgspec.to_builtins(self.profiles),
            "faults": self.faults,
        }
        return json.dumps(document, indent=2)

    def show(self, console: Console) -> None:
        """Print tables for people."""
        console.print(", ".join(f"{name} {value}" for name, value in self.machine.items()))
        table = Table(title="Marketbell, one core for the server, the load on another")
        for heading in ("scenario", "what"):
            table.add_column(heading)
        for heading in ("value", "target", "ratio to the limit of the same run"):
            table.add_column(heading, justify="right")
        last = ""
        for one in self.figures:
            table.add_row(
                one.scenario if one.scenario != last else "",
                one.name,
                f"{_number(one.value)} {one.unit}",
                _target(one),
                ", ".join(f"{ratio:.2f} of {name}" for name, ratio in one.ratios.items()),
            )
            last = one.scenario
        console.print(table)
        for profile in self.profiles:
            _show_profile(console, profile)
        for fault in self.faults:
            console.print(f"[red]{fault}[/red]")


def _show_profile(console: Console, profile: Profile) -> None:
    console.print(
        f"\n{profile.scenario}: {profile.per_message_us:.1f} us of CPU per message, of it"
    )
    console.print("  " + ", ".join(f"{room} {us:.1f}" for room, us in profile.rooms.items()))
    console.print("  functions themselves:")
    for place, us in profile.own[:_ROWS]:
        console.print(f"  {us:8.2f} us  {place}", highlight=False)
    console.print("  functions with what they call:")
    ours = [one for one in profile.held if one[1] < 0.95 * profile.held[0][1]]
    for place, us in ours[:_ROWS]:
        console.print(f"  {us:8.2f} us  {place}", highlight=False)


def _room(file: str, name: str) -> str:
    """`marketbell/delivery` for what is ours, else the library's name."""
    if not file:
        return name
    parts = Path(file).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    if "marketbell" in parts:
        return "/".join(parts[parts.index("marketbell") : -1])
    return "standard library"


def _place(file: str, name: str) -> str:
    parts = Path(file).parts
    short = parts[parts.index("marketbell") + 1 :] if "marketbell" in parts else parts[-2:]
    return f"{'/'.join(short)}:{name}" if file else name


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    mark = "[green]yes[/green]" if figure.met else "[red]no[/red]"
    return f"{'at least' if figure.at_least else 'at most'} {_number(figure.target)}: {mark}"
