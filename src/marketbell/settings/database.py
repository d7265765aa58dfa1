"""Settings of the database, and of the nodes that share one."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from marketbell.settings.values import MINUTE, SECOND, Setting

ROLES: Final = ("all", "api", "worker")
"""What a node does: everything, or only accept and manage, or only deliver."""


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is kept, and how nodes share the work."""

    db: Annotated[
        str,
        Setting(
            "database",
            "The database: `sqlite:///FILE`, `sqlite:////FULL/PATH` or `postgresql://USER@HOST/NAME`."
            " What a PostgreSQL address leaves open is taken from the PG* variables.",
        ),
    ] = "sqlite:///marketbell.db"
    db_direct: Annotated[
        str,
        Setting(
            "database",
            "PostgreSQL's own address, where `db` is a pooler such as PgBouncer: nodes hear of one"
            " another through it, and `migrate` uses it.",
            unset="`db` itself",
        ),
    ] = ""
    db_pooled: Annotated[
        bool,
        Setting(
            "flag",
            "Whether `db` is a pooler that gives each transaction another connection. It is taken"
            " for one wherever `db_direct` is given.",
        ),
    ] = False
    db_schema: Annotated[
        str, Setting("text", "The schema in PostgreSQL that all tables stand in.")
    ] = "marketbell"
    db_connect_timeout: Annotated[
        int,
        Setting("duration", "How long connecting to PostgreSQL may take.", 100, MINUTE),
    ] = 5 * SECOND
    db_statement_timeout: Annotated[
        int,
        Setting(
            "duration",
            "How long one statement in PostgreSQL may take, and wait for a lock.",
            100,
            30 * SECOND,
        ),
    ] = 10 * SECOND
    migrate: Annotated[
        bool,
        Setting(
            "flag",
            "Whether `serve` brings PostgreSQL's schema up to date before it serves, as"
            " `marketbell migrate` does. An SQLite file always is.",
        ),
    ] = False

    role: Annotated[
        str,
        Setting(
            "text",
            "What this node does: `api` accepts and manages, `worker` delivers, `all` does both."
            " Other than `all` needs PostgreSQL.",
            choices=ROLES,
        ),
    ] = "all"
    workers: Annotated[
        int,
        Setting(
            "count",
            "Server processes on this machine, each a node. SQLite has exactly one writing process,"
            " so more need PostgreSQL.",
            1,
            64,
        ),
    ] = 1
    node_name: Annotated[
        str,
        Setting(
            "text",
            "What this node is called in logs and by `marketbell doctor`.",
            unset="the machine's name and the process's number",
        ),
    ] = ""
    node_lease: Annotated[
        int,
        Setting(
            "duration",
            "How long after its last sign of life a node counts as lost and others take its work.",
            SECOND,
            MINUTE,
        ),
    ] = 10 * SECOND
    node_heartbeat: Annotated[
        int,
        Setting(
            "duration",
            "How often a node gives a sign of life; at most a third of `node_lease`.",
            50,
            20 * SECOND,
        ),
    ] = 2 * SECOND
    node_poll: Annotated[
        int,
        Setting(
            "duration",
            "How often an idle node looks for work where it cannot be told of it: where `db` is a"
            " pooler and `db_direct` is not given.",
            5,
            10 * SECOND,
        ),
    ] = 50
