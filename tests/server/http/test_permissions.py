"""Every route with an account that may do nothing: a new one fails here until it says what it needs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from nexo.server.http.app import RESOURCES
from nexo.server.http.permissions import asked
from tests.conftest import Server, running
from tests.server.http.kit import JSON
from tests.server.test_accounts import furnish

FREE = {"/livez", "/readyz", "/openapi.json", "/docs"}
"""Open to everybody, or to everybody who has an account."""
ASKED = {
    "GET /api/v1/store/keys": ({}, None, 403),
    "GET /api/v1/queues": ({}, None, []),
    "POST /api/v1/queues": ({}, {"name": "x"}, 403),
    "GET /api/v1/streams": ({}, None, []),
    "POST /api/v1/streams": ({}, {"name": "x"}, 403),
    "GET /api/v1/pubsub/topics": ({}, None, []),
    "POST /api/v1/pubsub/publish": ({}, {"topic": "t", "type": "str", "value": "x"}, 403),
    "GET /api/v1/pubsub/tail": ({}, None, 403),
}
"""Routes that ask in their handlers: parameters, body, and the status or the list that `mallory` gets."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("permissions")
    furnish(folder)
    with running(folder) as server, client(server, "ann") as ann:
        for path in ("queues", "streams"):
            assert ann.post(f"/api/v1/{path}", json={"name": "there"}).status_code == 201
        kept = {"topic": "there", "type": "str", "value": "x", "retain": True}
        assert ann.post("/api/v1/pubsub/publish", json=kept).status_code == 200
        yield server


def client(server: Server, user: str) -> httpx.Client:
    return httpx.Client(base_url=server.http, auth=(user, f"{user}'s secret"), trust_env=False, timeout=30)


def test_every_route_refuses_who_may_do_nothing(guarded: Server) -> None:
    with client(guarded, "mallory") as mallory:
        document = mallory.get("/openapi.json").json()
        seen = set()
        for template, methods in document["paths"].items():
            for method in (name.upper() for name in methods):
                route = f"{method} {template}"
                seen.add(route)
                if template in FREE or route in ASKED:
                    continue
                path = re.sub(r"{\w+}", "there", template)
                answer = mallory.request(method, path, json={} if method in ("POST", "PUT") else None)
                assert (answer.status_code, answer.json()["code"]) == (403, "NOT_AUTHORIZED"), route
        assert seen > set(ASKED)


@pytest.mark.parametrize("route", ASKED)
def test_routes_that_ask_themselves(guarded: Server, route: str) -> None:
    method, path = route.split()
    parameters, body, expected = ASKED[route]
    with client(guarded, "mallory") as mallory, client(guarded, "ann") as ann:
        answer = mallory.request(method, path, params=parameters, json=body)
        if isinstance(expected, int):
            assert (answer.status_code, answer.json()["code"]) == (expected, "NOT_AUTHORIZED")
        else:
            assert answer.json()["items"] == expected
            assert ann.request(method, path).json()["items"]


def test_the_table_names_all_that_ask_themselves() -> None:
    assert {f"{route.method} {route.path}" for route in RESOURCES if route.needs is asked} == set(ASKED)


def test_no_content_type_no_login(guarded: Server) -> None:
    """Cross-site requests are refused before any credentials, which browsers add by themselves, are looked at."""
    with client(guarded, "ann") as ann:
        answer = ann.post("/api/v1/queues", content="{}", headers={**JSON, "Origin": "http://evil.example"})
        assert answer.json()["code"] == "CROSS_SITE"
