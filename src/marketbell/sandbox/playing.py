"""A scenario played: each step done, and what was told of it held against what must be told."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from marketbell.errors import MarketbellError, MoveRefusedError
from marketbell.marketplace.decision import Event
from marketbell.sandbox.act import Facts, do
from marketbell.sandbox.acts import act_of
from marketbell.sandbox.scenarios import Scenario, Step, Told
from marketbell.sandbox.stage import Stage


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """One step as it went."""

    marketplace: str
    act: str
    facts: Facts
    told: tuple[str, ...]
    """Event types in their order, each with its new status where it has one."""
    fault: str | None = None
    """What is not as the scenario says; the scenario ends with it."""


async def play(stage: Stage, scenario: Scenario) -> tuple[Played, ...]:
    """
    Each step as it went; after one with a fault there is none.

    Somebody else who acts on the same things meanwhile, such as the stream, can make a step go
    another way. That is a fault of that step, and raises nothing.
    """
    known: Facts = {}
    played = []
    for step in scenario.steps:
        one = await _step(stage, step, known)
        played.append(one)
        if one.fault is not None:
            break
    return tuple(played)


async def _step(stage: Stage, step: Step, known: Facts) -> Played:
    facts: Facts = {}
    events: tuple[Event, ...] = ()
    fault = None
    try:
        act = msgspec.convert(_given(step.fields, known), act_of(step.marketplace, step.act))
        done = await do(stage, act)
    except MoveRefusedError as refusal:
        facts = {"refused": refusal.detail}
        fault = None if step.refused else f"was refused: {refusal.detail}"
    except MarketbellError as error:
        fault = error.detail
    else:
        facts, events = done.facts, done.events
        fault = _fault(step, events)
        known |= _single(facts)
    return Played(
        marketplace=step.marketplace,
        act=step.act,
        facts=facts,
        told=tuple(str(_told(event)) for event in events),
        fault=fault,
    )


def _given(fields: Mapping[str, object], known: Facts) -> dict[str, object]:
    """The fields with what earlier steps came to in place of `$name`."""
    return {
        name: known[value[1:]] if isinstance(value, str) and value.startswith("$") else value
        for name, value in fields.items()
    }


def _single(facts: Facts) -> Facts:
    """The facts, and under `part_id` the first of `part_ids`."""
    numbers = facts.get("part_ids")
    if isinstance(numbers, list) and numbers:
        return {**facts, "part_id": numbers[0]}
    return facts


def _fault(step: Step, events: tuple[Event, ...]) -> str | None:
    if step.refused:
        return "was not refused"
    told = tuple(_told(event) for event in events)
    if told == step.told:
        return None
    return f"told {_listed(told)}, not {_listed(step.told)}"


def _told(event: Event) -> Told:
    data = event.payload
    payload = msgspec.json.decode(data) if isinstance(data, bytes) else msgspec.to_builtins(data)
    word = payload.get("status", payload.get("NewStatus"))
    return Told(event.event_type, word)


def _listed(told: tuple[Told, ...]) -> str:
    return ", ".join(str(one) for one in told) or "nothing"
