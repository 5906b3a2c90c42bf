"""Who sends commands: clients with their leases and memberships, and the model of what they did.

Knows nothing of disks and crashes. queue_clients.py and stream_clients.py have the commands.
"""

from __future__ import annotations

from random import Random

from nexo.brokers.journal import FLUSH
from nexo.protocols.native.session import NativeSession
from tests.simulation.model import QueueModel, Step, StreamModel, check
from tests.simulation.node import Life

Lease = tuple[int, int, int]
"""A queue's number, a message's id and a token."""
Fetched = tuple[int, int, bytes, int, int, int]
"""A stream's and a group's number, the consumer id and its generation, a sequence and a token."""


class Client:
    """One connection: what was lent to it, and where it is a member."""

    def __init__(self, session: NativeSession) -> None:
        self.session = session
        self.consumer = session.queue_commands.consumer
        self.leases: list[Lease] = []
        self.members: list[tuple[int, int, bytes, int]] = []  # stream, group, consumer id, generation
        self.fetched: list[Fetched] = []


class Crowd:
    """What all commands share: who sends them, and the model. `start` puts them before a life of the node."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.queues: dict[int, QueueModel] = {}
        self.streams: dict[int, StreamModel] = {}
        self.stale: list[Lease] = []
        self.all: list[Client] = []
        self.count = 0
        self.now = 0
        self.given: set[tuple[str, int, int]] = set()

    def only_once(self, kind: str, owner: int, number: int) -> None:
        """A number that fences was given: never before, in no life."""
        check((kind, owner, number) not in self.given, f"{kind} {number} of number {owner} is given again")
        self.given.add((kind, owner, number))

    def start(self, life: Life) -> None:
        """The node runs: connect. Who held something before still knows its tokens."""
        self.life = life
        self.node = life.node
        self.stale = (self.stale + [lease for client in self.all for lease in client.leases])[-50:]
        self.all = [Client(life.session()) for _ in range(3)]

    def step(self, level: int) -> Step:
        """What a command does in the open batch."""
        return Step(level, int(self.node.journal.batch))

    def answer(self, step: Step) -> None:
        """Let the answer wait for its level."""
        self.count += 1
        self.life.hold(self.random.choice(self.all).session, self.count, step)

    def leaves(self, client: Client, level: int) -> Step:
        """Deliveries are on their way to a client: confirmed when they have left."""
        self.count += 1
        step = self.step(min(level, FLUSH))
        self.life.lend(client.session, self.count, step)
        return step

    def value(self) -> bytes:
        """One that nobody has sent before."""
        self.count += 1
        return b"\0v%d" % self.count + bytes(self.random.choice((0, 0, 20, 300, 900)))
