"""The load generator behind `nexo bench` and `make bench`.

One engine on epoll and plain sockets for Nexo and for the servers it is compared with: only the
bytes differ (dialects.py). Knows no broker and no server, only their wires.
"""
