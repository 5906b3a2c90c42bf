"""Somebody who watches a server: reads its feed as an open dashboard does, and its metrics as Prometheus does.

    python benchmarks/watching.py PORT

Runs until it is ended, in a process of its own. Everything goes to the broker's own port.
"""

from __future__ import annotations

import http.client
import sys
import threading
import time

SCRAPE_SECONDS = 1.0
PAGES = ("/api/v1/queues?limit=100", "/api/v1/streams?limit=100", "/api/v1/connections?limit=100")
"""What an open page asks for again and again, in turns."""


def follow(port: int) -> None:
    """The dashboard's feed: an overview each second."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/api/v1/events")
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"the feed answered {response.status}")
    while response.readline():
        pass


def main() -> None:
    port = int(sys.argv[1])
    threading.Thread(target=follow, args=(port,), daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    turn = 0
    while True:
        for path in ("/metrics", PAGES[turn % len(PAGES)]):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise SystemExit(f"{path} answered {response.status}")
        turn += 1
        time.sleep(SCRAPE_SECONDS)


if __name__ == "__main__":
    main()
