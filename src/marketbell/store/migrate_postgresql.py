"""The schema on PostgreSQL: numbered migrations, each applied once, by one node at a time."""

from __future__ import annotations

from marketbell.errors import SchemaError
from marketbell.store.postgresql import Connection, PostgresOptions
from marketbell.store.statements import migrations


def migrate(options: PostgresOptions) -> list[str]:
    """
    Bring a database up to date; the names of the migrations that were applied.

    After a crash the database stands between two migrations and the next start goes on.
    Blocks: call it from a thread. SchemaError for a newer schema.
    """
    connection = Connection(options, name="migrate")
    applied: list[str] = []
    try:
        connection.begin()
        connection.execute("select pg_advisory_xact_lock(hashtext('marketbell.migrate'))")
        connection.execute(f'create schema if not exists "{options.schema}"')
        connection.execute(
            "create table if not exists migration (number bigint primary key, name text not null)"
        )
        current = connection.fetch_row("select coalesce(max(number), 0) from migration", ())[0]
        known = migrations("postgresql")
        if current > known[-1][0]:
            raise SchemaError(
                f"The database has schema {current}, this program knows {known[-1][0]}; "
                "use a newer one."
            )
        for number, name, script in known:
            if number > current:
                connection.execute(script)
                connection.execute("insert into migration values ($1, $2)", (number, name))
                applied.append(name)
        connection.commit()
    finally:
        connection.roll_back()
        connection.close()
    return applied
