"""The log's two formats: what a person reads, what a machine reads, and that everybody's records come the same way."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable

import pytest

from nexo.server.logs import FORMATTERS
from tests.conftest import Server


def record(message: str, *arguments: object, error: bool = False, **extra: object) -> logging.LogRecord:
    try:
        raise ValueError("torn\npage")
    except ValueError:
        found = sys.exc_info() if error else None
    return logging.getLogger("nexo.test").makeRecord(
        "nexo.test", logging.WARNING, "", 0, message, arguments, found, extra=extra
    )


def test_text_shows_data_behind_the_message() -> None:
    line = FORMATTERS["text"]().format(
        record("%d of them", 3, queue="mail", reason="no room", empty="", quoted='a"b', line="a\nb", n=5)
    )
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING nexo\.test: 3 of them ", line)
    assert line.endswith(r' queue=mail reason="no room" empty="" quoted="a\"b" line="a\nb" n=5')


def test_json_is_one_object_a_line() -> None:
    line = FORMATTERS["json"]().format(
        record(
            "%s\n%s",
            "a",
            "ü",
            error=True,
            queue="mail",
            took_ms=1.5,
            level="its own",
            color_message="x",
            raw={1},
        )
    )
    assert "\n" not in line
    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found.pop("exception").endswith("ValueError: torn\npage")
    assert found == {
        "level": "warning", "logger": "nexo.test", "message": "a\nü", "queue": "mail", "took_ms": 1.5, "raw": "{1}",
    }  # fmt: skip


def test_what_cannot_be_json_is_still_written() -> None:
    found = json.loads(
        FORMATTERS["json"]().format(record("\udc80", path="\udc80", data=b"\xff", far=1 << 80))
    )
    assert (
        found["message"] == found["path"] == "\udc80"
        and found["data"] == str(b"\xff")
        and found["far"] == 1 << 80
    )


def test_exceptions_stand_below_the_text() -> None:
    text = FORMATTERS["text"]().format(record("failed", error=True, queue="mail"))
    first, second, *_ = text.splitlines()
    assert first.endswith("failed queue=mail") and second == "Traceback (most recent call last):"


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_server_logs_in_its_format(start_server: Callable[..., Server], format: str) -> None:
    server = start_server("--log-format", format)
    server.stop()
    lines = server.log().splitlines()
    assert lines
    for line in lines:
        if format == "json":
            found = json.loads(line)
            assert found.keys() >= {"time", "level", "logger", "message"}
        else:
            assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ nexo\.\w+: .", line)
