"""
What an official `svix` package sends and reads, as JSON: run as a program, once for each version.

    python sdk_surface.py [FOLDER]     FOLDER holds another version than the installed one

Each line of its source that makes a request gives a method, a path, the query parameters, and the
JSON Schemas of the body and of the answer that its own models say.
"""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic


def surface(folder: str | None) -> dict[str, Any]:
    """The version and every request that the package can make."""
    if folder is not None:
        sys.path.insert(0, folder)
    api = importlib.import_module("svix.api")
    models = importlib.import_module("svix.models")
    source = Path(str(api.__file__)).parent
    version = importlib.import_module("svix").__version__
    requests = [
        request
        for file in sorted(source.glob("*.py"))
        for request in _of_file(ast.parse(file.read_text()), vars(models))
    ]
    return {"version": version, "folder": str(source), "requests": requests}


def _of_file(tree: ast.Module, models: dict[str, Any]) -> Iterator[dict[str, Any]]:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    queries = {node.name: _query(node) for node in classes}
    for node in classes:
        for function in node.body:
            if isinstance(function, ast.FunctionDef):
                yield from _of_function(node.name, function, queries, models)


def _query(node: ast.ClassDef) -> list[str]:
    """The names of an options class's query parameters."""
    return [
        str(key.value)
        for function in node.body
        if isinstance(function, ast.FunctionDef) and function.name == "_query_params"
        for inner in ast.walk(function)
        if isinstance(inner, ast.Dict)
        for key in inner.keys
        if isinstance(key, ast.Constant)
    ]


def _of_function(
    owner: str, function: ast.FunctionDef, queries: dict[str, list[str]], models: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    kinds = {
        one.arg: ast.unparse(one.annotation)
        for one in function.args.args
        if one.annotation is not None
    }
    for call in ast.walk(function):
        if not (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr == "_request_sync"
        ):
            continue
        given = {one.arg: one.value for one in call.keywords}
        body = next(
            (
                inner.id
                for inner in ast.walk(given["json_body"])
                if isinstance(inner, ast.Name) and inner.id in kinds
            )
            if "json_body" in given
            else iter(()),
            None,
        )
        yield {
            "name": f"{owner}.{function.name}",
            "method": ast.literal_eval(given["method"]).upper(),
            "path": ast.literal_eval(given["path"]),
            "query": queries.get(kinds.get("options", ""), []),
            "body": _schema(kinds[body], models) if body is not None else None,
            "answer": _schema(
                ast.unparse(function.returns) if function.returns is not None else "", models
            ),
        }


def _schema(name: str, models: dict[str, Any]) -> Any:
    """The JSON Schema of a model by its name in an annotation, None if it is no model."""
    kind = models.get(name.rsplit(".", 1)[-1])
    if not (isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)):
        return None
    return kind.model_json_schema(by_alias=True)


if __name__ == "__main__":
    json.dump(surface(sys.argv[1] if len(sys.argv) > 1 else None), sys.stdout)
