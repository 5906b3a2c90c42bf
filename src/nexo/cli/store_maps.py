"""`nexo store maps, create-map, delete-map`: which keys are kept on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from nexo.cli import exits
from nexo.cli.definitions import WORDS, Setting, create, definition_options
from nexo.cli.link import Target, client_command, talk
from nexo.cli.tables import confirmed, write_struct, write_table

if TYPE_CHECKING:
    from nexo.client import Client

SETTINGS: Final = (
    Setting(
        "durability", WORDS(["memory", "flush", "fsync"]), "When a change is confirmed. fsync unless given."
    ),
)


@client_command("maps")
@click.argument("prefix", default="")
def maps(target: Target, as_json: bool, prefix: str) -> int:
    """Print the maps whose prefixes begin with PREFIX: prefix, durability, keys, bytes.

    Ends with 1 when there is none.

    \b
    Examples:
      nexo store maps
      nexo store maps --json | jq .keys
    """

    async def work(client: Client) -> int:
        found = await client.store.maps(prefix)
        if as_json:
            for info in found:
                write_struct(info, True)
        else:
            rows = ((info.prefix, info.durability, info.keys, info.bytes) for info in found)
            write_table(("PREFIX", "DURABILITY", "KEYS", "BYTES"), rows)
        return exits.OK if found else exits.NEGATIVE

    return talk(target, work)


@client_command("create-map")
@click.argument("prefix")
@definition_options(SETTINGS)
def create_map(target: Target, as_json: bool, prefix: str, **options: Any) -> int:
    """Keep the keys that begin with PREFIX on disk; prints "created", or "unchanged" when they are.

    Keys that are there already are kept as well. When the map is there with another durability, that is
    told, and it ends with 3.

    \b
    Examples:
      nexo store create-map session:
      nexo store create-map cart: --durability flush
      nexo store create-map session:cache: --durability memory     all of session: but these
    """

    def work(client: Client) -> Any:
        given = {name: value for name, value in options.items() if value is not None}
        return create(client.store.create_map, prefix, given, as_json)

    return talk(target, work)


@client_command("delete-map")
@click.argument("prefix")
@click.option("--keys", is_flag=True, help="Its keys, too; else they stay, in memory.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete_map(target: Target, as_json: bool, prefix: str, keys: bool, yes: bool) -> int:
    """Keep the keys that begin with PREFIX on disk no longer. Ends with 1 when there is no such map.

    \b
    Examples:
      nexo store delete-map session:
      nexo store delete-map cart: --keys --yes
    """
    if keys:
        confirmed(f"Delete the map {prefix} with all its keys?", yes)

    async def work(client: Client) -> int:
        await client.store.delete_map(prefix, keys=keys)
        return exits.OK

    return talk(target, work)


COMMANDS: Final = (maps, create_map, delete_map)
