"""What the server writes to standard error: text for people, or a JSON object a line for machines.

Owns the two formats. Whoever logs gives data as `extra`: text shows it behind the message, JSON as fields. uvicorn's
records, and those of any other library, come the same way, since its loggers have no handlers of their own.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

AUDIT: Final = "nexo.audit"
"""The logger of administrative actions: written whatever the level of the log is."""

KNOWN: Final = frozenset(
    {*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName", "color_message"}
)
"""Attributes of a record that are no data; the last one is uvicorn's copy of the message for terminals."""


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """The data of a record: what was given as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in KNOWN}


def timestamp(seconds: float) -> str:
    """A time as RFC 3339 says it, in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextFormatter(logging.Formatter):
    """`time level logger: message name=value …`, then the exception."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        data = fields(record)
        if not data:
            return super().formatMessage(record)
        shown = " ".join(f"{name}={_word(value)}" for name, value in data.items())
        return f"{super().formatMessage(record)} {shown}".rstrip()


class JsonFormatter(logging.Formatter):
    """One object: time (RFC 3339), level, logger, message, the data, and `exception` with its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        shown: dict[str, Any] = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in fields(record).items():
            shown.setdefault(name, value)
        if record.exc_info:
            shown["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            shown["stack"] = self.formatStack(record.stack_info)
        # A text that UTF-8 cannot say is no reason to lose the line.
        line = json.dumps(shown, ensure_ascii=False, separators=(",", ":"), default=str)
        return line.encode(errors="backslashreplace").decode()


FORMATTERS: Final[dict[str, type[logging.Formatter]]] = {"text": TextFormatter, "json": JsonFormatter}


def configure(level: str, format: str) -> None:
    """Have everything of at least this level written to standard error in this format, one of FORMATTERS."""
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATTERS[format]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger(AUDIT).setLevel(logging.INFO)


def _word(value: object) -> str:
    """A value that ends where a reader thinks it does: quoted when it is empty or has spaces."""
    text = str(value)
    if text and text.isprintable() and not set(' "=') & set(text):
        return text
    return json.dumps(text, ensure_ascii=False)
