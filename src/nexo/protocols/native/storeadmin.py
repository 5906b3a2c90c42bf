"""MAP_ADMIN: the declared maps of the store, as JSON both ways. Actions and fields: docs/store.md."""

from __future__ import annotations

from typing import Final

from nexo.brokers.journal import FLUSH, LEVELS, level_number
from nexo.brokers.maps import StoreMap
from nexo.errors import InvalidArgumentError
from nexo.protocols.native.frames import Payload, check_utf8
from nexo.protocols.native.jsonadmin import Arguments, answer, answer_at
from nexo.protocols.native.store import StoreCommands

DURABILITY_DEFAULT: Final = "fsync"


def administer(commands: StoreCommands, payload: Payload) -> None:
    """Run one action and answer with JSON. A change is answered when every key of the map has been moved."""
    prefix = payload.string("the prefix")
    action = payload.string("the action").decode(errors="replace")
    arguments = Arguments(payload.json_object("the arguments"))
    check_utf8(prefix, "the prefix")
    maps = commands.store.maps
    if action == "list":
        arguments.finish()
        answer(commands.channel, [described(one) for one in maps.all() if one.prefix.startswith(prefix)])
    elif action == "describe":
        arguments.finish()
        answer(commands.channel, described(maps.get(prefix)))
    elif action == "create":
        create(commands, prefix, arguments)
    elif action == "delete":
        delete(commands, prefix, arguments)
    else:
        raise InvalidArgumentError(f"unknown action {action!r}: list, describe, create, delete")


def create(commands: StoreCommands, prefix: bytes, arguments: Arguments) -> None:
    """Declare a map, or find it: the status says which."""
    level = level_number(arguments.text("durability", DURABILITY_DEFAULT))
    arguments.finish()
    store = commands.store
    if not commands.outcome and store.maps.moving is None:
        commands.channel.node.check_room()
        commands.outcome = "created" if store.declare(prefix, level) else "unchanged"
    outcome = settled(commands)
    if outcome:
        answer_at(
            commands.channel, max(level, FLUSH), {"status": outcome, **described(store.maps.get(prefix))}
        )


def delete(commands: StoreCommands, prefix: bytes, arguments: Arguments) -> None:
    """Declare a map no longer. Its keys stay, as what they are without it, or are deleted."""
    remove = arguments.flag("keys")
    arguments.finish()
    store = commands.store
    if not commands.outcome and store.maps.moving is None:
        level = store.maps.get(prefix).level
        store.undeclare(prefix, remove)
        commands.outcome = LEVELS[max(level, store.maps.find(prefix).level, FLUSH)]
    outcome = settled(commands)
    if outcome:
        answer_at(commands.channel, level_number(outcome), {"status": "deleted"})


def settled(commands: StoreCommands) -> str:
    """What the command's answer says, if it was run and no keys are to be moved any more; else it is run again."""
    channel = commands.channel
    outcome, commands.outcome = commands.outcome, ""
    if commands.store.maps.moving is None and outcome:
        return outcome
    # Keys are not moved while the disk is full: that is no time to wait for.
    channel.node.check_room()
    commands.outcome = outcome
    channel.wait()
    return ""


def described(one: StoreMap) -> dict[str, object]:
    return {
        "prefix": one.prefix.decode(errors="replace"),
        "durability": LEVELS[one.level],
        "keys": int(one.keys),
        "bytes": int(one.bytes),
    }
