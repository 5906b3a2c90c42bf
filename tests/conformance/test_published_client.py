"""nexo-client 7.0.0 as its users install it, against this server: what worked for them works here."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.conformance.conftest import begin
from tests.vectors.serving import Serving

Published = Callable[..., dict[str, object]]

STORE_CHECKS = 9
PUBSUB_CHECKS = 10


@pytest.mark.parametrize(("script", "checks"), [("store", STORE_CHECKS), ("pubsub", PUBSUB_CHECKS)])
def test_published_client(published: Published, script: str, checks: int) -> None:
    outcome = published(script)
    failed = {name: text for name, text in outcome.items() if text != "ok"}
    assert not failed, "\n".join(f"{name}:\n{text}" for name, text in failed.items())
    assert len(outcome) == checks, "a check was lost"


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
