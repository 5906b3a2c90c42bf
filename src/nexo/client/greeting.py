"""HELLO: what a client says of itself, and what the server answers. Layout: docs/protocol.md."""

from __future__ import annotations

import msgspec

from nexo.client.frames import U32, Reader, string
from nexo.errors import InvalidArgumentError


class ServerInfo(msgspec.Struct, frozen=True):
    """The server as it presents itself. `limits` has its bounds by name, such as `frame_bytes_max`."""

    name: str = ""
    version: str = ""
    limits: dict[str, int] = {}


class Credentials(msgspec.Struct, frozen=True):
    """Who the client says it is: a user with a password, a token, or nobody."""

    user: str | None = None
    password: str | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        if self.token is not None and (self.user, self.password) != (None, None):
            raise InvalidArgumentError("either a user with a password, or a token")
        if (self.user is None) != (self.password is None):
            raise InvalidArgumentError("a user and a password go together")

    def encoded(self) -> bytes:
        """As HELLO has them."""
        if self.token is not None:
            return b"\x02" + string(self.token)
        if self.user is not None and self.password is not None:
            return b"\x01" + string(self.user) + string(self.password)
        return b"\x00"


def hello(name: str, credentials: Credentials) -> bytes:
    """The payload of HELLO. No features are asked for: none are defined yet."""
    return string(name) + U32.pack(0) + credentials.encoded()


def read_hello(payload: bytes | None) -> ServerInfo:
    """What the server answered. ProtocolError when that is not an answer to HELLO."""
    reader = Reader(payload or b"")
    name, version = reader.string(), reader.string()
    reader.u32()
    limits = {}
    for _ in range(reader.u32()):
        limit = reader.string()
        limits[limit] = reader.u64()
    return ServerInfo(name, version, limits)
