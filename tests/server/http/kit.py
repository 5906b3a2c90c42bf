"""What the tests of the HTTP API share: a client, and a reader of server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

JSON = {"Content-Type": "application/json"}


class Api:
    """Calls one server and expects a status; an error is a problem document, unless `problem` is False.

    Paths may leave out /api.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.client = httpx.Client(base_url=address, timeout=30, trust_env=False)

    def __call__(self, method: str, path: str, body: Any = None, status: int = 200, **parameters: Any) -> Any:
        url = f"/api{path}" if path.startswith("/v1/") else path
        content = None if body is None else json.dumps(body)
        headers = JSON if method in ("POST", "PUT") else {}
        problem = parameters.pop("problem", True)
        answer = self.client.request(method, url, content=content, headers=headers, params=parameters or None)
        assert answer.status_code == status, answer.text
        if status >= 400 and problem:
            document = answer.json()
            assert answer.headers["content-type"] == "application/problem+json"
            assert (
                document["status"] == status and document["title"] and document["type"].startswith("/docs#")
            )
            return document
        return answer.json() if "json" in answer.headers["content-type"] else answer.text

    def get(self, path: str, status: int = 200, **parameters: Any) -> Any:
        return self("GET", path, None, status, **parameters)

    def put(self, path: str, body: Any, status: int = 200) -> Any:
        return self("PUT", path, body, status)

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        return self("POST", path, body, status)

    def delete(self, path: str, status: int = 200, **parameters: Any) -> Any:
        return self("DELETE", path, None, status, **parameters)

    def every(self, path: str, **parameters: Any) -> list[Any]:
        """All items of a list, page after page."""
        found: list[Any] = []
        after: str | None = parameters.pop("after", None)
        while True:
            more = {} if after is None else {"after": after}
            page = self.get(path, **parameters, **more)
            found += page["items"]
            after = page["next"]
            if after is None:
                return found

    @contextmanager
    def events(
        self, path: str, headers: dict[str, str] | None = None, **parameters: Any
    ) -> Iterator[Iterator[Event]]:
        """The events of a stream, which is left when the block ends."""
        with self.client.stream("GET", f"/api{path}", params=parameters or None, headers=headers) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield parsed(answer.iter_lines())


class Event:
    """One event."""

    def __init__(self, name: str, data: Any, id: str) -> None:
        self.name = name
        self.data = data
        self.id = id


def parsed(lines: Iterator[str]) -> Iterator[Event]:
    """Events of lines; comments and `retry` are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            if "event" in fields:
                yield Event(fields["event"], json.loads(fields["data"]), fields.get("id", ""))
            fields = {}
