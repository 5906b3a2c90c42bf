#!/usr/bin/env python3
"""Takes the pictures of docs/dashboard.md: `make screenshots`. Each page, by day and by night, and two on a phone.

Starts a broker of its own, keeps it busy with tools/demo.py for a while, so that the charts have a course, and
looks at it with Debian's Chromium (`apt-get install chromium`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from demo import Shop
from playwright.async_api import Page, ViewportSize, async_playwright

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs/images"
READY = re.compile(r"nexo \S+ ready on \S+:(\d+) ")
HTTP = re.compile(r"HTTP API and dashboard on (\S+)")
LAPTOP: ViewportSize = {"width": 1200, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
PAGES = {
    "overview": "",
    "store": "store?prefix=user:&key=user%253A7",
    "queues": "queues",
    "queue": "queues/webhooks?state=dead",
    "pubsub": "pubsub",
    "streams": "streams",
    "stream": "streams/shop.orders",
    "connections": "connections",
}
WITH_CHARTS = ("queue", "stream")
HEIGHTS = {"pubsub": 640}
ON_PHONE = ("overview", "queues")
SETTLED_MS = 2_500
CHART_MS = 15_000  # pages whose charts begin when they are opened


async def shoot(page: Page, base: str, name: str, target: Path) -> None:
    # A page is left by way of nothing, so that each is loaded anew.
    await page.goto("about:blank")
    await page.goto(f"{base}/#/{PAGES[name]}")
    if name == "pubsub":
        await page.get_by_role("button", name="Listen").click()
    await page.wait_for_timeout(CHART_MS if name in WITH_CHARTS else SETTLED_MS)
    size = page.viewport_size
    assert size is not None
    height = HEIGHTS.get(name, size["height"])
    await page.screenshot(path=target, clip={"x": 0, "y": 0, "width": size["width"], "height": height})
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size // 1024} KiB")


async def take(base: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("There is no chromium here: on Debian, apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for theme in ("light", "dark"):
            page = await browser.new_page(viewport=LAPTOP, color_scheme=theme)
            for name in PAGES:
                await shoot(page, base, name, TARGET / f"dashboard-{name}-{theme}.png")
            await page.set_viewport_size(PHONE)
            for name in ON_PHONE:
                await shoot(page, base, name, TARGET / f"dashboard-{name}-phone-{theme}.png")
            await page.close()
        await browser.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description="Take the pictures of the dashboard.")
    parser.add_argument("--seconds", type=float, default=90.0, help="how long the broker is busy before")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        flags = ("--port", "0", "--http-port", "0", "--data-dir", f"{folder}/data")
        broker = subprocess.Popen(
            [sys.executable, "-m", "nexo", "serve", *flags], stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            assert broker.stdout is not None
            ready = READY.match(broker.stdout.readline())
            http = HTTP.search((Path(folder) / "log").read_text())
            if ready is None or http is None:
                sys.exit(f"the broker did not start:\n{(Path(folder) / 'log').read_text()}")
            shop = asyncio.create_task(Shop(int(ready[1])).run())
            await asyncio.wait({shop}, timeout=arguments.seconds)
            if shop.done():
                shop.result()
            await take(http[1])
            shop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await shop
        finally:
            broker.send_signal(signal.SIGTERM)
            broker.wait()


if __name__ == "__main__":
    asyncio.run(main())
