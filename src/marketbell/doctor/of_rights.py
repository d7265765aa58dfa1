"""The verdict on what the role may do that nodes come in as. Pure."""

from __future__ import annotations

from marketbell.doctor.findings import Finding, failure
from marketbell.store.inspecting import Rights


def of_rights(rights: Rights) -> Finding | None:
    """Which rights nodes need and the role lacks, with what gives them; None if it has them all."""
    role, schema = _name(rights.role), f"schema {_name(rights.schema)}"
    grants: dict[str, str] = {}
    if not rights.usage:
        grants["use the schema"] = f"grant usage on {schema} to {role}"
    if rights.table:
        all_tables = "grant select, insert, update, delete on all tables in"
        grants[f"read and write {rights.table}"] = f"{all_tables} {schema} to {role}"
    if rights.sequence:
        all_sequences = "grant usage on all sequences in"
        grants[f"use {rights.sequence}"] = f"{all_sequences} {schema} to {role}"
    if not rights.owns:
        grants["make partitions"] = f"grant {_name(rights.owner)} to {role}"
    if not grants:
        return None
    return failure(
        "schema",
        f"the role {rights.role} may not {', '.join(grants)}; {rights.owner} owns the tables",
        f"As a superuser: `{'; '.join(grants.values())};`, or let nodes come in as {rights.owner}.",
    )


def _name(given: str) -> str:
    return '"' + given.replace('"', '""') + '"'
