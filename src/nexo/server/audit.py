"""The audit log: one line for each administrative action, in the server's log or in a file of its own.

The file gets JSON lines appended, each written before the action is answered, and is opened again when it has been moved
away or deleted (logrotate). An action that cannot be recorded is still done, and the server's log says so.
"""

from __future__ import annotations

import logging
from logging.handlers import WatchedFileHandler
from typing import Final

from nexo.errors import ConfigError
from nexo.protocols.audit import Action, Auditor
from nexo.server.logs import AUDIT, JsonFormatter

log: Final = logging.getLogger("nexo.server")


class AuditFile(WatchedFileHandler):
    """Appends to a file. ConfigError when it cannot be opened at the start."""

    def __init__(self, path: str) -> None:
        try:
            super().__init__(path, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write the audit_file {path}: {error.strerror}") from None
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # it had been moved away, and cannot be made again
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        log.error("cannot write the audit file %s", self.baseFilename, exc_info=True)


class AuditLog(Auditor):
    """Writes to the logger `nexo.audit`, or to a file when a path is given."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._logger = logging.getLogger(AUDIT)
        self._file = AuditFile(path) if path else None

    def done(self, action: Action) -> None:
        told = {
            "action": action.action,
            "resource": action.resource,
            "protocol": action.protocol,
            "address": action.address,
            "client": action.client,
            "account": action.account,
            "result": action.result,
        }
        if self._file is None:
            self._logger.info("administration", extra=told)
        else:
            record = self._logger.makeRecord(
                AUDIT, logging.INFO, "", 0, "administration", (), None, extra=told
            )
            self._file.handle(record)

    def close(self) -> None:
        """Nothing more comes."""
        if self._file is not None:
            self._file.close()
