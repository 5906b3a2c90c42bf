"""Accounts over the real interfaces: native, HTTP, the command line and the file, on a server that runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

import nexo
from nexo.client import Client
from nexo.errors import (
    ConnectionClosedError,
    LimitExceededError,
    NexoError,
    NotAuthorizedError,
    NotConnectedError,
)
from nexo.server.accounts.editing import editing, tokens_of
from nexo.server.accounts.secrets import digest, hash_password, new_token
from tests.cli.processes import run
from tests.conftest import Server, running
from tests.vectors.wire import ERR, Wire, b, request

Start = Callable[..., Server]

PATIENCE_SECONDS = 20.0
SHOP = ["queue:push mail.*", "queue:consume mail.*", "store:* shop/*", "pubsub:* {user}/#", "stream:* shop-*"]
HASHES = {name: hash_password(f"{name}'s secret") for name in ("ann", "shop", "mallory", "watch")}
TOKEN = new_token()


def furnish(folder: Path, **more: list[str]) -> Path:
    """The accounts of a server that is to run on `folder`/data: their names are their users."""
    file = folder / "data" / "accounts.toml"
    wanted = {
        "ann": ["admin"],
        "shop": SHOP,
        "mallory": ["store:read mallory/*"],
        "watch": ["monitor"],
        **more,
    }
    with editing(file) as accounts:
        for name, permissions in wanted.items():
            account = accounts.add(name)
            if name in HASHES:
                account["password"] = HASHES[name]
            account["permissions"] = permissions
        tokens_of(accounts.get("shop")).append("ci", {"sha256": digest(TOKEN.encode())})
    return file


@pytest.fixture
def start() -> Iterator[Start]:
    """start(folder, *flags): servers that end with the test."""
    with ExitStack() as stack:
        yield lambda folder, *flags: stack.enter_context(running(folder, *flags))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("accounts")


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[Server]:
    """A server with accounts, for tests that change none."""
    furnish(folder)
    with running(folder) as server:
        yield server


def connect(server: Server, user: str | None = None, password: str | None = None) -> nexo.blocking.Client:
    if user is not None and password is None:
        password = f"{user}'s secret"
    return nexo.blocking.connect(
        host=server.host, port=server.port, user=user, password=password, reconnect=False
    )


def http(server: Server, user: str = "", **headers: str) -> httpx.Client:
    auth = (user, f"{user}'s secret") if user else None
    return httpx.Client(base_url=server.http, auth=auth, headers=headers, trust_env=False, timeout=30)


# Who comes in.


def test_who_shows_nothing_is_refused_and_told_what_to_do(guarded: Server) -> None:
    with pytest.raises(NotAuthorizedError, match="log in with a user and password, or a token"):
        connect(guarded)
    with http(guarded) as client:
        answer = client.get("/api/v1/overview")
        assert (answer.status_code, answer.json()["code"]) == (401, "LOGIN_REQUIRED")
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert client.get("/").status_code == 401
        assert client.get("/livez").status_code == client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("user", "password"), [("ann", "wrong"), ("nobody", "ann's secret"), ("anonymous", ""), ("ann\0", "x")]
)
def test_wrong_credentials_are_refused_in_one_way(guarded: Server, user: str, password: str) -> None:
    with pytest.raises(NotAuthorizedError, match=r"^wrong user or password$"):
        connect(guarded, user, password=password)


def test_a_password_and_a_token_log_in_everywhere(guarded: Server) -> None:
    with connect(guarded, "shop") as client:
        client.store.map.set("shop/a", 1)
    with nexo.blocking.connect(host=guarded.host, port=guarded.port, token=TOKEN) as client:
        assert client.store.map.get("shop/a") == 1
    path = "/api/v1/store/keys/shop%2Fa"
    for client_ in (http(guarded, "shop"), http(guarded, Authorization=f"Bearer {TOKEN}")):
        with client_ as api:
            assert api.get(path).json()["value"] == 1
    for header in ("Bearer nonsense", "Basic ?", "Basic YQ==", "Digest x", "Basic"):
        with http(guarded, Authorization=header) as api:
            assert api.get(path).status_code == 401, header


def test_commands_wait_for_the_login_before_them(guarded: Server) -> None:
    with Wire(guarded.port) as wire:
        secret = b"ann's secret"
        payload = b("s'x' 00000000 01 s'ann'") + len(secret).to_bytes(4, "big") + secret
        wire.send(
            request(0x01, 1, payload) + request(0x02, 2, b("s'k' 00 00 'v'")) + request(0x03, 3, b("s'k'"))
        )
        answers = [wire.frame() for _ in range(3)]
        assert [(one.correlation, one.code) for one in answers] == [(1, 3), (2, 0), (3, 3)]


def test_who_has_not_logged_in_sends_little_and_not_for_long(start: Start, tmp_path: Path) -> None:
    furnish(tmp_path)
    server = start(tmp_path, "--greeting-seconds", "2")
    with Wire(server.port) as wire:
        wire.send(request(0x40, 1, bytes(16 * 1024 + 1))[:11])
        _, message = wire.frame().error
        assert "login_bytes_max is 16384" in message
        assert wire.closed()
    with Wire(server.port) as wire:
        assert wire.call(0x40, b"").code == 3  # a PING is a complete command, and no login
        _, message = wire.frame().error
        assert message == "no login within 2 seconds"
        assert wire.closed()
    with connect(server, "ann") as client:
        client.store.map.set("large", b"x" * 100_000)
        time.sleep(2.1)
        client.ping()


def test_guesses_are_slowed_and_counted(start: Start, tmp_path: Path) -> None:
    furnish(tmp_path)
    server = start(tmp_path)
    took = []
    for _ in range(6):
        began = time.monotonic()
        with pytest.raises(NotAuthorizedError):
            connect(server, "ann", password="hunter2")
        took.append(time.monotonic() - began)
    assert took[5] - min(took[:3]) > 0.3
    with connect(server, "ann") as client:  # after its wait it is let in, and the failures are forgotten
        client.ping()
    with http(server, "watch") as api:
        metrics = api.get("/metrics").text
    assert "nexo_logins_failed_total 6.0" in metrics
    assert "account 'ann' from 127.0.0.1:" in server.log()
    assert "hunter2" not in server.log()


# What they may do.


def test_native_permissions(guarded: Server) -> None:
    with connect(guarded, "ann") as ann:
        ann.queue.create("mail.out")
        ann.queue.create("other")
        ann.store.map.set("private", 1)
    with connect(guarded, "shop") as shop:
        shop.queue.get("mail.out").push("hello")
        assert [info.name for info in shop.queue.list()] == ["mail.out"]
        for call in (
            lambda: shop.queue.get("other").push("x"),
            lambda: shop.store.map.get("private"),
            lambda: shop.store.map.clear_all(),
            lambda: list(shop.store.map.scan("")),
            lambda: shop.pubsub.topic("ann/x").publish(1),
            lambda: shop.pubsub.pattern("#").subscribe().__enter__(),
        ):
            with pytest.raises(NotAuthorizedError, match="account 'shop' has no permission for"):
                call()
        with shop.pubsub.pattern("shop/#").subscribe() as subscription:
            shop.pubsub.topic("shop/x").publish("hi")
            assert next(iter(subscription)).data == "hi"


def test_http_permissions(guarded: Server) -> None:
    with http(guarded, "ann") as ann, http(guarded, "shop") as shop, http(guarded, "watch") as watch:
        for name in ("mail.http", "other.http"):
            assert ann.post("/api/v1/queues", json={"name": name}).status_code == 201
        push = {"messages": [{"type": "str", "value": "x"}]}
        assert shop.post("/api/v1/queues/mail.http/messages", json=push).status_code == 201
        refused = shop.post("/api/v1/queues/other.http/messages", json=push)
        assert (refused.status_code, refused.json()["code"]) == (403, "NOT_AUTHORIZED")
        assert "queue:push on 'other.http'" in refused.json()["detail"]
        names = {one["name"] for one in shop.get("/api/v1/queues").json()["items"]}
        assert "mail.http" in names and "other.http" not in names
        assert shop.get("/api/v1/overview").status_code == 403
        assert watch.get("/api/v1/overview").status_code == 200
        assert watch.get("/api/v1/queues/mail.http/messages?state=ready").status_code == 403
        assert watch.delete("/api/v1/connections/1").status_code == 403
        assert {one["account"] for one in ann.get("/api/v1/connections").json()["items"]} <= {
            "ann",
            "shop",
            "",
        }


def test_anonymous_may_do_what_its_account_says(start: Start, tmp_path: Path) -> None:
    furnish(tmp_path, anonymous=["pubsub:subscribe public/#"])
    server = start(tmp_path)
    with connect(server) as client:
        with client.pubsub.pattern("public/#").subscribe():
            pass
        with pytest.raises(NotAuthorizedError, match="pubsub:publish on 'public/x'"):
            client.pubsub.topic("public/x").publish(1)
    with http(server) as api:
        assert api.get("/api/v1/overview").status_code == 401


# Changes while it runs.


async def gone(client: Client) -> None:
    """Returns when the server has closed a client's connection."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        with contextlib.suppress(ConnectionClosedError, NotConnectedError):
            while True:
                await client.ping()
                await asyncio.sleep(0.02)


async def allowed(client: Client, key: str) -> None:
    """Returns when a client may set a key."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(NotAuthorizedError):
                await client.store.map.set(key, 1)
                return
            await asyncio.sleep(0.02)


def test_accounts_change_without_a_restart(start: Start, tmp_path: Path) -> None:
    file = furnish(tmp_path)
    server = start(tmp_path)
    where = ("--accounts-file", str(file))

    async def main() -> None:
        async def login(user: str) -> Client:
            return await nexo.connect(
                host=server.host, port=server.port, user=user, password=f"{user}'s secret", reconnect=False
            )

        shop, mallory = await login("shop"), await login("mallory")
        assert run("user", "grant", "shop", "store:write more/*", *where).code == 0
        await allowed(shop, "more/x")
        assert run("user", "revoke", "shop", "store:write more/*", *where).code == 0
        await gone(shop)
        await mallory.ping()  # whom it does not concern stays
        assert run("user", "remove", "mallory", "--yes", *where).code == 0
        await gone(mallory)
        with pytest.raises(NotAuthorizedError):
            await login("mallory")
        file.write_text("nonsense")
        ann = await login("ann")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "the accounts not read again" not in server.log():
                await asyncio.sleep(0.02)
        await ann.store.map.set("still", 1)

    asyncio.run(main())


def test_a_token_ends_with_its_time(start: Start, tmp_path: Path) -> None:
    file = furnish(tmp_path)
    server = start(tmp_path)
    made = run("user", "token", "shop", "short", "--expires", "3s", "--accounts-file", str(file))
    token = made.text.strip()
    assert token.startswith("nexo_") and token not in file.read_text()

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    client = await nexo.connect(
                        host=server.host, port=server.port, token=token, reconnect=False
                    )
                except NotAuthorizedError:
                    await asyncio.sleep(0.05)
                else:
                    break
        await client.store.map.set("shop/x", 1)
        await gone(client)
        with pytest.raises(NotAuthorizedError, match="the token has expired"):
            await nexo.connect(host=server.host, port=server.port, token=token, reconnect=False)

    asyncio.run(main())


# Bounds.


def bounded(file: Path, **bounds: int) -> None:
    with editing(file) as accounts:
        for name, bound in bounds.items():
            accounts.get("shop")[name] = bound


def test_connections_of_an_account_are_bounded(start: Start, tmp_path: Path) -> None:
    bounded(furnish(tmp_path), connections_max=2)
    server = start(tmp_path)
    with connect(server, "shop"), connect(server, "shop") as second:
        with pytest.raises(LimitExceededError, match="connections_max of account 'shop' is 2"):
            connect(server, "shop")
        with connect(server, "ann") as ann:
            ann.ping()
        second.close()

        async def again() -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    with contextlib.suppress(LimitExceededError):
                        await (await nexo.connect(host=server.host, port=server.port, token=TOKEN)).close()
                        return

        asyncio.run(again())


def test_the_rate_of_an_account_is_that_of_all_its_connections(start: Start, tmp_path: Path) -> None:
    bounded(furnish(tmp_path), commands_per_second=100)
    server = start(tmp_path)

    async def main() -> None:
        clients = [
            await nexo.connect(host=server.host, port=server.port, token=TOKEN, reconnect=False)
            for _ in range(2)
        ]
        began = time.monotonic()
        await asyncio.gather(*(one.store.map.set(f"shop/{n}", 1) for n in range(150) for one in clients))
        assert time.monotonic() - began > 1.5  # 300 commands, of which 100 are saved up
        ann = await nexo.connect(host=server.host, port=server.port, user="ann", password="ann's secret")
        began = time.monotonic()
        await asyncio.gather(*(ann.store.map.set(f"ann/{n}", 1) for n in range(300)))
        assert time.monotonic() - began < 1.5
        for client in (ann, *clients):
            await client.close()

    asyncio.run(main())


# The address, and the files.


def test_without_accounts_only_loopback(tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path / "data"), "--port", "0", "--http", "off", "--host", "0.0.0.0")
    done = run("serve", *data)
    assert done.code == 2
    assert "there are no accounts, so nexo listens on loopback only" in done.err
    assert "nexo user add" in done.err and "without_accounts" in done.err


def test_with_accounts_or_on_demand_anywhere(start: Start, tmp_path: Path) -> None:
    server = start(tmp_path, "--host", "0.0.0.0", "--without-accounts", "anywhere")
    assert "there are no accounts" in server.log()
    assert server.stop() == 0
    furnish(tmp_path)
    server = start(tmp_path, "--host", "0.0.0.0")
    assert "there are no accounts" not in server.log()
    with socket.create_connection(("127.0.0.1", server.port)):
        pass


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("x = 1", "tables [accounts.NAME] alone, and no 'x'"),
        ("[accounts.ann]\npasword = ''", "unknown field pasword"),
        ("[accounts.ann]\npassword = 'clear'", "password is not an argon2 hash"),
        ("[accounts.ann]\npermissions = ['all']", "permission 'all'"),
        ("[accounts.'an n']", "a name has 1 to 64 letters"),
        ("[accounts.anonymous.tokens.x]\nsha256 = '" + "0" * 64 + "'", "for those without credentials"),
        ("[accounts.ann.tokens.x]\nsha256 = '0'", "64 hexadecimal digits"),
        (f"[accounts.ann.tokens.x]\nsha256 = '{'0' * 64}'\nexpires = 2027-01-01T00:00:00", "no time zone"),
        ("accounts = 3", "no table"),
        ("[accounts", "not TOML"),
    ],
)
def test_a_mistake_stops_the_start(tmp_path: Path, text: str, wrong: str) -> None:
    file = tmp_path / "accounts.toml"
    file.write_text(text)
    done = run("serve", "--port", "0", "--data-dir", str(tmp_path / "d"), "--accounts-file", str(file))
    assert done.code == 2
    assert wrong in done.err and str(file) in done.err
    assert len(done.err.splitlines()) == 1


def test_accounts_in_the_configuration_file(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "nexo.toml"
    file.write_text(
        f'eviction = "lru"\n\n[accounts.ann]\npassword = "{HASHES["ann"]}"\npermissions = ["admin"]\n'
    )
    server = start(tmp_path, "--config", str(file))
    with connect(server, "ann") as client:
        client.ping()
    with pytest.raises(NexoError):
        connect(server)


def test_the_command_line_logs_in(guarded: Server) -> None:
    where = {"NEXO_PORT": str(guarded.port)}
    assert run("ping", "--count", "1", **where).code == 3
    secret = {"NEXO_USER": "shop", "NEXO_PASSWORD": "shop's secret"}
    assert run("store", "set", "shop/cli", "1", **where, **secret).code == 0
    assert run("store", "get", "shop/cli", **where, NEXO_TOKEN=TOKEN).text == "1\n"
    refused = run("store", "get", "other", **where, NEXO_TOKEN=TOKEN)
    assert refused.code == 3 and "store:read on 'other'" in refused.err


def test_editing_keeps_what_people_wrote(tmp_path: Path) -> None:
    file = tmp_path / "accounts.toml"
    where = ("--accounts-file", str(file))
    assert run("user", "list", *where).code == 1
    made = run("user", "add", "ann", "--admin", "--generate", *where)
    assert made.code == 0 and len(made.text) == 21
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text(file.read_text() + "\n# by hand\n[accounts.bob]\npermissions = []  # none yet\n")
    assert run("user", "grant", "bob", "monitor", *where).code == 0
    assert run("user", "passwd", "bob", "--password-stdin", *where, stdin=b"secret\n").code == 0
    assert "# by hand" in file.read_text()
    listed = run("user", "list", *where).text.splitlines()
    assert listed == ["ann\tpassword\tadmin", "bob\tpassword\tmonitor"]
    assert run("user", "list", "--json", *where).text.count('"password":true') == 2
    assert run("user", "limit", "bob", "--connections", "5", "--bytes-per-second", "1mb", *where).code == 0
    assert "connections_max = 5" in file.read_text() and "bytes_per_second = 1048576" in file.read_text()
    assert run("user", "limit", "bob", "--connections", "0", *where).code == 0
    assert "connections_max" not in file.read_text()
    before = file.read_text()
    wrong = run("user", "grant", "bob", "monitors", *where)
    assert wrong.code == 2 and "permission 'monitors'" in wrong.err
    assert run("user", "add", "ann", "--no-password", *where).code == 2
    assert run("user", "remove", "carl", "--yes", *where).code == 2
    assert run("user", "revoke", "bob", "admin", *where).code == 1
    assert file.read_text() == before


def test_errors_of_the_wire_are_not_authorized(guarded: Server) -> None:
    with Wire(guarded.port) as wire:
        answer = wire.call(0x03, b("s'k'"))
        assert answer.code == ERR and answer.error[0] == 0x04
        assert answer.error[1].startswith("log in first")
