"""Inputs for fuzz targets: where they begin, how they are damaged, how they arrive. Knows no target."""

from __future__ import annotations

import random
import struct

from tests.vectors.every import CONVERSATIONS, GOLDEN, LAYOUTS, VECTORS
from tests.vectors.table import Known
from tests.vectors.wire import HEADER_BYTES, REQUEST, b, frame, string, u64

FRAME_BYTES_MAX = 256 * 1024
"""The smallest that a server may be set to: a fuzzer gets past it quickly."""
READ_BYTES_MAX = 256 * 1024
"""What asyncio and uvloop hand over at most in one call."""
PROTOCOL_ERROR = 0x09
ERROR_CODE_MAX = 0x12

MADE_UP = {
    "message": u64(1) + u64(2),
    "token": u64(2),
    "generation": u64(1),
    "receipt": u64(1) + u64(3),
    "consumer": string("1-1-629f6fbed82c07cd"),
}
"""What stands for the marks of vectors: right for the node of brokers.py, whose clock and seeds never differ."""


def chunks(data: bytes) -> list[bytes]:
    """Cut an input into the pieces in which it arrives; where is decided by the input itself."""
    if len(data) < 2:
        return [data] if data else []
    rng = random.Random(len(data) * 256 + data[-1])
    pieces = []
    position = 0
    while position < len(data):
        size = rng.choice((1, 2, 7, 11, 12, 64, 1000, READ_BYTES_MAX))
        pieces.append(data[position : position + size])
        position += size
    return pieces


def requests_in(data: bytes) -> int:
    """How many complete requests that want an answer the input holds: a second, simpler reading of it."""
    count = position = 0
    while position + HEADER_BYTES <= len(data):
        version, kind, _, _, length = struct.unpack_from(">BBBII", data, position)
        if version != 9 or kind not in (1, 4) or length > FRAME_BYTES_MAX:
            break
        position += HEADER_BYTES + length
        if position > len(data):
            break
        count += kind == REQUEST
    return count


def corpus() -> list[bytes]:
    """Where mutation begins: every packet vector, every layout, every golden frame."""
    known = Known()
    known.found = dict(MADE_UP)
    found = [
        b"".join(map(known.fill, vector.setup)) + known.fill(vector.send)
        for vector in VECTORS
        if not vector.closes
    ]
    found += [b"".join(vector.setup) + vector.send for vector in VECTORS if vector.closes]
    found += [frame(REQUEST, opcode, 1, payload) for _, opcode, payload, _ in LAYOUTS]
    found += [b(sent) for _, sent, _ in (*GOLDEN, *CONVERSATIONS)]
    return [one for one in found if len(one) <= 4096]


INTERESTING = [0, 1, 2, 9, 0x7F, 0x80, 0xFF]
LENGTHS = [
    0,
    1,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x10000,
    FRAME_BYTES_MAX,
    FRAME_BYTES_MAX + 1,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
]


def mutate(seeds: list[bytes], rng: random.Random) -> bytes:
    """A new input: a few frames of the corpus, damaged."""
    data = bytearray(b"".join(rng.choice(seeds) for _ in range(rng.choice((1, 1, 2, 3, 8)))))
    for _ in range(rng.choice((0, 1, 1, 2, 4, 16))):
        place = rng.randrange(len(data) + 1)
        action = rng.randrange(8)
        if action == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif action == 1 and place < len(data):
            data[place] = rng.choice(INTERESTING)
        elif action == 2:
            data[place : place + 4] = struct.pack(">I", rng.choice(LENGTHS))
        elif action == 3:
            del data[place : place + rng.randrange(1, 12)]
        elif action == 4:
            data[place:place] = rng.randbytes(rng.randrange(1, 12))
        elif action == 5:
            _damage_inside(data, rng)
        elif action == 6:
            data[place : place + 8] = struct.pack(
                ">q", rng.choice((-(2**63), -1, 0, 1, 2**53, 2**53 + 1, 2**63 - 1))
            )
        else:
            del data[place:]
    return bytes(data)


def _damage_inside(data: bytearray, rng: random.Random) -> None:
    """Change one frame's payload and keep its length true: what a parser of payloads must survive."""
    position = 0
    places = []
    while position + HEADER_BYTES <= len(data):
        length = struct.unpack_from(">I", data, position + 7)[0]
        if data[position] != 9 or position + HEADER_BYTES + length > len(data):
            break
        places.append((position, length))
        position += HEADER_BYTES + length
    if not places:
        return
    position, length = rng.choice(places)
    start = position + HEADER_BYTES
    payload = bytearray(data[start : start + length])
    if payload and rng.randrange(2):
        payload[rng.randrange(len(payload))] = rng.choice((*INTERESTING, rng.randrange(256)))
    elif rng.randrange(2):
        del payload[rng.randrange(len(payload) + 1) :]
    else:
        payload += rng.randbytes(rng.randrange(1, 9))
    if rng.randrange(4) == 0:
        data[position + 2] = rng.randrange(0x43)
    data[start : start + length] = payload
    struct.pack_into(">I", data, position + 7, len(payload))
