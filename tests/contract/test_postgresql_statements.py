"""Every statement is one that this PostgreSQL takes, also those that are seldom run."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

import asyncpg
import pytest

from marketbell.store.statements import statements, texts

FILES: Final = sorted(
    entry.name.removesuffix(".sql")
    for entry in (files("marketbell.store") / "sql" / "postgresql").iterdir()
    if entry.name.endswith(".sql")
)


@pytest.mark.parametrize("file", FILES)
async def test_every_statement_is_taken(file: str, migrated_url: str) -> None:
    connection = await asyncpg.connect(
        migrated_url, server_settings={"search_path": "marketbell"}, statement_cache_size=0
    )
    refused: dict[str, str] = {}
    try:
        for name in texts("postgresql", file):
            try:
                await connection.prepare(statements(file)[name].postgresql.text)
            except asyncpg.PostgresError as error:
                refused[name] = str(error)
    finally:
        await connection.close()
    assert refused == {}
