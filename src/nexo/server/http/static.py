"""The dashboard's files, as its build left them; or a page that says that they were not built.

They are read when they are asked for: few, small, and then in the browser's cache. Knows no route but its own.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from nexo.server.http.problems import Refused, answer_refused

FOLDER: Final = Path(__file__).resolve().parents[2] / "dashboard"

FOR_A_YEAR: Final = "public, max-age=31536000, immutable"
"""Files under assets/ have a hash of their content in their names."""
NOT_BUILT: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Nexo</title>
<h1>Nexo is running</h1>
<p>The dashboard was not built. In a checkout, <code>make dashboard</code> builds it, where there is Node.js
with npm; packages bring it along.</p>
<p>The API works without it: <a href="/docs">its routes</a>, <a href="/api/v1/overview">an overview</a>,
<a href="/metrics">metrics</a>.</p>
</html>
"""

mimetypes.add_type("text/javascript", ".js")
mimetypes.add_type("font/woff2", ".woff2")


class Static:
    """Answers for every path that no route has."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    async def __call__(self, request: Request) -> Response:
        path = unquote(request.url.path).lstrip("/")
        if path == "api" or path.startswith("api/") or "\\" in path or "\0" in path:
            return no_such_route(request)
        found = self._file(path)
        if found is None and not Path(path).suffix:
            found = self._file("index.html")
            if found is None and path == "":
                return HTMLResponse(NOT_BUILT, headers={"Cache-Control": "no-cache"})
        if found is None:
            return no_such_route(request)
        kind = mimetypes.guess_type(found.name)[0] or "application/octet-stream"
        cached = FOR_A_YEAR if path.startswith("assets/") else "no-cache"
        return Response(found.read_bytes(), media_type=kind, headers={"Cache-Control": cached})

    def _file(self, path: str) -> Path | None:
        """A file of the folder; None for what is none, or lies elsewhere."""
        if not path or ".." in path.split("/"):
            return None
        file = self._folder / path
        if not file.is_file() or not file.resolve().is_relative_to(self._folder.resolve()):
            return None
        return file


def no_such_route(request: Request) -> Response:
    return answer_refused(Refused("NO_SUCH_ROUTE", f"there is nothing at {request.url.path}"))
