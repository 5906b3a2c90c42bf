"""The Pub/Sub broker: who gets a published message, and in which batches it leaves.

Fan-out is per batch. Messages of one turn that go to the same set of receivers share a Batch, which is
encoded once and handed to each of them by `flush` at the end of the turn. A message is delivered once
per receiver, however many of its filters match, charged to the oldest; each shared group gets one copy.

    topic → Route    what the filter tree found, cached until a subscription changes it
    Route → _Set     the receivers of a route; routes with the same receivers share the object
    _Set → Batch     the open batch of this turn, a *run* in the list of runs

Order: batches leave in the order of the runs, so a message may join its set's latest run only if no
later run goes to one of the same receivers; otherwise it starts a new run at the end. Every receiver
therefore gets its messages in the order of publication, across all topics.

This module knows no wire and no clock. `publish` refuses a topic that `topics.check_topic` does; filters
are expected to have passed `topics.check_filter`.
"""

from __future__ import annotations

from typing import Final, cast, final

from mypy_extensions import i64

from nexo.brokers.journal import MEMORY, Journal
from nexo.brokers.message import Message
from nexo.brokers.outbox import (
    CONFLATE,
    DISCONNECT,
    DROP_NEWEST,
    DROP_OLDEST,
    Batch,
    Counters,
    Encoding,
    Outbox,
    Receiver,
    Subscription,
)
from nexo.brokers.retained import Retained, RetainedValue
from nexo.brokers.topics import FilterTree, Target, check_topic, is_pattern
from nexo.errors import InvalidArgumentError, LimitExceededError
from nexo.limits import PENDING_BYTES_DEFAULT, PENDING_MESSAGES_DEFAULT, SUBSCRIPTIONS_PER_CONNECTION_MAX

__all__ = [
    "CONFLATE",
    "DISCONNECT",
    "DROP_NEWEST",
    "DROP_OLDEST",
    "Batch",
    "Encoding",
    "Outbox",
    "PubSub",
    "Receiver",
    "Subscription",
]

ROUTES_MAX: Final = 65_536
"""Topics whose route is remembered."""
ROUTE_TOPIC_BYTES_MAX: Final = 512
"""Longer topics are looked up each time: the cache would pin up to 64 KiB for each."""
ROUTE_RECEIVERS_MAX: Final = 1 << 20
"""References to subscriptions that all remembered sets hold together."""
SMALL_SET: Final = 16
"""Up to this many receivers are asked one by one whether a later run goes to them."""
LOOK_BACK: Final = 16
"""Runs that a message for a larger set may be moved ahead of: bounds the comparisons per message."""
PAIRS_MAX: Final = 1024
"""Other sets that a set remembers to be disjoint from it, or not."""


@final
class _Set:
    """Receivers that get the same messages, each with the subscription that is charged.

    `verified` is the number of the last run when this set's latest run was found safe to append to:
    while it equals the broker's last run, `messages` is the place for the next message.
    """

    __slots__ = (
        "disjoint",
        "key",
        "members",
        "messages",
        "number",
        "routes",
        "run",
        "size",
        "subscriptions",
        "verified",
    )

    def __init__(self, subscriptions: list[Subscription], key: tuple[Subscription, ...], number: i64) -> None:
        self.subscriptions = subscriptions
        self.number = number
        self.key = key
        self.size: i64 = len(subscriptions)
        self.routes: i64 = 0
        self.verified: i64 = -1
        self.run: i64 = -1
        self.messages: list[Message] = []
        self.members: set[Receiver] | None = None
        self.disjoint: dict[int, bool] | None = None

    def is_disjoint(self, other: _Set) -> bool:
        """Whether no receiver is in both; remembered by the other's number, so that it is not kept alive."""
        if self.disjoint is None or len(self.disjoint) >= PAIRS_MAX:
            self.disjoint = {}
        number = int(other.number)
        known = self.disjoint.get(number)
        if known is None:
            known = self._receivers().isdisjoint(other._receivers())
            self.disjoint[number] = known
        return known

    def _receivers(self) -> set[Receiver]:
        if self.members is None:
            self.members = {one.receiver for one in self.subscriptions}
        return self.members


@final
class _SharedGroup(Target):
    """The members of one (group, filter), who take turns."""

    __slots__ = ("filter", "group", "members", "next")

    def __init__(self, filter: bytes, group: bytes, seed: i64) -> None:
        self.filter = filter
        self.group = group
        self.members: list[Subscription] = []
        self.next: i64 = seed

    def add(self, subscription: Subscription) -> None:
        subscription.place = len(self.members)
        self.members.append(subscription)

    def remove(self, subscription: Subscription) -> None:
        last = self.members.pop()
        if last is not subscription:
            last.place = subscription.place
            self.members[last.place] = last

    def pick(self) -> Subscription:
        """The next in turn whose receiver is not blocked; the next in turn when all are."""
        members = self.members
        count: i64 = len(members)
        place = self.next % count
        for _ in range(count):
            member = members[place]
            if not member.receiver.blocked:
                self.next = place + 1
                return member
            place += 1
            if place == count:
                place = 0
        self.next = place + 1
        return members[place]


@final
class _Route:
    __slots__ = ("groups", "set")

    def __init__(self, receivers: _Set | None, groups: list[_SharedGroup] | None) -> None:
        self.set = receivers
        self.groups = groups


@final
class Audience:
    """Those who subscribe to one filter: how many by themselves, (name, members) of each shared group, what
    waits for all of them together, what they were given and what they have lost of it."""

    __slots__ = ("delivered", "dropped", "groups", "pending_bytes", "pending_messages", "subscribers")

    def __init__(self) -> None:
        self.subscribers: i64 = 0
        self.groups: list[tuple[bytes, int]] = []
        self.pending_messages: i64 = 0
        self.pending_bytes: i64 = 0
        self.delivered: i64 = 0
        self.dropped: i64 = 0

    def add(self, subscription: Subscription) -> None:
        self.pending_messages += subscription.pending_messages
        self.pending_bytes += subscription.pending_bytes
        self.delivered += subscription.delivered
        self.dropped += subscription.dropped


@final
class PubSub:
    """All subscriptions and retained values (`kept`) of a node.

    `seed` decides which member starts in a shared group; `retained_level` is how durable retained values are.

    Totals: `published`, `delivered` (message × receiver), `no_receiver`, `dropped`, `subscriptions`.
    """

    def __init__(self, seed: int = 0, journal: Journal | None = None, retained_level: i64 = MEMORY) -> None:
        self._tree = FilterTree()
        self._groups: dict[tuple[bytes, bytes], _SharedGroup] = {}
        self.kept = Retained(Journal() if journal is None else journal, retained_level)
        self._counters = Counters()
        self._seed = seed & 0x7FFFFFFF
        self._last_number: i64 = 0
        self._routes: dict[bytes, _Route] = {}
        self._sets: dict[tuple[Subscription, ...], _Set] = {}
        self._set_references: i64 = 0
        self._last_set: i64 = 0
        self._singles: dict[Subscription, _Set] = {}  # the sets of one to whom shared groups deliver
        self._runs: list[Batch] = []
        self._run_sets: list[_Set] = []
        self._first_run: i64 = 1  # runs are numbered for ever: a number tells the turn, too
        self._last_run: i64 = 0
        self._flushing = False
        self.published: i64 = 0
        self.delivered: i64 = 0
        self.no_receiver: i64 = 0
        self.subscriptions: i64 = 0

    @property
    def dropped(self) -> i64:
        return self._counters.dropped

    @property
    def retained_count(self) -> i64:
        return len(self.kept)

    @property
    def retained_bytes(self) -> i64:
        return self.kept.bytes

    # Subscriptions.

    def subscribe(
        self,
        receiver: Receiver,
        filter: bytes,
        *,
        group: bytes = b"",
        tag: i64 = 0,
        messages_max: i64 = PENDING_MESSAGES_DEFAULT,
        bytes_max: i64 = PENDING_BYTES_DEFAULT,
        policy: i64 = DROP_OLDEST,
    ) -> Subscription:
        """Adds a subscription, or replaces the settings of the one with this receiver, filter and group.

        It gets what is published from now on; `retained` gives what was kept before. Raises
        InvalidArgumentError for a bound below 1 or an unknown policy, and LimitExceededError past
        SUBSCRIPTIONS_PER_CONNECTION_MAX.
        """
        if messages_max < 1 or bytes_max < 1:
            raise InvalidArgumentError("a subscription must be allowed at least 1 pending message and 1 byte")
        if policy < DROP_OLDEST or policy > DISCONNECT:
            raise InvalidArgumentError(f"policy {policy} is unknown: 0 to 3 are defined")
        self._settle(receiver)
        key = _key(filter, group)
        subscription = receiver.subscriptions.get(key)
        if subscription is None:
            if len(receiver.subscriptions) >= SUBSCRIPTIONS_PER_CONNECTION_MAX:
                raise LimitExceededError(
                    f"SUBSCRIPTIONS_PER_CONNECTION_MAX ({SUBSCRIPTIONS_PER_CONNECTION_MAX}) is reached"
                )
            self._last_number += 1
            subscription = Subscription(receiver, filter, group, self._last_number, self._counters)
            receiver.subscriptions[key] = subscription
            self._insert(subscription)
        subscription.tag = tag
        subscription.messages_max = messages_max
        subscription.bytes_max = bytes_max
        subscription.policy = policy
        return subscription

    def unsubscribe(self, receiver: Receiver, filter: bytes, group: bytes = b"") -> bool:
        """Ends a subscription: what was published before is delivered, what waits in the outbox is not."""
        key = _key(filter, group)
        if key not in receiver.subscriptions:
            return False
        self._settle(receiver)
        subscription = receiver.subscriptions.pop(key, None)
        if subscription is None:
            return False
        self._remove(subscription)
        receiver.outbox.forget(subscription)
        return True

    def drop(self, receiver: Receiver) -> None:
        """Ends every subscription of a receiver that has gone; nothing is delivered to it any more."""
        subscriptions = receiver.subscriptions
        receiver.subscriptions = {}
        for subscription in subscriptions.values():
            self._remove(subscription)
        receiver.outbox.discard()

    def _insert(self, subscription: Subscription) -> None:
        self.subscriptions += 1
        filter = subscription.filter
        if not subscription.group:
            self._tree.insert(filter, subscription)
            self._forget_routes(filter)
            return
        name = (subscription.group, filter)
        shared = self._groups.get(name)
        if shared is None:
            shared = _SharedGroup(filter, subscription.group, self._seed)
            self._groups[name] = shared
            self._tree.insert(filter, shared)
            self._forget_routes(filter)
        shared.add(subscription)

    def _remove(self, subscription: Subscription) -> None:
        subscription.active = False
        self.subscriptions -= 1
        filter = subscription.filter
        if not subscription.group:
            self._tree.remove(filter, subscription)
            self._forget_routes(filter)
            return
        self._singles.pop(subscription, None)
        name = (subscription.group, filter)
        shared = self._groups[name]
        shared.remove(subscription)
        if not shared.members:
            del self._groups[name]
            self._tree.remove(filter, shared)
            self._forget_routes(filter)

    # An operator's view.

    def filters(self) -> list[bytes]:
        """Every filter that somebody subscribes to, in no particular order; the work grows with their number."""
        return self._tree.filters()

    def audience(self, filter: bytes) -> Audience:
        """Who subscribes to exactly this filter."""
        found = Audience()
        for target in self._tree.at(filter):
            if isinstance(target, Subscription):
                found.subscribers += 1
                found.add(target)
            else:
                group = cast(_SharedGroup, target)
                found.groups.append((group.group, len(group.members)))
                for member in group.members:
                    found.add(member)
        return found

    # Publishing.

    def publish(self, message: Message) -> i64:
        """Adds a message to this turn's batches. Gives how many deliveries it will have: receivers with an
        ordinary subscription that matches, and one for each shared group."""
        self.published += 1
        route = self._routes.get(message.topic)
        if route is None:
            route = self._find_route(message.topic)
        count: i64 = 0
        receivers = route.set
        if receivers is not None:
            if receivers.verified != self._last_run:
                self._join_run(receivers)
            receivers.messages.append(message)
            count = receivers.size
        if route.groups is not None:
            count += self._publish_shared(message, route.groups)
        if count == 0:
            self.no_receiver += 1
        return count

    def responders(self, topic: bytes) -> i64:
        """How many of those who would get a message on this topic can reply; a shared group counts as one."""
        route = self._routes.get(topic)
        if route is None:
            route = self._find_route(topic)
        count: i64 = 0
        if route.set is not None:
            for subscription in route.set.subscriptions:
                if subscription.receiver.can_reply:
                    count += 1
        if route.groups is not None:
            for group in route.groups:
                for member in group.members:
                    if member.receiver.can_reply:
                        count += 1
                        break
        return count

    def flush(self) -> None:
        """Ends the turn: hands every batch to each of its receivers, in the order of publication.

        What a receiver publishes meanwhile is delivered by the next flush.
        """
        runs = self._runs
        if not runs or self._flushing:
            return
        self._flushing = True
        self._runs = []
        self._run_sets = []
        self._last_run += 1  # a number that no run has: no set is verified for it
        self._first_run = self._last_run + 1
        try:
            for batch in runs:
                deliveries: i64 = 0
                messages: i64 = len(batch.messages)
                for subscription in batch.subscriptions:
                    if subscription.active:
                        subscription.delivered += messages
                        subscription.receiver.deliver(batch, subscription)
                        deliveries += 1
                self.delivered += deliveries * messages
        finally:
            self._flushing = False

    def has_batches(self) -> bool:
        """Whether `flush` has something to deliver."""
        return len(self._runs) > 0

    def _publish_shared(self, message: Message, groups: list[_SharedGroup]) -> i64:
        for group in groups:
            member = group.pick()
            single = self._singles.get(member)
            if single is None:
                single = self._make_set([member], (member,))
                self._singles[member] = single
            if single.verified != self._last_run:
                self._join_run(single)
            single.messages.append(message)
        return len(groups)

    def _join_run(self, receivers: _Set) -> None:
        """Makes `receivers.messages` the right place for the next message: its latest run or a new one."""
        if receivers.run < self._first_run or not self._may_append(receivers):
            batch = Batch(receivers.subscriptions)
            self._runs.append(batch)
            self._run_sets.append(receivers)
            self._last_run += 1
            number = self._last_run
            receivers.run = number
            receivers.messages = batch.messages
            for subscription in receivers.subscriptions:
                subscription.receiver.last_run = number
        receivers.verified = self._last_run

    def _may_append(self, receivers: _Set) -> bool:
        """Whether no run after the set's latest goes to one of its receivers."""
        run = receivers.run
        if receivers.size <= SMALL_SET:
            for subscription in receivers.subscriptions:
                if subscription.receiver.last_run > run:
                    return False
            return True
        verified = max(receivers.verified, run)
        if self._last_run - verified > LOOK_BACK:
            return False
        while verified < self._last_run:
            verified += 1
            if not receivers.is_disjoint(self._run_sets[verified - self._first_run]):
                return False
        return True

    def _settle(self, receiver: Receiver) -> None:
        """Delivers this turn's batches before a subscription of one of their receivers changes."""
        if receiver.last_run >= self._first_run:
            self.flush()

    # Routes.

    def _find_route(self, topic: bytes) -> _Route:
        # Only here, so that a topic is checked once and not with each of its messages.
        check_topic(topic)
        if len(self._routes) >= ROUTES_MAX or self._set_references >= ROUTE_RECEIVERS_MAX:
            self._forget_all_routes()
        oldest: dict[Receiver, Subscription] = {}
        groups: list[_SharedGroup] | None = None
        for target in self._tree.match(topic):
            if isinstance(target, Subscription):
                other = oldest.get(target.receiver)
                if other is None or target.number < other.number:
                    oldest[target.receiver] = target
            else:
                if groups is None:
                    groups = []
                groups.append(cast(_SharedGroup, target))
        receivers = self._intern(list(oldest.values())) if oldest else None
        route = _Route(receivers, groups)
        if len(topic) <= ROUTE_TOPIC_BYTES_MAX:
            self._routes[topic] = route
            if receivers is not None:
                if receivers.routes == 0:
                    self._sets[receivers.key] = receivers
                    self._set_references += receivers.size
                receivers.routes += 1
        return route

    def _intern(self, subscriptions: list[Subscription]) -> _Set:
        """The set of these receivers: the one that another topic already uses, if there is."""
        if len(subscriptions) > 1:
            numbered = [(int(one.number), one) for one in subscriptions]
            numbered.sort()  # the numbers differ: subscriptions are never compared
            subscriptions = [one for _, one in numbered]
        key = tuple(subscriptions)
        found = self._sets.get(key)
        if found is not None:
            return found
        return self._make_set(subscriptions, key)

    def _make_set(self, subscriptions: list[Subscription], key: tuple[Subscription, ...]) -> _Set:
        self._last_set += 1
        return _Set(subscriptions, key, self._last_set)

    def _forget_routes(self, filter: bytes) -> None:
        """Forgets every route that a change under this filter may have changed.

        Without a wildcard that is one; with one it is all, which costs no more than finding them did.
        """
        if is_pattern(filter):
            self._forget_all_routes()
            return
        route = self._routes.pop(filter, None)
        if route is not None and route.set is not None:
            receivers = route.set
            receivers.routes -= 1
            if receivers.routes == 0:
                self._sets.pop(receivers.key, None)
                self._set_references -= receivers.size

    def _forget_all_routes(self) -> None:
        if self._routes:
            self._routes = {}
        if self._sets:
            self._sets = {}
        self._set_references = 0

    # Retained values.

    def retain(self, topic: bytes, value: bytes, headers: bytes, expires_at: i64) -> None:
        """Keeps a value for later subscribers, in place of the topic's old one. Publishes nothing."""
        self.kept.put(topic, value, headers, expires_at)

    def clear_retained(self, topic: bytes) -> bool:
        """Takes a topic's retained value away; False if there was none."""
        return self.kept.clear(topic)

    def retained_topics(self) -> list[bytes]:
        """The topics that hold a value, in no particular order."""
        return self.kept.topics()

    def retained_value(self, topic: bytes, now: i64) -> RetainedValue | None:
        """What one topic holds."""
        return self.kept.get(topic, now)

    def retained(self, filter: bytes, now: i64) -> list[Message]:
        """The retained values that a filter matches, in the order in which they were published."""
        return self.kept.match(filter, now)

    def expire(self, now: i64, budget: i64) -> i64:
        """Removes retained values that are due: see `Retained.expire`."""
        return self.kept.expire(now, budget)


def _key(filter: bytes, group: bytes) -> bytes:
    """A receiver's name for a subscription. NUL cannot be in a filter, so keys do not collide."""
    if not group:
        return filter
    return filter + b"\x00" + group
