"""Requests made up from the published description, by schemathesis: no route fails inside, whatever it is sent.

Hypothesis draws names, parameters and bodies, right and wrong ones; an answer is what the description says, or a
problem document. Event streams do not end, so they are left out.
"""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conftest import Server
from tests.server.http.kit import Api

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 8
"""For each of about fifty operations, with right and with wrong data: less than ten seconds."""
REQUEST_SECONDS_MAX = 35
"""A long poll may take thirty."""


def endless(operation: Any) -> bool:
    responses = operation.definition.raw["responses"].values()
    return any("text/event-stream" in answer.get("content", {}) for answer in responses)


@pytest.mark.slow
def test_no_request_makes_a_route_fail(server: Server, api: Api) -> None:
    schema: Any = schemathesis.openapi.from_dict(api.get("/openapi.json"))
    schema.config.update(base_url=api.address)
    operations = [found.ok() for found in schema.get_all_operations()]
    tried = [one for one in operations if not endless(one)]
    assert len(tried) > 40
    for operation in tried:
        send(operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE), api.address)
        if operation.body:  # parameters are texts in a URL: there are no wrong ones
            send(operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE), api.address)
    assert api.get("/livez") == {"status": "ok"}
    assert "Traceback" not in server.log()


def send(cases: Any, address: str) -> None:
    """Draw requests, send them, and look at the answers."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def check(case: Any) -> None:
        case.call_and_validate(base_url=address, checks=CHECKS, timeout=REQUEST_SECONDS_MAX)

    check()
