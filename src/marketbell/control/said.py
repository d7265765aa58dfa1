"""What a caller said and what it left out."""

from __future__ import annotations

from typing import TypeVar

from msgspec import UnsetType

T = TypeVar("T")


def said_or(value: T | UnsetType, otherwise: T) -> T:
    """The value, or `otherwise` if it was left out; None is a value."""
    return otherwise if isinstance(value, UnsetType) else value
