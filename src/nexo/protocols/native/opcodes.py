"""The numbers of the native protocol; docs/protocol.md gives every layout.

Constants only, and no imports beyond typing, so that the client may use them too.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = 0x09
HEADER_BYTES: Final = 11

# Frame types.
REQUEST: Final = 0x01
RESPONSE: Final = 0x02
PUSH: Final = 0x03
REQUEST_NO_RESPONSE: Final = 0x04
EVENT: Final = 0x05

# Response statuses.
OK: Final = 0x00
ERR: Final = 0x01
NULL: Final = 0x02
DATA: Final = 0x03

# Connection.
HELLO: Final = 0x01
PING: Final = 0x40
BATCH: Final = 0x41
GOING_AWAY: Final = 0x42
BACKUP: Final = 0x43
SERVER_ADMIN: Final = 0x44
"""The command is the first byte of the payload."""
ALARM: Final = 0x4A
"""An event: writes are refused, or not any more."""

CREDENTIALS_NONE: Final = 0
CREDENTIALS_PASSWORD: Final = 1
CREDENTIALS_TOKEN: Final = 2

BACKUP_BEGIN: Final = 0x01
BACKUP_READ: Final = 0x02
BACKUP_END: Final = 0x03

REQUIRE_VERSION: Final = 0x01
REQUIRE_KEY: Final = 0x02
REQUIRE_QUEUE: Final = 0x03
REQUIRE_STREAM: Final = 0x04
REQUIRE_LAST_SEQ: Final = 0x05

# Store.
MAP_SET: Final = 0x02
MAP_GET: Final = 0x03
MAP_DEL: Final = 0x04
MAP_INCR: Final = 0x05
MAP_CLEAR_ALL: Final = 0x06
MAP_CLEAR_PREFIX: Final = 0x07
MAP_GETX: Final = 0x08
MAP_DELX: Final = 0x09
MAP_INCRX: Final = 0x0A
MAP_MGET: Final = 0x0B
MAP_MSET: Final = 0x0C
MAP_SCAN: Final = 0x0D
MAP_WATCH: Final = 0x0E
MAP_UNWATCH: Final = 0x0F

SET_TTL: Final = 0x01
SET_IF_ABSENT: Final = 0x02
SET_IF_PRESENT: Final = 0x04
SET_KEEP_TTL: Final = 0x08
SET_RETURN_OLD: Final = 0x10
SET_VERSION: Final = 0x20
SET_TTL_MS: Final = 0x40
SET_TTL_ABSOLUTE: Final = 0x80
SET_ANSWERED: Final = 0x36
"""Any of these has the write answered with DATA."""

GETX_TTL: Final = 0x01
GETX_TTL_ABSOLUTE: Final = 0x02
GETX_PERSIST: Final = 0x04
GETX_NO_VALUE: Final = 0x08

DELX_VERSION: Final = 0x01
DELX_RETURN_OLD: Final = 0x02

INCRX_MIN: Final = 0x01
INCRX_MAX: Final = 0x02
INCRX_TTL: Final = 0x04
INCRX_SATURATE: Final = 0x08

MSET_TTL: Final = 0x01
MSET_IF_ABSENT: Final = 0x02

SCAN_VALUES: Final = 0x01
SCAN_COUNT: Final = 0x02

WATCH_PREFIX: Final = 0x01
WATCH_FROM: Final = 0x02

CHANGE_SET: Final = 1
CHANGE_DELETED: Final = 2
CHANGE_EXPIRED: Final = 3
CHANGE_EVICTED: Final = 4

MAP_ADMIN: Final = 0x48
"""Far from the other commands of the store, whose numbers are used up."""

# Pub/Sub.
PUB: Final = 0x21
SUB: Final = 0x22
UNSUB: Final = 0x23
SUBX: Final = 0x24
UNSUBX: Final = 0x25
DROPPED: Final = 0x26
PUB_REQUEST: Final = 0x27
PUB_REPLY: Final = 0x28

PUB_RETAIN: Final = 0x01
PUB_TTL: Final = 0x02
PUB_CLEAR: Final = 0x04
PUB_HEADERS: Final = 0x08
PUB_TTL_MS: Final = 0x10
PUB_COUNT: Final = 0x20

SUBX_SHARED: Final = 0x01
SUBX_MESSAGES: Final = 0x02
SUBX_BYTES: Final = 0x04
SUBX_POLICY: Final = 0x08
SUBX_NO_RETAINED: Final = 0x10

DROP_OLDEST: Final = 0
DROP_NEWEST: Final = 1
CONFLATE: Final = 2
DISCONNECT: Final = 3

# Queue.
QUEUE_CREATE: Final = 0x10
QUEUE_PUSH: Final = 0x11
QUEUE_CONSUME: Final = 0x12
QUEUE_ACK: Final = 0x13
QUEUE_EXISTS: Final = 0x14
QUEUE_DELETE: Final = 0x15
QUEUE_PEEK_DLQ: Final = 0x16
QUEUE_MOVE_TO_QUEUE: Final = 0x17
QUEUE_DELETE_DLQ: Final = 0x18
QUEUE_PURGE_DLQ: Final = 0x19
QUEUE_NACK: Final = 0x1A
QUEUE_DESCRIBE: Final = 0x1B
QUEUE_RECEIVE: Final = 0x1C
QUEUE_SETTLE: Final = 0x1D
QUEUE_PUSHX: Final = 0x1E
QUEUE_ADMIN: Final = 0x1F

CREATE_VISIBILITY: Final = 0x01
CREATE_DELIVERIES: Final = 0x02
CREATE_OPTIONS: Final = 0x04
CREATE_FLAGS: Final = 0x07
"""All of them: an unknown one would add fields that this version cannot split. The same for streams."""

ITEM_PRIORITY: Final = 0x01
ITEM_DELAY: Final = 0x02
ITEM_DEDUP: Final = 0x04
ITEM_GROUP: Final = 0x08
ITEM_HEADERS: Final = 0x10
ITEM_TTL: Final = 0x20
ITEM_FLAGS: Final = 0x3F

PUSH_DONE: Final = 1
PUSH_DUPLICATE: Final = 2

SETTLE_ACK: Final = 0
SETTLE_RELEASE: Final = 1
SETTLE_FAILED: Final = 2
SETTLE_FATAL: Final = 3
SETTLE_EXTEND: Final = 4
BY_POLICY: Final = -1
"""A delay that leaves it to the queue's backoff."""

# Stream.
STREAM_CREATE: Final = 0x30
STREAM_PUB: Final = 0x31
STREAM_FETCH: Final = 0x32
STREAM_JOIN: Final = 0x33
STREAM_ACK: Final = 0x34
STREAM_EXISTS: Final = 0x35
STREAM_DELETE: Final = 0x36
STREAM_DESCRIBE: Final = 0x37
STREAM_SEEK: Final = 0x38
STREAM_LEAVE: Final = 0x39
STREAM_PEEK_DLS: Final = 0x3A
STREAM_MOVE_TO_STREAM: Final = 0x3B
STREAM_DELETE_DLS: Final = 0x3C
STREAM_PURGE_DLS: Final = 0x3D
STREAM_ACK_MANY: Final = 0x3E
STREAM_EXTENDED: Final = 0x3F
"""The command is the first byte of the payload."""

STREAMX_READ: Final = 0x01
STREAMX_APPEND: Final = 0x02
STREAMX_FETCH: Final = 0x03
STREAMX_NACK: Final = 0x04
STREAMX_SEEK: Final = 0x05
STREAMX_ADMIN: Final = 0x06
STREAMX_RELEASE: Final = 0x07

STREAM_MAX_AGE: Final = 0x01
STREAM_MAX_BYTES: Final = 0x02

APPEND_EXPECTED: Final = 0x01
APPEND_PRODUCER: Final = 0x02
APPEND_FLAGS: Final = 0x03

SEEK_BEGINNING: Final = 0
SEEK_END: Final = 1
SEEK_SEQUENCE: Final = 2
SEEK_TIME: Final = 3
SEEK_LAST: Final = 4
