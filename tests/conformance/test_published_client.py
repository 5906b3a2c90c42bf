"""nexo-client 7.0.0 as its users install it, against this server: what worked for them works here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.conftest import begin
from tests.vectors.serving import Serving

Published = Callable[..., dict[str, object]]

CHECKS = {"store": 9, "pubsub": 9, "queues": 11, "streams": 8}


@pytest.mark.parametrize(("script", "checks"), CHECKS.items())
def test_published_client(published: Published, script: str, checks: int) -> None:
    outcome = published(script)
    failed = {name: text for name, text in outcome.items() if text != "ok"}
    assert not failed, "\n".join(f"{name}:\n{text}" for name, text in failed.items())
    assert len(outcome) == checks, "a check was lost"


def test_queues_and_streams_survive_the_server(tmp_path: Path) -> None:
    """Killed under load and started again on its port and data: subscriptions go on, with all that was confirmed."""
    with Serving("--data-dir", str(tmp_path)) as first:
        script = begin("survive", first.port)
        assert script.stdin is not None
        assert script.stdout is not None
        try:
            assert script.stdout.readline() == "ready\n"
            first.kill()
            print(file=script.stdin, flush=True)
            assert script.stdout.readline() == "lost\n"
            with Serving("--data-dir", str(tmp_path), port=first.port):
                print(file=script.stdin, flush=True)
                out, err = script.communicate(timeout=60)
                assert script.returncode == 0, err
        finally:
            script.kill()
            script.wait()
    found = json.loads(out.splitlines()[-1])
    assert found.pop("confirmed") > 100
    assert found == {"gaps": [], "changed": [], "unknown": []}


def test_reconnects_to_a_restarted_server() -> None:
    with Serving() as first:
        script = begin("reconnect", first.port)
        assert script.stdin is not None
        assert script.stdout is not None
        try:
            assert script.stdout.readline() == "ready\n"
            first.kill()
            print(file=script.stdin, flush=True)
            assert script.stdout.readline() == "lost\n"
            with Serving(port=first.port):
                print(file=script.stdin, flush=True)
                out, err = script.communicate(timeout=30)
                assert script.returncode == 0, err
        finally:
            script.kill()
            script.wait()
    assert json.loads(out.splitlines()[-1]) == {
        "error": "NotConnectedError",
        "before": None,
        "got": [["re/exact", "exact"], ["wild", "wild"]],
    }
