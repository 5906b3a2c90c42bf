"""What is special about the blocking client: threads, Ctrl-C, fork; and that it is what the async one says."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

import nexo
from nexo.client import blocking, portal
from tests.conftest import ROOT, SOURCE, Server

TOOL = ROOT / "tools/generate_blocking.py"
SPECIAL = {"__await__", "__aenter__", "__aexit__", "__aiter__", "__anext__"}


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_blocking", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_files_are_up_to_date() -> None:
    for path, text in tool().generate().items():
        assert path.read_text() == text, f"{path} is stale: make generate"
        assert "GENERATED" in text.splitlines()[0]


def test_a_stale_file_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = tool()
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    monkeypatch.setattr(generator, "TARGET", tmp_path / "blocking")
    monkeypatch.setattr(sys, "argv", ["generate_blocking.py", "--check"])
    assert generator.main() == 1
    assert "make generate" in capsys.readouterr().err


@pytest.mark.parametrize("name", tool().FACADES)
def test_every_method_is_there_with_its_parameters(name: str) -> None:
    from nexo.client import embedded

    source = getattr(embedded if name == "EmbeddedClient" else nexo, name)
    facade = getattr(blocking, name)
    for method, function in inspect.getmembers(source, callable):
        if method.startswith("_"):
            continue
        ours = getattr(facade, method)
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(function).parameters)
        assert ours.__doc__
    properties = {
        key
        for key, value in inspect.getmembers(source)
        if isinstance(value, property) and not key.startswith("_")
    }
    assert properties <= {key for key, value in inspect.getmembers(facade) if isinstance(value, property)}


def test_calls_of_many_threads_share_a_connection(server: Server) -> None:
    with nexo.blocking.connect(port=server.port) as client, ThreadPoolExecutor(20) as pool:
        client.store.map.delete("n")
        results = list(pool.map(lambda _: client.store.map.incr("n"), range(500)))
        assert sorted(results) == list(range(1, 501))


def test_ctrl_c_cancels_the_call_and_nothing_else(server: Server) -> None:
    # What a shell starts in the background ignores Ctrl-C, and so would this test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with (
        nexo.blocking.connect(port=server.port) as client,
        client.pubsub.pattern("never").subscribe() as messages,
    ):
        readers = messages._async._subscriber.inbox._readers
        main = threading.main_thread().ident
        assert main == threading.get_ident()

        def interrupt() -> None:
            while not readers:
                pass
            signal.pthread_kill(main, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            next(messages)
        thread.join()

        async def nobody_waits() -> None:
            async with asyncio.timeout(5):  # the call ends some turns after it was cancelled
                while not all(reader.done() for reader in readers):
                    await asyncio.sleep(0)

        portal.portal().call(nobody_waits)
        client.pubsub.topic("never").publish("after all")
        assert next(messages).data == "after all"


def test_a_call_from_the_loops_own_thread_is_refused() -> None:
    with nexo.blocking.embedded() as client:

        async def inside() -> str:
            with pytest.raises(nexo.NexoError, match="wait for itself"):
                client.ping()
            return "refused"

        assert portal.portal().call(inside) == "refused"


def test_errors_and_iteration() -> None:
    with nexo.blocking.embedded() as client:
        client.store.map.set_many({"a": 1, "b": 2})
        assert {entry.key: entry.value for entry in client.store.map.scan()} == {"a": 1, "b": 2}
        first = next(iter(client.store.map.scan()))
        assert first.key == "a"
        with pytest.raises(nexo.InvalidArgumentError):
            client.store.map.get("")
        watch = client.store.map.watch("a")
        watch.stop()
        assert list(watch) == []


FORKING = """
import os, nexo
client = nexo.blocking.embedded()
client.ping()
child = os.fork()
if child == 0:
    try:
        client.ping()
    except nexo.NexoError as error:
        assert "connect again in the child" in str(error)
        with nexo.blocking.embedded() as own:
            own.store.map.set("k", 1)
            os._exit(own.store.map.get("k") + 41)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
client.ping()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork() -> None:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", FORKING], env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
