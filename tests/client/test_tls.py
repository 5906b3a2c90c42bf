"""TLS of the clients and the command line; what is wrong is said together with what to do about it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import nexo
from tests.certificates import Authority
from tests.cli.processes import run
from tests.conftest import Server, running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def robot(authority: Authority) -> str:
    return authority.issue("robot.pem", "robot@example.org", common="robot")


@pytest.fixture(scope="module")
def secure(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = ("--tls-cert-file", authority.server(), "--tls-mode", "required", "--http", "off")
    more = ("--tls-client-ca-file", authority.ca_file, "--tls-client-certs", "required")
    with running(tmp_path_factory.mktemp("server"), *flags, *more) as started:
        yield started


@pytest.mark.asyncio
async def test_every_way_to_say_it(secure: Server, authority: Authority, robot: str) -> None:
    files = nexo.Tls(ca_file=authority.ca_file, cert_file=robot)
    for tls in (files, authority.context(robot)):
        async with nexo.connect(port=secure.port, tls=tls, reconnect=False) as client:
            await client.store.map.set("key", b"x" * 3_000_000)
            assert await client.store.map.get("key") == b"x" * 3_000_000
    with nexo.blocking.connect(port=secure.port, tls=files) as plain:
        plain.ping()


async def fault(port: int, tls: bool | nexo.Tls) -> str:
    with pytest.raises(nexo.NotConnectedError) as caught:
        await nexo.connect(host="127.0.0.1", port=port, tls=tls, reconnect=False, timeout=20)
    return str(caught.value)


@pytest.mark.asyncio
async def test_faults_say_what_to_do(
    secure: Server, server: Server, authority: Authority, robot: str, tmp_path: Path
) -> None:
    ours = nexo.Tls(ca_file=authority.ca_file, cert_file=robot)
    other = Authority(tmp_path)
    stranger = other.issue("stranger.pem", "x@example.org")
    for port, tls, words in (
        (server.port, ours, "speaks no TLS at this port"),
        (secure.port, False, "takes TLS connections only"),
        (secure.port, True, "give its CA as ca_file"),
        (secure.port, nexo.Tls(ca_file=other.ca_file, cert_file=robot), "give its CA as ca_file"),
        (secure.port, nexo.Tls(ca_file=authority.ca_file), "may want a certificate of the client"),
        (
            secure.port,
            nexo.Tls(ca_file=authority.ca_file, cert_file=stranger),
            "tls_client_ca_file has signed",
        ),
        (
            secure.port,
            nexo.Tls(ca_file=authority.ca_file, cert_file=robot, server_hostname="example.org"),
            "give that as server_hostname",
        ),
    ):
        assert words in await fault(port, tls)


@pytest.mark.asyncio
async def test_a_certificate_that_has_expired(authority: Authority, tmp_path: Path) -> None:
    file = authority.server("expired.pem", until=datetime.now(UTC) - timedelta(days=1))
    with running(tmp_path, "--tls-cert-file", file, "--http", "off") as server:
        assert "has expired" in await fault(server.port, nexo.Tls(ca_file=authority.ca_file))
        assert "has expired" in server.log()


def test_files_that_are_none(authority: Authority, tmp_path: Path) -> None:
    text = tmp_path / "text.pem"
    text.write_text("text")
    for tls, words in (
        (nexo.Tls(ca_file=str(tmp_path / "missing")), "ca_file"),
        (nexo.Tls(ca_file=str(text)), "ca_file"),
        (nexo.Tls(cert_file=str(text)), "cert_file"),
        (nexo.Tls(key_file=str(text)), "needs cert_file"),
    ):
        with pytest.raises(nexo.InvalidArgumentError, match=words):
            nexo.connect(tls=tls)
    assert isinstance(nexo.Tls().context(), ssl.SSLContext)


def test_the_command_line(secure: Server, authority: Authority, robot: str) -> None:
    port = str(secure.port)
    done = run("ping", "--port", port, "--ca-file", authority.ca_file, "--cert-file", robot)
    assert done.code == 0, done.err
    done = run("ping", NEXO_PORT=port, NEXO_TLS="1", NEXO_CA_FILE=authority.ca_file, NEXO_CERT_FILE=robot)
    assert done.code == 0, done.err
    done = run("ping", "--port", port, "--tls")
    assert done.code == 3 and "ca_file" in done.err and "Traceback" not in done.err
