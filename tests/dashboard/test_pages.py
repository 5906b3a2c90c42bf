"""Every page, by day and by night, on a laptop and on a phone: there, readable, labelled, without an error."""

from __future__ import annotations

from typing import Any

import pytest

import nexo
from tests.dashboard.conftest import Broker

pytestmark = [pytest.mark.debian, pytest.mark.slow]

PAGES = {
    "": "Overview",
    "store?key=page%253A1": "Store",
    "queues": "Queues",
    "queues/jobs?state=dead": "jobs",
    "pubsub": "Pub/Sub",
    "streams": "Streams",
    "streams/log?dead=readers": "log",
    "connections": "Connections",
}

# Contrast by WCAG 2.1 of each element that has text of its own, against the first opaque background behind it.
LOW_CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [R, G, B] = [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "");
    if (!own || element.matches(":disabled, :disabled *, option") || element.getClientRects().length === 0) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${element.tagName}.${element.className} ${element.textContent.slice(0, 30)}: ${ratio}`);
  }
  return low;
}"""

UNNAMED = """() => [...document.querySelectorAll("input, select, textarea, button, a[href]")]
  .filter((e) => !(e.labels?.length || e.getAttribute("aria-label") || e.textContent.trim()))
  .map((e) => e.outerHTML)"""


@pytest.fixture(scope="module")
def filled(broker: Broker) -> Broker:
    for number in range(3):
        broker.put(
            f"page%3A{number}", {"number": number, "list": [1, {"deep": None}]}, "json", ttl_ms=3_600_000
        )
    broker.api("POST", "/queues", {"name": "jobs"})
    broker.push("jobs", {"task": 1}, headers={"trace": "ab"})
    broker.kill_letters("jobs", 1, "no such address")
    broker.api("POST", "/streams", {"name": "log"})
    records = [{"type": "json", "value": {"line": line}, "key": "k"} for line in range(10)]
    broker.api("POST", "/streams/log/records", {"records": records})
    with nexo.blocking.connect(port=broker.server.port) as client:
        client.stream.get("log").group("readers").seek("beginning")
    topic = {"topic": "rooms/kitchen", "type": "int", "value": 21, "retain": True}
    broker.api("POST", "/pubsub/publish", topic)
    return broker


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_page(filled: Broker, page: Any, theme: str) -> None:
    page.emulate_media(color_scheme=theme)
    for path, heading in PAGES.items():
        page.set_viewport_size({"width": 1200, "height": 800})
        page.goto("about:blank")
        page.goto(f"/#/{path}")
        page.get_by_role("heading", name=heading, exact=True, level=1).wait_for()
        page.get_by_text("Live", exact=False).first.wait_for()
        page.wait_for_function("() => !document.body.textContent.includes('Loading …')")
        dark = page.evaluate(
            "() => parseInt(getComputedStyle(document.documentElement).backgroundColor.slice(4)) < 128"
        )
        assert dark == (theme == "dark")
        assert page.evaluate(LOW_CONTRAST) == [], path
        assert page.evaluate(UNNAMED) == [], path
        page.set_viewport_size({"width": 390, "height": 844})
        wide = page.evaluate(
            "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide == 0, f"{path} is {wide} px too wide for a phone"


def test_the_switch_is_stronger_than_the_system_and_lasts(filled: Broker, page: Any) -> None:
    page.emulate_media(color_scheme="light")
    background = "() => getComputedStyle(document.documentElement).backgroundColor"
    page.goto("/")
    light = page.evaluate(background)
    page.get_by_role("button", name="Dark").click()
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark
    page.get_by_role("button", name="Auto").click()
    assert page.evaluate(background) == light


def test_a_keyboard_is_enough(filled: Broker, page: Any) -> None:
    page.goto("/#/store")
    page.get_by_role("link", name="page:1").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.id") == "main"
    page.get_by_role("link", name="page:1").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Edit …").focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    assert page.evaluate("() => document.activeElement.textContent") == "Edit …"


DRAWN = """() => {
  const figure = [...document.querySelectorAll("figure")].find((f) => f.textContent.startsWith("Connections"));
  const canvas = figure?.querySelector("canvas");
  if (!canvas) return 0;
  const [r, g, b] = getComputedStyle(figure.querySelector(".s1")).backgroundColor.match(/\\d+/g).map(Number);
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let i = 0; i < data.length; i += 4)
    if (Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 24 && data[i + 3] > 200) count++;
  return count;
}"""


def test_charts_survive_a_reload(filled: Broker, page: Any) -> None:
    """The line is there with the first reading after a reload, of which alone there is none."""
    page.goto("/")
    page.wait_for_function(
        "async () => ((await (await fetch('/api/v1/overview/history')).json()).series.at ?? []).length >= 2",
        polling=500,
    )
    page.reload()
    page.wait_for_function(f"() => ({DRAWN})() > 20")
    page.get_by_text("changed").wait_for()
