"""TLS on both ports: found by the first byte, inside it everything as without; certificates that change."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from nexo.errors import ConfigError
from nexo.server.accounts.editing import editing
from nexo.server.config import load
from nexo.server.tls import Certificates, not_after
from tests.certificates import Authority
from tests.conftest import Server, running
from tests.surroundings import environment
from tests.vectors.wire import DATA, OK, Wire, request, string

SET, GET, PING = 0x02, 0x03, 0x40
NOT_AUTHORIZED, PROTOCOL_ERROR, LIMIT_EXCEEDED = 0x04, 0x09, 0x0B


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def robot(authority: Authority) -> str:
    return authority.issue("robot.pem", "robot@example.org", common="robot")


@pytest.fixture(scope="module")
def secure(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with TLS for those who want it, which asks for certificates."""
    flags = ("--tls-cert-file", authority.server(), "--tls-client-ca-file", authority.ca_file)
    with running(tmp_path_factory.mktemp("server"), *flags, "--greeting-seconds", "5") as started:
        yield started


def wired(server: Server, context: ssl.SSLContext, receive_buffer: int = 0) -> Wire:
    """A native connection within TLS."""
    wire = Wire(server.port, receive_buffer=receive_buffer)
    wire.socket = context.wrap_socket(wire.socket, server_hostname="localhost")
    return wire


def serial(server: Server, authority: Authority) -> object:
    with wired(server, authority.context()) as wire:
        assert isinstance(wire.socket, ssl.SSLSocket)
        certificate = wire.socket.getpeercert()
        assert certificate is not None
        return certificate["serialNumber"]


def test_native_and_http_with_and_without(secure: Server, authority: Authority, robot: str) -> None:
    http_port = int(secure.http.rpartition(":")[2])
    client = httpx.Client(verify=authority.context(robot), trust_env=False)
    with Wire(secure.port) as plain, wired(secure, authority.context(robot)) as named:
        assert plain.call(PING).code == DATA
        assert named.call(PING).code == DATA
        for port in (secure.port, http_port):
            for scheme in ("http", "https"):
                assert client.get(f"{scheme}://localhost:{port}/readyz").json()["status"] == "ok"
        items = client.get(f"https://localhost:{secure.port}/api/v1/connections").json()["items"]
        seen = {(one["protocol"], one["tls"], one["certificate"]) for one in items}
        assert {("native", False, ""), ("native", True, "robot"), ("http", True, "robot")} <= seen
        own = next(one for one in items if one["protocol"] == "http" and one["tls"])
        with contextlib.suppress(httpx.RemoteProtocolError):  # it closes the connection that asks
            client.delete(f"https://localhost:{secure.port}/api/v1/connections/{own['id']}")
        assert plain.call(PING).code == DATA
    metrics = httpx.get(f"{secure.http}/metrics", trust_env=False).text
    assert "nexo_tls_certificate_stale 0.0" in metrics
    assert "nexo_tls_certificate_expiry_timestamp_seconds" in metrics


def test_alpn_is_answered(secure: Server, authority: Authority) -> None:
    context = authority.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with wired(secure, context) as wire:
        assert isinstance(wire.socket, ssl.SSLSocket)
        assert wire.socket.selected_alpn_protocol() == "http/1.1"
        assert wire.socket.version() == "TLSv1.3"


def test_big_answers_to_a_slow_reader_and_the_end_after_them(secure: Server, authority: Authority) -> None:
    """4 MiB up, 32 MiB down through a small window, then an error and the end: nothing is lost on the way."""
    value = bytes(range(256)) * 16384
    with wired(secure, authority.context(), receive_buffer=64 * 1024) as wire:
        assert wire.call(SET, string("big") + bytes(2) + value).code == OK
        wire.send(b"".join(request(GET, number, string("big")) for number in range(1, 9)) + b"\x07" * 11)
        for number in range(1, 9):
            got = wire.frame()
            assert got.correlation == number and got.payload.endswith(value)
        assert wire.frame().error[0] == PROTOCOL_ERROR
        assert wire.closed()


def test_many_connections(secure: Server, authority: Authority) -> None:
    context = authority.context()
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(wired(secure, context)) for _ in range(100)]
        for wire in wires:
            wire.send(request(PING, 9, b"x"))
        assert [wire.frame().payload for wire in wires] == [b"x"] * 100


def test_the_bound_on_connections(authority: Authority, start_server: Callable[..., Server]) -> None:
    """Counts what is within TLS like what is not, HTTP included; one more is told, in TLS."""
    server = start_server("--tls-cert-file", authority.server("bound.pem"), "--connections-max", "3")
    context = authority.context()
    with wired(server, context) as first, Wire(server.port) as second:
        assert first.call(PING).code == DATA
        assert second.call(PING).code == DATA
        with httpx.Client(verify=context, trust_env=False) as client:
            assert client.get(f"https://localhost:{server.port}/readyz").status_code == 200
            with wired(server, context) as third:
                code, message = third.frame().error
                assert code == LIMIT_EXCEEDED and "connections_max is 3" in message
                assert third.closed()


@pytest.mark.parametrize(
    "garbage",
    [b"\x16" * 600, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"\x16\x03\x01\x40\x00" + bytes(100)],
    ids=["noise", "empty hello", "cut off"],
)
def test_garbage_instead_of_a_handshake(secure: Server, authority: Authority, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", secure.port)) as sock:
        sock.sendall(garbage)
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(4096):
                pass
    with wired(secure, authority.context()) as wire:
        assert wire.call(PING).code == DATA
    assert "Traceback" not in secure.log()


def test_one_deadline_for_handshake_and_greeting(
    authority: Authority, start_server: Callable[..., Server]
) -> None:
    server = start_server("--tls-cert-file", authority.server("slow.pem"), "--greeting-seconds", "1")
    began = time.monotonic()
    with Wire(server.port) as silent, Wire(server.port) as cut, wired(server, authority.context()) as mute:
        cut.send(b"\x16\x03\x01\x02\x00\x01")
        assert b"no greeting within 1 seconds" in silent.socket.recv(200)
        assert b"no greeting within 1 seconds" in mute.socket.recv(200)
        cut.socket.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            while cut.socket.recv(100):
                pass
    assert time.monotonic() - began < 6


def answer_to_nobody(server: Server, authority: Authority) -> bytes:
    """What a client without a certificate hears."""
    try:
        with wired(server, authority.context()) as nobody:
            nobody.send(request(PING, 1, b"x"))
            return nobody.socket.recv(100)
    except (ssl.SSLError, ConnectionError):
        return b""


def test_required(authority: Authority, robot: str, start_server: Callable[..., Server]) -> None:
    """Without TLS, or without a certificate, nobody gets further than the reason."""
    server = start_server(
        *("--tls-cert-file", authority.server("required.pem"), "--tls-mode", "required"),
        *("--tls-client-ca-file", authority.ca_file, "--tls-client-certs", "required"),
    )
    http_port = int(server.log().partition("https://127.0.0.1:")[2].split()[0])
    with Wire(server.port) as plain:
        plain.send(request(PING, 1))
        code, message = plain.frame().error
        assert code == NOT_AUTHORIZED and "TLS connections only" in message
        assert plain.closed()
    for port in (server.port, http_port):
        answer = httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False)
        assert answer.status_code == 400 and "https://" in answer.text
    assert answer_to_nobody(server, authority) == b""
    with wired(server, authority.context(robot)) as wire:
        assert wire.call(PING).code == DATA


def test_a_renewed_certificate_is_used_at_once(
    authority: Authority, start_server: Callable[..., Server]
) -> None:
    """By SIGHUP and by itself; what does not load changes nothing but a metric; connections that stand go on."""
    file = authority.server("renewed.pem")
    server = start_server("--tls-cert-file", file)
    metrics = f"{server.http}/metrics"

    def until(check: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not check():
            assert time.monotonic() < deadline, server.log()
            time.sleep(0.05)

    with wired(server, authority.context()) as standing:
        first = serial(server, authority)
        authority.server("renewed.pem")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: serial(server, authority) != first)
        second = serial(server, authority)
        authority.server("renewed.pem")
        until(lambda: serial(server, authority) != second)
        third = serial(server, authority)
        Path(file).write_text("no certificate")
        until(lambda: "nexo_tls_certificate_stale 1.0" in httpx.get(metrics, trust_env=False).text)
        assert "the old one stays" in server.log()
        assert serial(server, authority) == third
        authority.server("renewed.pem")
        until(lambda: serial(server, authority) != third)
        assert "nexo_tls_certificate_stale 0.0" in httpx.get(metrics, trust_env=False).text
        assert standing.call(PING).code == DATA


def test_when_a_certificate_ends(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    soon = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    late = datetime(2055, 1, 2, 3, 4, 5, tzinfo=UTC)  # a GeneralizedTime, which begins with 2050
    assert not_after(authority.server("late.pem", until=late)) == late.timestamp()
    file = authority.server("soon.pem", until=soon)
    certificates = Certificates(file, "", "", "optional")
    assert certificates.expires_at == soon.timestamp()
    assert "renew it" in caplog.text
    caplog.clear()
    certificates.warn(time.time() + 60)
    assert not caplog.text
    certificates.warn(soon.timestamp() + 60)
    assert "has expired" in caplog.text


def test_certificates_that_are_none(authority: Authority, tmp_path: Path) -> None:
    nothing, text = str(tmp_path / "missing.pem"), tmp_path / "text.pem"
    text.write_text("text")
    file = authority.server("one.pem")
    other = authority.server("other.pem")
    for given, words in (
        ((nothing, "", "", "optional"), "cannot read"),
        ((str(text), "", "", "optional"), "no certificate in"),
        ((file, other, "", "optional"), "does not belong"),
        ((file, "", str(text), "optional"), "tls_client_ca_file"),
    ):
        with pytest.raises(ConfigError, match=words):
            Certificates(*given)


def test_a_server_whose_certificate_is_none_does_not_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "nexo",
            "serve",
            "--port",
            "0",
            "--tls-cert-file",
            str(tmp_path / "missing.pem"),
        ],
        capture_output=True,
        text=True,
        env=environment(NEXO_DATA_DIR=str(tmp_path / "data")),
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "cannot read" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"tls_key_file": "x"}, "needs tls_cert_file"),
        ({"tls_client_ca_file": "x"}, "needs tls_cert_file"),
        ({"tls_mode": "required"}, "needs tls_cert_file"),
        ({"tls_cert_file": "x", "tls_client_certs": "required"}, "needs tls_client_ca_file"),
    ],
)
def test_settings_that_miss_another(flags: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(None, {}, flags)


@pytest.mark.debian
@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")
@pytest.mark.parametrize(("version", "works"), [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)])
def test_versions(secure: Server, authority: Authority, version: str, works: bool) -> None:
    done = subprocess.run(
        [
            *("openssl", "s_client", version, "-connect", f"127.0.0.1:{secure.port}"),
            *("-CAfile", authority.ca_file, "-verify_return_error", "-cipher", "DEFAULT@SECLEVEL=0"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode == 0) is works, done.stderr


def test_a_certificate_is_an_account(tmp_path: Path, authority: Authority, robot: str) -> None:
    """Without any other credentials, over both protocols; and of no account it is as good as none."""
    file = tmp_path / "data" / "accounts.toml"
    with editing(file) as accounts:
        account = accounts.add("arm")
        account["certificate"] = "robot"
        account["permissions"] = ["store:* arm/*"]
    flags = ("--tls-cert-file", authority.server("arm.pem"), "--tls-client-ca-file", authority.ca_file)
    with running(tmp_path, *flags) as server:
        with wired(server, authority.context(robot)) as wire:
            assert wire.call(SET, string("arm/x") + bytes(2) + b"v").code == OK
            code, message = wire.call(SET, string("other") + bytes(2) + b"v").error
            assert (code, message) == (
                NOT_AUTHORIZED,
                "account 'arm' has no permission for store:write on 'other'",
            )
        key = f"https://localhost:{server.port}/api/v1/store/keys/arm%2Fx"
        with httpx.Client(verify=authority.context(robot), trust_env=False) as client:
            assert client.get(key).json()["value"] == "dg=="
            assert client.get(key.replace("arm%2F", "")).status_code == 403
        stranger = authority.issue("stranger.pem", "stranger@example.org", common="stranger")
        with httpx.Client(verify=authority.context(stranger), trust_env=False) as client:
            assert client.get(key).status_code == 401
        with wired(server, authority.context(stranger)) as wire:
            assert wire.call(GET, string("arm/x")).error[0] == NOT_AUTHORIZED
