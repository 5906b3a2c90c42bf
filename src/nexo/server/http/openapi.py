"""The description of the routes for programs (OpenAPI 3.1) and for people, made from their table."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from typing import Any, Final

import msgspec
from starlette.responses import HTMLResponse, Response

from nexo._version import __version__
from nexo.server.http.permissions import anybody
from nexo.server.http.problems import HTTP_STATUSES, STATUSES
from nexo.server.http.routing import Call, Route, answer

IN_PATH: Final = re.compile(r"{(\w+)}")
PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {
            "type": "string",
            "enum": sorted([*(code for _, code in STATUSES.values()), *HTTP_STATUSES]),
        },
        "detail": {"type": "string"},
        "details": {},
    },
}


def operation(route: Route, schema: Any) -> dict[str, object]:
    """One route."""
    described: dict[str, object] = {
        "summary": route.summary,
        "operationId": re.sub(
            r"\W+", "_", f"{route.method.lower()}{route.path.removeprefix('/api/v1')}"
        ).strip("_"),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in IN_PATH.findall(route.path)
        ]
        + [
            {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
            for name, meaning in route.query.items()
        ],
        "responses": {
            str(route.status): {"description": route.summary, "content": {route.media: {}}},
            "default": {
                "description": "What went wrong",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if schema is not None:
        described["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return described


def document(routes: list[Route]) -> dict[str, object]:
    """All routes."""
    bodies = [route.body for route in routes if route.body is not None]
    schemas, components = msgspec.json.schema_components(
        bodies, schema_hook=_anything, ref_template="#/components/schemas/{name}"
    )
    by_body = dict(zip(bodies, schemas, strict=True))
    paths: dict[str, dict[str, object]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = operation(route, by_body.get(route.body))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Nexo", "version": __version__},
        "paths": paths,
        "components": {"schemas": {**components, "Problem": PROBLEM}},
    }


def _anything(kind: type) -> dict[str, object]:
    """The schema of what may be any JSON."""
    return {}


def rendered(routes: list[Route]) -> str:
    """All routes and all errors as a page that loads nothing else."""
    rows = "".join(
        f"<tr><td>{route.method}<td><code>{escape(route.path)}</code><td>{escape(route.summary)}"
        f"<td>{escape(', '.join(route.query))}<td>{escape(fields(route))}"
        for route in routes
    )
    known = {code: status for status, code in STATUSES.values()} | HTTP_STATUSES
    errors = "".join(
        f'<tr id="{code}"><td>{status}<td><code>{code}</code>'
        for code, status in sorted(known.items(), key=lambda item: (item[1], item[0]))
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Nexo: HTTP API</title>'
        f"<h1>Nexo {__version__}: HTTP API</h1>"
        '<p>For programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"<table><tr><th>Method<th>Path<th>What<th>Parameters<th>Body{rows}</table>"
        f"<h2>Errors</h2><table><tr><th>Status<th>Code{errors}</table></html>"
    )


def fields(route: Route) -> str:
    """The fields of a route's body."""
    if route.body is None:
        return ""
    return ", ".join(
        field.name if field.required else f"[{field.name}]" for field in msgspec.structs.fields(route.body)
    )


class Described:
    """The routes that describe the others, and themselves."""

    def __init__(self, routes: Callable[[], list[Route]]) -> None:
        self._routes = routes

    async def openapi(self, call: Call) -> Response:
        return answer(document(self._routes()))

    async def docs(self, call: Call) -> Response:
        return HTMLResponse(rendered(self._routes()))

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/openapi.json", self.openapi, anybody, "This description, for programs"),
            Route("GET", "/docs", self.docs, anybody, "This description, for people", media="text/html"),
        ]
