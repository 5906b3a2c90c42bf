"""What is given to other programs: every metric and label in the Grafana dashboard and in the alerts is a server's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import nexo
from tests.certificates import Authority
from tests.conftest import ROOT, Server, running
from tests.server.http.kit import Api

TARGET_LABELS = {"job", "instance"}
"""What Prometheus itself adds."""
NOT_OURS = {"up"}

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/nexo.json").read_text())
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

METRIC = re.compile(r"\b(?:nexo_\w+|up)\b")
SELECTED = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
GROUPED = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
LEGEND = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}")


def queries() -> list[tuple[str, str, str]]:
    """(where, expression, text with labels) of each query."""
    found = [
        (panel["title"], target["expr"], target["legendFormat"])
        for panel in PANELS
        for target in panel["targets"]
    ]
    return found + [(rule["alert"], rule["expr"], json.dumps(rule["annotations"])) for rule in RULES]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a certificate, for that has metrics of its own."""
    folder = tmp_path_factory.mktemp("deploy")
    with running(folder, "--tls-cert-file", Authority(folder).server()) as started:
        yield started


@pytest.fixture(scope="module")
def exposed(server: Server) -> dict[str, set[str]]:
    """Each sample's name with its labels, from a server that has one of everything."""
    api = Api(server.http)
    with nexo.blocking.connect(port=server.port) as client:
        client.queue.create("jobs").push("x")
        stream = client.stream.create("events")
        stream.publish("x")
        with stream.group("readers").consume() as messages:
            next(iter(messages)).ack()
    api.get("/v1/queues")
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(api.get("/metrics")):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    api.client.close()
    return found


@pytest.mark.parametrize(("where", "expression", "shown"), queries(), ids=lambda value: str(value)[:40])
def test_queries_ask_for_what_there_is(
    where: str, expression: str, shown: str, exposed: dict[str, set[str]]
) -> None:
    names = set(METRIC.findall(expression)) - NOT_OURS
    assert names or NOT_OURS & set(METRIC.findall(expression)), where
    assert names <= exposed.keys(), where
    asked = set(SELECTED.findall(expression)) | set(LEGEND.findall(shown))
    for labels in GROUPED.findall(expression):
        asked |= {label.strip() for label in labels.split(",")}
    for name in names:
        assert asked <= exposed[name] | TARGET_LABELS, where
    # A line can be named only by a label that is left after the aggregation.
    for labels in GROUPED.findall(expression):
        assert set(LEGEND.findall(shown)) <= {label.strip() for label in labels.split(",")}, where
    assert expression.count("(") == expression.count(")") and expression.count("{") == expression.count("}")


def test_the_dashboard_is_what_its_tool_writes() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools/grafana.py"), "--check"], check=False)
    assert done.returncode == 0, "python tools/grafana.py writes it again"


def test_the_dashboard_shows_every_metric(exposed: dict[str, set[str]]) -> None:
    asked = {name for _, expression, _ in queries() for name in METRIC.findall(expression)}
    ours = {name for name in exposed if name.startswith("nexo_")}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in ours}
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked}
    assert families - shown == {
        "nexo_storage_last_sync_seconds",
        "nexo_queue_bytes",
        "nexo_queue_delivered_total",
    }


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells and max(x for x, _ in taken) < 24, panel["title"]
        cells |= taken
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == [
        "Overview", "Store", "Queues", "Streams", "Pub/Sub", "Storage", "Process",
    ]  # fmt: skip


def test_alerts_are_complete_and_the_manual_says_what_to_do() -> None:
    page = (ROOT / "docs/observability.md").read_text()
    listed = re.findall(r"^\| `(Nexo\w+)` \|", page, re.MULTILINE)
    assert listed == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning") and rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+m", rule.get("for", "1m"))
