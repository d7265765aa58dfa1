"""Which dialects there are, by name: our own, set up as the settings ask, and others'."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, cast

import msgspec

from marketbell.dialects.base import Dialect, Schedule
from marketbell.dialects.catalogue import Catalogue
from marketbell.dialects.cloudevents import DEFAULT_SOURCE, CloudEvents
from marketbell.dialects.ovoko import Ovoko
from marketbell.dialects.sellercenter import SellerCenter
from marketbell.dialects.standard import Standard
from marketbell.errors import ConflictError, InvalidError, SettingsError

ENTRY_POINTS: Final = "marketbell.dialects"
"""The group in which other packages ship a dialect."""


class DialectOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings may change in our own dialects."""

    ovoko_zone: str = "Europe/Vilnius"
    """IANA name of the time zone of Ovoko's `timestamp`."""
    ovoko_id_bridge: bool = True
    """Whether Ovoko's deprecated `id_bridge` is sent."""
    sellercenter_ids_as_strings: bool = False
    """Whether order and item ids go out as JSON strings."""
    cloudevents_source: str = DEFAULT_SOURCE
    """The `source` attribute: a URI reference that names this installation."""


DEFAULTS: Final = DialectOptions()


def built_in(options: DialectOptions = DEFAULTS) -> tuple[Dialect, ...]:
    """Our own dialects, set up; SettingsError with one sentence for each option that is wrong."""
    makers: tuple[Callable[[], Dialect], ...] = (
        Standard,
        lambda: Ovoko(options.ovoko_zone, id_bridge=options.ovoko_id_bridge),
        lambda: SellerCenter(ids_as_strings=options.sellercenter_ids_as_strings),
        lambda: CloudEvents(source=options.cloudevents_source),
        lambda: CloudEvents(binary=True, source=options.cloudevents_source),
    )
    made: list[Dialect] = []
    faults: dict[str, None] = {}
    for make in makers:
        try:
            made.append(make())
        except InvalidError as fault:
            faults[f"{fault.field[0]}: {fault.detail}"] = None
    if faults:
        raise SettingsError(tuple(faults))
    return tuple(made)


class Registry:
    """The dialects of one program, by name, in the order in which they came."""

    def __init__(self, dialects: Iterable[Dialect] = ()) -> None:
        self._dialects: dict[str, Dialect] = {}
        for dialect in dialects:
            self.register(dialect)

    @classmethod
    def load(cls, options: DialectOptions = DEFAULTS) -> Registry:
        """
        Our own dialects and those of every installed package that ships one.

        SettingsError names each option or entry point that is at fault.
        """
        registry = cls(built_in(options))
        faults: list[str] = []
        for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
            try:
                registry.register(_loaded(point))
            except Exception as fault:
                faults.append(f"dialect {point.name!r} from {point.value}: {fault}")
        if faults:
            raise SettingsError(faults)
        return registry

    def register(self, dialect: Dialect) -> None:
        """
        Add a dialect. ConflictError if the name is taken.

        TypeError if it lacks a part of the protocol.
        """
        missing = _missing(dialect)
        if missing:
            raise TypeError(f"not a dialect: {', '.join(missing)} missing or of another type")
        if dialect.name in self._dialects:
            raise ConflictError(f"there is a dialect {dialect.name} already; choose another name")
        self._dialects[dialect.name] = dialect

    def dialect(
        self, name: str, *, field: Sequence[str | int] = ("body", "metadata", "marketbell.dialect")
    ) -> Dialect:
        """The dialect of this name; InvalidError, naming `field` and those that exist, if none."""
        found = self._dialects.get(name)
        if found is None:
            raise InvalidError(
                field, f"there is no dialect {name[:64]!r}; use one of: {', '.join(self.names)}"
            )
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, in order of registration."""
        return tuple(self._dialects)

    def __iter__(self) -> Iterator[Dialect]:
        return iter(self._dialects.values())

    def __contains__(self, name: object) -> bool:
        return name in self._dialects


@functools.cache
def default_registry() -> Registry:
    """The registry with default options, for tools that have no settings; made on first use."""
    return Registry.load()


def dialect(name: str) -> Dialect:
    """The dialect of this name in the default registry; InvalidError lists those that exist."""
    return default_registry().dialect(name)


def dialect_names() -> tuple[str, ...]:
    """Every name in the default registry."""
    return default_registry().names


def register(dialect: Dialect) -> None:
    """Add a dialect to the default registry, as `Registry.register`."""
    default_registry().register(dialect)


def _loaded(point: importlib.metadata.EntryPoint) -> Dialect:
    found = point.load()
    made = found() if isinstance(found, type) or not hasattr(found, "render") else found
    if getattr(made, "name", None) != point.name:
        raise TypeError(f"its name is {getattr(made, 'name', None)!r}, not the entry point's")
    return cast("Dialect", made)


def _missing(dialect: object) -> list[str]:
    kinds: dict[str, type | tuple[type, ...]] = {
        "name": str,
        "catalogue": Catalogue,
        "schedule": Schedule,
        "honours": frozenset,
        "https_only": bool,
    }
    wrong = [
        part for part, kind in kinds.items() if not isinstance(getattr(dialect, part, None), kind)
    ]
    wrong += [part for part in ("render", "accepted") if not callable(getattr(dialect, part, None))]
    return wrong
