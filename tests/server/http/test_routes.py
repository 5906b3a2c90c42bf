"""The description of the API is that of its routes: openapi.json, /docs and docs/http-api.md."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest

from nexo import errors
from nexo.server.http.app import RESOURCES
from nexo.server.http.problems import HTTP_STATUSES, STATUSES
from tests.conftest import ROOT, Server
from tests.server.http.kit import Api

PAGE = (ROOT / "docs/http-api.md").read_text()
EXAMPLES = re.findall(r"^curl .*$", PAGE, re.MULTILINE)


def test_openapi_describes_every_route(api: Api) -> None:
    document = api.get("/openapi.json")
    assert document["openapi"].startswith("3.1")
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    known = {(route.method, route.path) for route in RESOURCES}
    assert known <= described
    others = {path for _, path in described - known}
    assert others == {
        "/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/api/v1/overview", "/api/v1/overview/history",
        "/api/v1/events",
    }  # fmt: skip
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    push = document["paths"]["/api/v1/queues/{queue}/messages"]["post"]["requestBody"]
    name = push["content"]["application/json"]["schema"]["$ref"].removeprefix("#/components/schemas/")
    assert document["components"]["schemas"][name]["required"] == ["messages"]
    references = set(re.findall(r"#/components/schemas/([\w.]+)", str(document)))
    assert references <= document["components"]["schemas"].keys()


def test_the_rendered_page_has_every_route_and_error(api: Api) -> None:
    page = api.get("/docs")
    for route in RESOURCES:
        assert f"<td>{route.method}<td><code>{route.path}</code>" in page
    for code in [*(code for _, code in STATUSES.values()), *HTTP_STATUSES]:
        assert f'id="{code}"' in page
    assert "http:" not in page and "https:" not in page and "<script" not in page and "style" not in page


def test_the_manual_has_every_route() -> None:
    for route in RESOURCES:
        pattern = re.sub(r"\\{\w+\\}", r"\\{\\w+\\}", re.escape(f"{route.method} {route.path}"))
        assert re.search(rf"`{pattern}[?`]", PAGE), f"{route.method} {route.path}"


def test_every_error_has_a_status_and_stands_in_the_manual() -> None:
    brokers = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ServerError)
    }
    assert brokers - {errors.ServerError} == STATUSES.keys() - {errors.VersionMismatchError}
    listed = {
        code.strip(): int(status)
        for status, codes in re.findall(r"^\| (\d{3}) \| ([A-Z_, ]+) \|$", PAGE, re.MULTILINE)
        for code in codes.split(",")
    }
    assert listed == {code: status for status, code in STATUSES.values()} | HTTP_STATUSES


def test_the_examples_of_the_manual(server: Server, api: Api) -> None:
    """As they stand there, but for the port."""
    assert len(EXAMPLES) > 10
    for example in EXAMPLES:
        command = shlex.split(example.replace("http://127.0.0.1:8080", api.address))
        try:
            done = subprocess.run(
                [command[0], "-sS", "--fail-with-body", *command[1:]],
                capture_output=True,
                text=True,
                timeout=30,
            )
        except FileNotFoundError:
            pytest.skip("curl is not installed")
        assert done.returncode == 0, (example, done.stdout, done.stderr)
    assert api.get("/v1/queues/jobs")["leased"] == 1
