"""Clients that do with streams and their groups, at random, what clients do, and note in the model what they saw."""

from __future__ import annotations

from nexo.brokers.journal import FLUSH, LEVELS, MEMORY
from nexo.brokers.stream.group import BEGINNING, END, SEQUENCE, TIME, Group
from nexo.brokers.stream.records import Record as Stored
from nexo.brokers.stream.stream import Stream
from nexo.errors import FencedError, NotMemberError, SequenceMismatchError, StorageError
from tests.simulation.clients import Client, Crowd, Fetched
from tests.simulation.image import ALL
from tests.simulation.model import (
    End,
    GroupModel,
    Record,
    StreamModel,
    check,
    lasts,
    seen_before,
)

NAMES = (b"s", b"t", b"u")
GROUPS = (b"g", b"h")
KEYS = (b"", b"", b"", b"k1", b"k2")
PRODUCERS = (b"p", b"q")


class StreamClients(Crowd):
    """The commands of streams; each gives what it was, for a person to read."""

    def look_at_streams(self) -> None:
        """What was refused is gone, and what retention took."""
        for number, stream in list(self.streams.items()):
            if stream.made.refused and not stream.gone:
                check(not self.is_there(stream), f"stream {stream.name!r} was refused, and is there")
                stream.gone.append(stream.made)
            if stream.made.refused and not self.life.log.fenced:
                del self.streams[number]
            elif not stream.gone:
                if not self.life.log.fenced:
                    stream.refuse()
                self.look_at_stream(stream, self.node.streams.find(stream.name))

    def is_there(self, stream: StreamModel) -> bool:
        streams = self.node.streams
        return streams.exists(stream.name) and streams.find(stream.name).number == stream.number

    def look_at_stream(self, stream: StreamModel, found: Stream) -> None:
        stream.first = max(stream.first, int(found.first_seq))
        same = found.next_seq == stream.next or self.life.log.fenced
        check(same, f"{stream.name!r} goes on at {found.next_seq}, not {stream.next}")
        for group in list(stream.groups.values()):
            live = found.groups.get(group.name)
            if live is None or live.number != group.number:
                check(group.made.refused, f"group {group.name!r} is gone, and nobody deleted it")
                if not self.life.log.fenced:
                    del stream.groups[group.number]
            else:
                group.letters_here({int(letter.seq) for letter in live.peek(0, ALL)})

    def any_stream(self) -> tuple[StreamModel, Stream] | None:
        living = [stream for stream in self.streams.values() if not stream.gone]
        if not living:
            return None
        stream = self.random.choice(living)
        return stream, self.node.streams.find(stream.name)

    def create_stream(self) -> str:
        draw = self.random
        name = draw.choice(NAMES)
        if self.node.streams.exists(name):
            return "exists"
        given = {
            "durability": draw.choice((2, 2, 1, 0)),
            "ack_wait_ms": draw.choice((500, 5_000, 30_000)),
            "max_deliveries": draw.choice((0, 1, 2, 5)),
            "max_records": draw.choice((0, 0, 30)),
            "max_age_ms": draw.choice((0, 0, 60_000)),
            "max_ack_pending": draw.choice((3, 1_000)),
        }
        try:
            self.node.check_room()
        except StorageError:
            return "refused"
        live, created = self.node.streams.create(name, given, self.now)
        assert created
        made = self.step(max(given["durability"], FLUSH))
        self.streams[int(live.number)] = StreamModel(int(live.number), name, given["durability"], made)
        self.answer(made)
        return f"{name!r} {LEVELS[given['durability']]}"

    def delete_stream(self) -> str:
        if not (found := self.any_stream()):
            return ""
        stream, live = found
        self.node.streams.delete(live.name, self.now)
        gone = self.step(max(stream.level, FLUSH))
        stream.gone.append(gone)
        self.answer(gone)
        return f"{stream.name!r}"

    def append(self) -> str:
        if not (found := self.any_stream()):
            return ""
        stream, live = found
        draw = self.random
        headers = draw.choice((b"", b"\0\1h\0\1x"))
        records = [(draw.choice(KEYS), self.value(), headers) for _ in range(draw.choice((1, 1, 3, 8)))]
        expected, producer, number = -1, b"", -1
        kind = draw.random()
        if kind < 0.2:
            expected = stream.next - 1 - draw.choice((0, 0, 1))
        elif kind < 0.4:
            producer = draw.choice(PRODUCERS)
            numbers = [one for name, one in stream.producers if name == producer]
            number = max(numbers, default=-1) + draw.choice((0, 1, 1, 3))
            number = max(number, 0)
        try:
            self.node.check_room()
            first, count, known = live.append_many(records, self.now, expected, producer, number)
        except SequenceMismatchError:
            check(
                expected >= 0 and expected != stream.next - 1,
                f"{stream.name!r} refused an append it should take",
            )
            return f"{stream.name!r}: mismatch"
        except StorageError:
            return f"{stream.name!r}: refused"
        step = self.step(stream.level)
        before = stream.producers.get((producer, number)) if producer else None
        check(
            known == (before is not None),
            f"producer {producer!r} {number} of {stream.name!r}: known is {known}",
        )
        if known:
            check((first, count) == before, f"producer {producer!r} {number} was answered otherwise before")
            for seq in range(first, first + count):
                if seq in stream.records:
                    stream.records[seq].again.append(step)
            self.answer(step)
            return f"{stream.name!r} {producer!r} {number}: known"
        check(expected < 0 or expected == stream.next - 1, f"{stream.name!r} took an append it should refuse")
        check(first == stream.next, f"{stream.name!r} gave {first}, and {stream.next} is next")
        for place, (key, value, _) in enumerate(records):
            stream.records[int(first) + place] = Record(value, key, step)
        if producer:
            stream.producers[producer, number] = (int(first), int(count))
        self.answer(step)
        return f"{stream.name!r} {first} × {count}"

    def read(self) -> str:
        if not (found := self.any_stream()):
            return ""
        stream, live = found
        seq = self.random.randint(1, stream.next)
        records = live.read(seq, self.random.choice((1, 10, 1_000)), 1 << 20).each()
        expected = max(seq, stream.first)
        for record in records:
            check(record.seq == expected, f"{stream.name!r} read {record.seq} where {expected} follows")
            expected += 1
            self.saw(stream, int(record.seq), record)
        return f"{stream.name!r} {seq} × {len(records)}"

    def saw(self, stream: StreamModel, seq: int, record: Stored) -> None:
        stream.read(seq, record.value, record.key)
        step = stream.records[seq].step
        if stream.level != MEMORY and not step.seen:
            settled = self.node.journal.settled(step.batch, stream.level)
            check(settled, f"sequence {seq} of {stream.name!r} was given before it was durable")

    # Groups.

    def join(self) -> str:
        if not (found := self.any_stream()):
            return ""
        stream, live = found
        try:
            self.node.check_room()
        except StorageError:
            return "refused"
        client = self.random.choice(self.all)
        member = self.node.streams.join(live, self.random.choice(GROUPS), client.session, self.now)
        step = self.step(stream.level)
        number = int(member.group.number)
        group = stream.groups.get(number)
        if group is None:
            group = GroupModel(number, member.group.name, step)
            stream.groups[number] = group
        check(
            member.generation > group.generation, f"generation {member.generation} follows {group.generation}"
        )
        group.generation = int(member.generation)
        self.only_once("generation", number, group.generation)
        group.joins.append((group.generation, step))
        client.members.append((stream.number, number, member.consumer_id, group.generation))
        self.answer(step)
        return f"{stream.name!r} {group.name!r} generation {group.generation}"

    def any_member(self) -> tuple[Client, tuple[int, int, bytes, int], StreamModel, GroupModel, Group] | None:
        client = self.random.choice(self.all)
        client.members = [one for one in client.members if self.group_of(one[0], one[1])]
        if not client.members:
            return None
        member = self.random.choice(client.members)
        found = self.group_of(member[0], member[1])
        assert found is not None
        return client, member, *found

    def group_of(self, number: int, group: int) -> tuple[StreamModel, GroupModel, Group] | None:
        stream = self.streams.get(number)
        if stream is None or stream.gone or group not in stream.groups:
            return None
        live = self.node.streams.find(stream.name).groups.get(stream.groups[group].name)
        return None if live is None or live.number != group else (stream, stream.groups[group], live)

    def fetch(self) -> str:
        if not (found := self.any_member()):
            return ""
        client, (number, _, consumer, generation), stream, group, live = found
        try:
            deliveries = live.fetch(consumer, generation, self.random.choice((1, 2, 10)), self.now)
        except (FencedError, NotMemberError) as error:
            return f"{group.name!r}: {type(error).__name__}"
        self.look_at_stream(stream, self.node.streams.find(stream.name))
        step = self.leaves(client, stream.level if deliveries else MEMORY)
        for one in deliveries:
            seq = int(one.seq)
            check(
                seq not in group.acked, f"sequence {seq} of group {group.name!r} was acked, and comes again"
            )
            tries = group.attempts.get(seq, 0)
            check(
                one.attempts == tries + 1,
                f"attempt {one.attempts} of {seq} in {group.name!r} follows {tries}",
            )
            self.only_once("receipt", group.number, int(one.token))
            group.attempts[seq] = int(one.attempts)
            group.lent[seq] = (group.attempts[seq], step)
            self.saw(stream, seq, Stored(seq, one.block, one.start, one.end))
            client.fetched.append((number, group.number, consumer, generation, seq, int(one.token)))
        return f"{stream.name!r} {group.name!r} {[int(one.seq) for one in deliveries]}"

    def any_fetched(self) -> tuple[Fetched, StreamModel, GroupModel, Group, Client] | None:
        client = self.random.choice(self.all)
        while client.fetched:
            fetched = client.fetched.pop(self.random.randrange(len(client.fetched)))
            found = self.group_of(fetched[0], fetched[1])
            if found:
                return fetched, *found, client
        return None

    def ack_stream(self) -> str:
        if not (found := self.any_fetched()):
            return ""
        first, stream, group, live, client = found
        done = [first]
        try:
            if self.random.random() < 0.7:
                live.ack(*first[2:], self.now)
            else:
                newest = {one[4]: one for one in [first, *client.fetched] if one[:4] == first[:4]}
                done = list(newest.values())
                client.fetched = [one for one in client.fetched if one not in done]
                seqs, tokens = [one[4] for one in done], [one[5] for one in done]
                refused = live.ack_many(first[2], first[3], seqs, tokens, self.now)
                done = [one for one in done if one[4] not in refused]
        except (FencedError, NotMemberError) as error:
            return f"{group.name!r} {first[4]}: {type(error).__name__}"
        step = self.step(stream.level)
        for one in done:
            group.acked[one[4]] = step
        self.answer(step)
        return f"{stream.name!r} {group.name!r} {[one[4] for one in done]}"

    def nack_stream(self) -> str:
        if not (found := self.any_fetched()):
            return ""
        (_, _, consumer, generation, seq, token), stream, group, live, _ = found
        release = self.random.random() < 0.3
        delay = self.random.choice((-1, 0, 3_000))
        try:
            live.nack(consumer, generation, seq, token, b"why", delay, self.now, release)
        except (FencedError, NotMemberError) as error:
            return f"{group.name!r} {seq}: {type(error).__name__}"
        if release:
            group.attempts[seq] -= 1
            group.lent.pop(seq, None)
        self.look_at_stream(stream, self.node.streams.find(stream.name))
        self.answer(self.step(stream.level))
        return f"{stream.name!r} {group.name!r} {seq}"

    def leave(self) -> str:
        if not (found := self.any_member()):
            return ""
        client, member, _, group, live = found
        client.members.remove(member)
        try:
            live.leave(member[2], member[3], self.now)
        except (FencedError, NotMemberError) as error:
            return f"{group.name!r}: {type(error).__name__}"
        return f"{group.name!r} {member[3]}"

    def seek(self) -> str:
        if not (found := self.any_member()):
            return ""
        _, _, stream, group, live = found
        kind = self.random.choice((BEGINNING, END, SEQUENCE, TIME))
        value = self.now - 1_000 if kind == TIME else self.random.randint(0, stream.next)
        live.seek(kind, value, self.now)
        check(live.generation > group.generation, f"{group.name!r} was sought, and its generation stays")
        group.generation = int(live.generation)
        self.only_once("generation", group.number, group.generation)
        step = self.step(stream.level)
        group.joins.append((group.generation, step))
        group.sought(int(live.backlog.settled.floor))
        self.answer(step)
        return f"{stream.name!r} {group.name!r} {kind} {value}"

    def dead_letter(self) -> str:
        """One of them is deleted, or comes to the end of the stream."""
        if not (found := self.any_member()):
            return ""
        _, _, stream, group, live = found
        letters = live.peek(0, ALL)
        if not letters:
            return ""
        letter = self.random.choice(letters)
        if self.random.random() < 0.5:
            live.delete(letter.seq)
            step = self.step(stream.level)
            group.buried[int(letter.seq)] = None
        else:
            try:
                self.node.check_room()
            except StorageError:
                return "refused"
            record = letter.contents()
            seq = int(live.move_to_stream(letter.seq, self.now))
            step = self.step(stream.level)
            check(seq == stream.next, f"{stream.name!r} gave {seq}, and {stream.next} is next")
            stream.records[seq] = Record(record.value, record.key, step)
            group.buried[int(letter.seq)] = None if stream.level == MEMORY else step
        self.answer(step)
        return f"{stream.name!r} {group.name!r} {letter.seq}"


def restart_streams(crowd: Crowd, end: End) -> None:
    """Compare the streams that have come back with the model; then the model is what is there."""
    node = crowd.node
    live = {int(node.streams.find(name).number): node.streams.find(name) for name in node.streams.names()}
    for number, stream in list(crowd.streams.items()):
        if number in live and live[number].name == stream.name:
            check(
                not any(lasts(step, end) for step in stream.gone),
                f"{stream.name!r} was deleted, and came back",
            )
        else:
            check(
                bool(stream.gone) or not lasts(stream.made, end),
                f"stream {stream.name!r} was confirmed, and is gone",
            )
            del crowd.streams[number]
    for number, found in live.items():
        check(number in crowd.streams, f"stream {found.name!r} is there, and nobody made it")
        stream = crowd.streams[number]
        contents: dict[int, tuple[bytes, bytes]] = {}
        while found.first_seq + len(contents) <= found.last_seq:
            for record in found.read(found.first_seq + len(contents), 1_000, 1 << 20).each():
                contents[int(record.seq)] = (record.value, record.key)
        stream.restarted(int(found.first_seq), int(found.last_seq), contents, end)
        stream.made = seen_before()
        stream.gone = []
        groups = {int(group.number): group for group in found.groups.values()}
        for model in list(stream.groups.values()):
            if model.number not in groups:
                check(not lasts(model.made, end), f"group {model.name!r} was confirmed, and is gone")
                del stream.groups[model.number]
        for group in groups.values():
            check(int(group.number) in stream.groups, f"group {group.name!r} is there, and nobody made it")
            restart_group(stream, stream.groups[int(group.number)], group, end)


def restart_group(stream: StreamModel, model: GroupModel, group: Group, end: End) -> None:
    settled = group.backlog.settled
    check(
        settled.floor < stream.next, f"the floor of {group.name!r} is {settled.floor}, after the stream's end"
    )
    done = {seq for seq in range(1, stream.next) if settled.has(seq)}
    model.buried = {}
    model.letters = {int(letter.seq) for letter in group.peek(0, ALL)}
    model.over |= model.letters
    attempts = {int(seq): int(one.attempts) for seq, one in group.backlog.pending.items()}
    model.restarted(int(group.generation), done, attempts, stream.first, end)
