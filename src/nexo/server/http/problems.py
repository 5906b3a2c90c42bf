"""What went wrong, as HTTP says it: problem documents (RFC 9457) with the status for each of our errors.

Owns the one table from errors to statuses. Knows no route and no broker.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.responses import Response

from nexo import errors

STATUSES: Final[dict[type[errors.NexoError], tuple[int, str]]] = {
    errors.InternalError: (500, "INTERNAL"),
    errors.InvalidArgumentError: (400, "INVALID_ARGUMENT"),
    errors.ResourceNotFoundError: (404, "RESOURCE_NOT_FOUND"),
    errors.ResourceConfigConflictError: (409, "RESOURCE_CONFIG_CONFLICT"),
    errors.NotAuthorizedError: (403, "NOT_AUTHORIZED"),
    errors.FencedError: (409, "FENCED"),
    errors.NotMemberError: (409, "NOT_MEMBER"),
    errors.SlowConsumerError: (503, "SLOW_CONSUMER"),
    errors.StorageError: (503, "STORAGE_ERROR"),
    errors.ProtocolError: (400, "PROTOCOL_ERROR"),
    errors.MemoryLimitError: (507, "MEMORY_LIMIT"),
    errors.LimitExceededError: (422, "LIMIT_EXCEEDED"),
    errors.TooOldError: (410, "TOO_OLD"),
    errors.NoRespondersError: (503, "NO_RESPONDERS"),
    errors.ReplyTimeoutError: (504, "REPLY_TIMEOUT"),
    errors.NotAvailableError: (501, "NOT_AVAILABLE"),
    errors.SequenceMismatchError: (409, "SEQUENCE_MISMATCH"),
    errors.BatchRefusedError: (409, "BATCH_REFUSED"),
    errors.PreconditionFailedError: (412, "PRECONDITION_FAILED"),
    errors.AlarmError: (503, "ALARM"),
    errors.VersionMismatchError: (412, "VERSION_MISMATCH"),
}
"""Status and name of each error that a broker, or a conditional write, answers with."""

HTTP_STATUSES: Final[dict[str, int]] = {
    "NO_SUCH_ROUTE": 404,
    "METHOD_NOT_ALLOWED": 405,
    "BODY_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "LOGIN_REQUIRED": 401,
    "CROSS_SITE": 403,
    "WRONG_HOST": 421,
}
"""What only HTTP knows, by name."""


class Refused(Exception):
    """A request that is refused before it gets to a broker: a name of HTTP_STATUSES and why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def status_of(error: errors.NexoError) -> tuple[int, str]:
    """The status and the name of an error; of the class above it, when it has none of its own."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return STATUSES[errors.InternalError]


def problem(status: int, code: str, detail: str, details: Any = None) -> Response:
    """A problem document as the answer."""
    document = {
        "type": f"/docs#{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "code": code,
        "detail": detail,
    }
    if details is not None:
        document["details"] = details
    return Response(msgspec.json.encode(document), status, media_type="application/problem+json")


def answer_error(error: errors.NexoError) -> Response:
    """The answer to a request that met one of our errors."""
    status, code = status_of(error)
    if isinstance(error, errors.VersionMismatchError):
        return problem(status, code, str(error), {"version": error.actual})
    return problem(status, code, str(error), getattr(error, "details", None))


def answer_refused(refused: Refused) -> Response:
    """The answer to a request that was refused."""
    return problem(HTTP_STATUSES[refused.code], refused.code, refused.detail)


def answer_login(detail: str) -> Response:
    """The answer to who must log in: a browser asks for a name and a password (RFC 7617)."""
    response = answer_refused(Refused("LOGIN_REQUIRED", detail))
    response.headers["WWW-Authenticate"] = 'Basic realm="Nexo", charset="UTF-8"'
    return response
