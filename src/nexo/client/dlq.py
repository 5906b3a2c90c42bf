"""A queue's dead letters. Layouts: docs/protocol.md."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import msgspec

from nexo.client import values
from nexo.client.connection import Connection
from nexo.client.frames import Reader, string, u32
from nexo.client.queueinfo import DeadLetter, DeadLetters, Redriven, admin_answer
from nexo.protocols.native import opcodes as op


class DLQ:
    """What a queue has given up. Dead letters stay for dead_retention_ms, the oldest dead_letters_max of them."""

    def __init__(self, connection: Connection, queue: str) -> None:
        self._connection = connection
        self._queue = string(queue)

    async def peek(self, limit: int = 10, offset: int = 0, *, type: Any = None) -> DeadLetters:
        """Up to `limit` dead letters after the first `offset`, oldest first, and how many there are in all."""
        payload = self._queue + u32(limit, "a limit") + u32(offset, "an offset")
        reader = Reader(await self._connection.data(op.QUEUE_PEEK_DLQ, payload))
        total = reader.u32()
        letters = []
        for _ in range(reader.u32()):
            reader.u64()
            id, value = reader.u64(), reader.prefixed()
            letters.append(DeadLetter(id, values.decode(value, type), reader.u32(), reader.string()))
        return DeadLetters(letters, total)

    async def move_to_queue(self, id: int) -> bool:
        """Make a dead letter a new message, with no attempts counted; False when there is none of this id."""
        answer = await self._admin("redrive", {"id": id})
        return bool(answer["moved"])

    async def redrive(
        self, *, reason: str = "", died_from: datetime | None = None, died_until: datetime | None = None
    ) -> AsyncIterator[Redriven]:
        """Bring dead letters back to the queue, all or those that match: an iterator that tells after each
        slice of 1,000 how many have moved so far. What dies meanwhile stays dead.

        `reason` is a part of the reason; the times are those of the deaths.
        """
        arguments: dict[str, Any] = {"reason": reason}
        if died_from is not None:
            arguments["died_from"] = round(died_from.timestamp() * 1000)
        if died_until is not None:
            arguments["died_until"] = round(died_until.timestamp() * 1000)
        moved = 0
        while True:
            answer = await self._admin("redrive", arguments)
            moved += answer["moved"]
            done = not answer["after"]
            yield Redriven(moved, done)
            if done:
                return
            arguments["after"], arguments["until"] = answer["after"], answer["until"]

    async def delete(self, id: int) -> bool:
        """Delete a dead letter; False when there is none of this id."""
        return bool((await self._admin("remove", {"id": id, "state": "dead"}))["removed"])

    async def purge(self) -> int:
        """Delete all dead letters; how many there were."""
        return Reader(await self._connection.data(op.QUEUE_PURGE_DLQ, self._queue)).u32()

    async def _admin(self, action: str, arguments: dict[str, Any]) -> dict[str, Any]:
        payload = self._queue + string(action) + msgspec.json.encode(arguments)
        answer: dict[str, Any] = admin_answer(await self._connection.data(op.QUEUE_ADMIN, payload))
        return answer
