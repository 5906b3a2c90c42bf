"""A proxy between client and server that a test can cut, hold up, and watch; and a server that can come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.conftest import Server


class Proxy:
    """Passes bytes on; `chunks` are what the client sent, as they were read."""

    def __init__(self, port: int, piece_bytes: int | None = None) -> None:
        self._target = port
        self._piece_bytes = piece_bytes
        self._pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.chunks: list[bytes] = []
        self.accepted = 0
        self.port = 0

    async def __aenter__(self) -> Proxy:
        await self.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.shut()
        self.cut()
        self._flowing.set()
        await asyncio.gather(*self._tasks)

    async def open(self) -> None:
        """Accept connections, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def cut(self) -> None:
        """Break every connection."""
        for near, far in self._pairs:
            near.transport.abort()
            far.transport.abort()
        self._pairs.clear()

    def hold(self) -> None:
        """Pass nothing on, either way."""
        self._flowing.clear()

    def release(self) -> None:
        """Pass everything on again."""
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._pairs.append((writer, far_writer))
        for source, sink, seen in ((reader, far_writer, self.chunks.append), (far_reader, writer, None)):
            task = asyncio.create_task(self._pass(source, sink, seen))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, seen: Callable[[bytes], None] | None
    ) -> None:
        with suppress(OSError):
            while True:
                # Held, it does not read either: the kernel's buffers fill, as with a peer that is stuck.
                await self._flowing.wait()
                data = await source.read(1 << 20)
                if not data:
                    break
                if seen is not None:
                    seen(data)
                await self._flowing.wait()
                step = self._piece_bytes or len(data)
                for start in range(0, len(data), step):
                    sink.write(data[start : start + step])
                    await sink.drain()
                    if self._piece_bytes is not None:
                        await asyncio.sleep(0)
        sink.close()


async def restarted(folder: Path, port: int, *arguments: str) -> Server:
    """A server on a port that another one has just left."""
    return await asyncio.to_thread(Server, folder, *arguments, "--port", str(port))
