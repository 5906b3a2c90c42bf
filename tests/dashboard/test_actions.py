"""What a person does on the pages, done: the broker is asked what came of it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest

import nexo
from tests.dashboard.conftest import Broker

pytestmark = [pytest.mark.debian, pytest.mark.slow]

LINK = "javascript:window.hit=1"
EVIL = (
    '<img src=x onerror="window.hit=1"><script>window.hit=1</script><svg onload="window.hit=1"></svg>'
    f'<iframe src="{LINK}"></iframe><a href="{LINK}">x</a>'
)
MADE = "main img, main script, main iframe, main svg, dialog :is(img, script, iframe, svg), a[href^='javascript:']"
"""What would be elements, if contents were markup."""


def dialog(page: Any) -> Any:
    found = page.get_by_role("dialog")
    found.wait_for()
    return found


def shut(page: Any) -> None:
    page.get_by_role("dialog").wait_for(state="detached")


def test_store_pages_search_and_values(broker: Broker, page: Any) -> None:
    for number in range(120):
        broker.put(f"many%3A{number:03}", f"value {number}")
    broker.put("session", "x", ttl_ms=3_600_000)
    broker.put("blob", "AAECAwT/", "bytes")
    page.goto("/#/store")
    page.get_by_label("Keys that begin with").fill("many:")
    page.get_by_text("120 keys").wait_for()
    page.get_by_role("link", name="many:099").wait_for()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("link", name="many:119").wait_for()
    assert page.get_by_role("link", name="many:000").count() == 0
    page.get_by_role("button", name="Previous").click()
    page.get_by_role("link", name="many:000").wait_for()
    page.get_by_label("Keys that begin with").fill("many:077")
    page.get_by_label("Keys that begin with").press("Enter")
    page.get_by_role("region", name="Key").get_by_text("value 77").wait_for()
    page.reload()
    page.get_by_role("region", name="Key").get_by_text("value 77").wait_for()
    page.goto("/#/store?key=session")
    facts = page.get_by_role("region", name="Key").get_by_text(re.compile(r"^59.min [0-9]+.s$"))
    before = facts.inner_text()
    page.wait_for_function("(text) => !document.body.innerText.includes(text)", arg=before)
    page.goto("/#/store?key=blob")
    page.get_by_text("00 01 02 03 04 ff").wait_for()


def test_store_edit_conflict_and_delete(broker: Broker, page: Any) -> None:
    broker.put("doc", {"id": 9007199254740993, "name": "Ada"}, "json")
    page.goto("/#/store?key=doc")
    page.get_by_text("9007199254740993", exact=True).wait_for()
    page.get_by_role("button", name="Edit …").click()
    asked = dialog(page)
    text = asked.get_by_label("Value", exact=True).input_value()
    asked.get_by_label("Value", exact=True).fill("{")
    asked.get_by_role("button", name="Save").click()
    asked.get_by_role("alert").get_by_text("This is not JSON").wait_for()
    asked.get_by_label("Value", exact=True).fill(text.replace("Ada", "Grace"))
    asked.get_by_role("button", name="Save").click()
    shut(page)
    stored = broker.api("GET", "/store/keys/doc")
    assert stored["value"] == {"id": 9007199254740993, "name": "Grace"}

    page.get_by_text('"Grace"').wait_for()
    page.get_by_role("button", name="Edit …").click()
    broker.put("doc", "somebody else's")
    dialog(page).get_by_role("button", name="Save").click()
    dialog(page).get_by_role("alert").get_by_text("Somebody else has changed this key").wait_for()
    assert [error for error in page.errors if "412" not in error] == []
    page.errors.clear()
    page.keyboard.press("Escape")
    assert broker.api("GET", "/store/keys/doc")["value"] == "somebody else's"

    page.get_by_role("button", name="Delete …").click()
    dialog(page).get_by_role("button", name="Delete").click()
    shut(page)
    page.get_by_role("region", name="Key").wait_for(state="detached")
    assert broker.api("GET", "/store/keys?prefix=doc")["count"] == 0


def test_store_new_key_with_a_lifetime(broker: Broker, page: Any) -> None:
    page.goto("/#/store")
    page.get_by_role("button", name="New key …").click()
    asked = dialog(page)
    asked.get_by_label("Key").fill("new/key ä")
    asked.get_by_label("Type").select_option("int")
    asked.get_by_label("Value", exact=True).fill("9223372036854775807")
    asked.get_by_label("Time to live").select_option("new")
    asked.get_by_label("Seconds").fill("600")
    asked.get_by_role("button", name="Save").click()
    shut(page)
    page.get_by_role("heading", name="new/key ä").wait_for()
    page.get_by_text("9223372036854775807").first.wait_for()
    found = broker.api("GET", "/store/keys/new%2Fkey%20%C3%A4")
    assert found["value"] == "9223372036854775807"
    assert 500_000 < found["ttl_ms"] <= 600_000


def test_queue_push_look_edit_and_push_again(broker: Broker, page: Any) -> None:
    page.goto("/#/queues")
    page.get_by_role("button", name="New queue …").click()
    dialog(page).get_by_label("Name").fill("mail/out")
    dialog(page).get_by_role("button", name="Create").click()
    page.get_by_role("heading", name="mail/out").wait_for()
    page.get_by_role("button", name="Push …").click()
    asked = dialog(page)
    asked.get_by_label("Value", exact=True).fill('{"to": "ada"}')
    asked.get_by_label("Headers").fill("trace: ab12")
    asked.get_by_role("button", name="Push").click()
    shut(page)
    listed = "/queues/mail%2Fout/messages?state=ready"
    [message] = broker.api("GET", listed)["items"]
    assert message["value"] == {"to": "ada"}
    assert message["headers"] == [{"name": "trace", "value": "ab12"}]

    page.get_by_role("button", name=str(message["id"]), exact=True).click()
    dialog(page).get_by_text("ab12").wait_for()
    dialog(page).get_by_role("button", name="Edit and push again …").click()
    asked = dialog(page)
    asked.get_by_label("Value", exact=True).fill('{"to": "grace"}')
    asked.get_by_label(re.compile("Then remove")).check()
    asked.get_by_role("button", name="Push").click()
    shut(page)
    [message] = broker.api("GET", listed)["items"]
    assert message["value"] == {"to": "grace"}
    assert message["headers"] == [{"name": "trace", "value": "ab12"}]


def test_queue_pause_redrive_and_purge(broker: Broker, page: Any) -> None:
    broker.api("POST", "/queues", {"name": "jobs"})
    broker.push("jobs", *range(1_200))
    broker.kill_letters("jobs", 1_200, "no such address")
    page.goto("/#/queues/jobs?state=dead")
    page.get_by_text("no such address").first.wait_for()
    page.get_by_role("button", name="Pause …").click()
    dialog(page).get_by_role("button", name="Pause").click()
    page.get_by_text("paused", exact=True).wait_for()
    assert broker.api("GET", "/queues/jobs")["paused_until"] == -1
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Pause …").wait_for()
    assert broker.api("GET", "/queues/jobs")["paused"] is False

    page.get_by_role("button", name="Redrive …").click()
    dialog(page).get_by_role("button", name="Redrive").click()
    dialog(page).get_by_text("Put back 1,200 of 1,200.").wait_for()
    dialog(page).get_by_role("button", name="Close").last.click()
    shut(page)
    queue = broker.api("GET", "/queues/jobs")
    assert (queue["ready"], queue["dead_letters"]) == (1_200, 0)

    page.goto("/#/queues/jobs?state=ready")
    page.get_by_role("button", name="Purge …").click()
    go = dialog(page).get_by_role("button", name="Purge")
    assert go.is_disabled()
    dialog(page).get_by_label(re.compile("to confirm")).fill("job")
    assert go.is_disabled()
    dialog(page).get_by_label(re.compile("to confirm")).fill("jobs")
    go.click()
    shut(page)
    assert broker.api("GET", "/queues/jobs")["messages"] == 0


def test_pubsub_tail_publish_and_retained(broker: Broker, page: Any) -> None:
    page.goto("/#/pubsub")
    page.get_by_label("Filter").fill("rooms/#/not")
    page.get_by_role("button", name="Listen").click()
    page.get_by_role("region", name="Live tail").get_by_role("alert").get_by_text("#").wait_for()
    assert [error for error in page.errors if "400" not in error] == []
    page.errors.clear()
    page.get_by_role("button", name="Stop").click()
    page.get_by_label("Filter").fill("rooms/#")
    page.get_by_role("button", name="Listen").click()
    page.get_by_text("Listening").wait_for()
    page.get_by_label("Topic", exact=True).fill("rooms/hall/light")
    page.get_by_role("textbox", name="Value", exact=True).fill("on")
    page.get_by_label("Headers").fill("by: Ada")
    page.get_by_label("Retain", exact=True).check()
    page.get_by_role("button", name="Publish").click()
    page.get_by_text("1 message", exact=True).wait_for()
    page.get_by_text("rooms/hall/light").click()
    page.get_by_role("definition").get_by_text("Ada").wait_for()
    tree = page.get_by_role("region", name="Subscriptions and retained values")
    tree.get_by_text("retained", exact=True).click()
    tree.get_by_role("button", name="Clear …").click()
    dialog(page).get_by_role("button", name="Clear").click()
    shut(page)
    topics = broker.api("GET", "/pubsub/topics?prefix=rooms")["items"]
    assert [topic["topic"] for topic in topics if topic["retained"]] == []


def test_stream_browse_follow_and_seek(broker: Broker, page: Any) -> None:
    broker.api("POST", "/streams", {"name": "lines"})
    records = [{"type": "str", "value": f"line {number}"} for number in range(1, 121)]
    broker.api("POST", "/streams/lines/records", {"records": records})
    with nexo.blocking.connect(port=broker.server.port) as client:
        client.stream.get("lines").group("readers").seek("beginning")
    page.goto("/#/streams/lines")
    page.get_by_text("line 120", exact=True).wait_for()
    assert page.get_by_text("line 70", exact=True).count() == 0
    page.get_by_role("button", name="Older").click()
    page.get_by_text("line 21", exact=True).wait_for()
    page.get_by_role("combobox", name="Show").select_option("from")
    page.get_by_role("spinbutton", name="Sequence").fill("7")
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_text("line 7", exact=True).wait_for()
    assert page.get_by_text("line 6", exact=True).count() == 0

    page.get_by_role("button", name="Follow live").click()
    page.get_by_text("Listening").wait_for()
    broker.api("POST", "/streams/lines/records", {"records": [{"type": "str", "value": "line 121"}]})
    page.get_by_text("line 121", exact=True).wait_for()

    page.get_by_role("button", name="Seek readers").click()
    dialog(page).get_by_label("Go on from").select_option("seq")
    dialog(page).get_by_role("spinbutton", name="Sequence").fill("101")
    dialog(page).get_by_label(re.compile("to confirm")).fill("readers")
    dialog(page).get_by_role("button", name="Seek").click()
    shut(page)
    assert broker.api("GET", "/streams/lines/groups/readers")["ack_floor"] == 100


def test_a_connection_is_closed(broker: Broker, page: Any) -> None:
    with nexo.blocking.connect(port=broker.server.port, name="unwanted", reconnect=False):
        page.goto("/#/connections")
        page.get_by_role("button", name="Close unwanted").click()
        dialog(page).get_by_role("button", name="Close it").click()
        shut(page)
        page.get_by_role("rowheader", name="unwanted").wait_for(state="detached")
    assert "unwanted" not in [one["name"] for one in broker.api("GET", "/connections")["items"]]


def unharmed(page: Any) -> None:
    assert page.locator(MADE).count() == 0
    assert page.evaluate("() => window.hit") is None


def test_contents_are_never_markup(broker: Broker, page: Any) -> None:
    broker.put("evil %3Cb%3E", EVIL)
    broker.put("evil.json", {EVIL: [EVIL, LINK]}, "json")
    broker.put(quote(f"evil {EVIL}", safe=""), LINK)
    broker.api("POST", "/queues", {"name": "evil"})
    broker.push("evil", "dies", headers={EVIL: EVIL})
    broker.kill_letters("evil", 1, EVIL)
    broker.push("evil", EVIL, headers={EVIL: EVIL, "link": LINK}, group=EVIL[:40])
    [message] = broker.api("GET", "/queues/evil/messages?state=ready")["items"]
    broker.api("POST", "/streams", {"name": "evil"})
    records = [{"type": "str", "value": EVIL, "key": EVIL, "headers": {EVIL: LINK}}]
    broker.api("POST", "/streams/evil/records", {"records": records})
    broker.api(
        "POST", "/pubsub/publish", {"topic": f"evil/{EVIL}", "type": "str", "value": EVIL, "retain": True}
    )

    page.goto("/#/store?prefix=evil&key=evil%2520%253Cb%253E")
    page.get_by_role("region", name="Value", exact=True).get_by_text(EVIL).wait_for()
    page.get_by_role("link", name=f"evil {EVIL}").wait_for()
    unharmed(page)
    page.goto("/#/store?prefix=evil&key=evil.json")
    page.get_by_role("region", name="Value", exact=True).get_by_text("onerror").first.wait_for()
    unharmed(page)
    page.goto("/#/queues/evil?state=dead")
    page.get_by_role("cell", name=EVIL).wait_for()
    unharmed(page)
    page.goto("/#/queues/evil")
    page.get_by_role("button", name=str(message["id"]), exact=True).click()
    dialog(page).get_by_role("definition").get_by_text(EVIL).first.wait_for()
    dialog(page).get_by_role("definition").get_by_text(LINK, exact=True).wait_for()
    unharmed(page)
    page.goto("/#/streams/evil")
    page.get_by_text("onerror").first.click()
    page.get_by_role("definition").get_by_text(LINK, exact=True).wait_for()
    unharmed(page)
    page.goto("/#/pubsub")
    page.get_by_text("onerror").first.wait_for()
    unharmed(page)
    with nexo.blocking.connect(port=broker.server.port, name=EVIL):
        page.goto("/#/connections")
        page.get_by_role("rowheader", name="onerror").wait_for()
        unharmed(page)


def test_queue_search(broker: Broker, page: Any) -> None:
    broker.api("POST", "/queues", {"name": "hay"})
    broker.push("hay", *[{"straw": number} for number in range(150)])
    broker.push("hay", "x", headers={"trace": "needle"})
    page.goto("/#/queues/hay")
    page.get_by_text("Page 1, 100 messages").wait_for()
    page.get_by_label("Messages that contain").fill("needle")
    page.get_by_text("1 message", exact=True).wait_for()
    page.get_by_label("Messages that contain").fill("nothing has this")
    page.get_by_text("None of the 151 messages looked at has this.").wait_for()


def test_rates_of_a_topic_and_of_a_connection(broker: Broker, page: Any) -> None:
    with nexo.blocking.connect(port=broker.server.port, name="busy") as client:
        client.pubsub.subscribe("busy/#")
        page.goto("/#/pubsub")
        page.get_by_role("region", name="Subscriptions and retained values").get_by_text(
            re.compile("delivered$")
        ).wait_for()
        page.goto("/#/connections")
        page.get_by_role("row", name="busy").get_by_text("/s").first.wait_for()


def test_an_open_key_shows_what_others_set(broker: Broker, page: Any) -> None:
    broker.put("watched", "before")
    page.goto("/#/store?key=watched")
    page.get_by_role("region", name="Value", exact=True).get_by_text("before").wait_for()
    broker.put("watched", "after")
    page.get_by_role("region", name="Value", exact=True).get_by_text("after").wait_for()
