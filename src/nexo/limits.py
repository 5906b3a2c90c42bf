"""Every bound of a node, with its reason. Units stand last in a name.

A bound that a request breaks is answered with LimitExceededError (or, for a frame, with
ProtocolError) naming the bound and its value. What an operator may change is a setting in
server/config.py whose default stands here.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * 1024

# The wire.
FRAME_BYTES_MAX: Final = 10 * MIB
"""One native frame's payload; the published client's servers have the same bound."""
LOGIN_BYTES_MAX: Final = 16 * KIB
"""One frame of who may do nothing before it has logged in: a greeting with a token is far smaller."""
GREETING_SECONDS_MAX: Final = 10.0
"""From accept to the first complete command, absolute, so that a byte a second does not hold a slot."""
LOGINS_WAITING_MAX: Final = 256
"""Passwords that wait to be verified, one after another at 50 ms: who would wait longer is told to try again."""
LOGINS_PER_ADDRESS_MAX: Final = 8
"""The same from one address, so that guesses made side by side do not get around the wait after a failure."""
CONNECTIONS_MAX: Final = 10_000
"""Open connections; each costs a file descriptor and about 10 KiB."""
HANDSHAKES_MAX: Final = 4_096
"""Connections of a port with TLS that have not shown their first byte or are in the handshake: each costs a file
descriptor besides those of connections_max, a task and up to 50 KiB. Past it new ones are closed unheard."""

# Keys and topics.
KEY_BYTES_MAX: Final = 64 * KIB
"""A key is held in memory twice (table and prefix index reference it) and copied in each change."""
TOPIC_BYTES_MAX: Final = 64 * KIB - 1
"""MQTT's own bound on a topic name, so that every topic can cross every protocol."""
TOPIC_LEVELS_MAX: Final = 128
"""Matching walks the levels of a topic: this bounds the work of one publish (EMQX has the same)."""
HEADERS_BYTES_MAX: Final = 64 * KIB
"""Headers are metadata and are copied whole to each consumer."""
KEYS_PER_COMMAND_MAX: Final = 10_000
"""Keys in one multi-get or multi-set: one command must not hold the loop for more than a few ms."""
SCAN_KEYS_MAX: Final = 10_000
"""Keys in one page of a scan, for the same reason."""
STORE_MAPS_MAX: Final = 1_000
"""Declared maps of a store: they are for kinds of keys, not for single ones."""
MAP_PREFIX_BYTES_MAX: Final = 255
"""A write looks its map up once for each length of a prefix that is declared."""
SUBSCRIPTIONS_PER_CONNECTION_MAX: Final = 200_000
"""One connection's filters; a bridge or gateway needs many, a runaway loop must end."""
WATCHES_PER_CONNECTION_MAX: Final = 10_000
"""One connection's watches on the store."""
WAITS_PER_CONNECTION_MAX: Final = 10_000
"""One connection's receives, fetches and reads that wait: each is remembered for up to 50 days."""
PAGE_BYTES_MAX: Final = 4 * MIB
"""Values in one page of a browse or of dead letters: as JSON, bytes take a third more, and it must fit a frame."""

# Batches across brokers.
BATCH_COMMANDS_MAX: Final = 1_000
"""Commands in one batch, and preconditions: all are checked and applied without a pause, within a few ms."""
BATCH_BYTES_MAX: Final = 4 * MIB
"""Payload of one batch: it is one record of the log together with all else that its turn did."""

# Queues.
QUEUES_MAX: Final = 10_000
"""Queues of a node. An idle one costs a few KiB, but a loop that creates them must end."""
QUEUE_NAME_BYTES_MAX: Final = 255
"""A name stands in errors, metrics and file names of tools; longer ones are data that went astray."""
MESSAGE_BYTES_MAX: Final = FRAME_BYTES_MAX - 128 * KIB
"""Value of one message: a frame that delivers it, with headers and ids, must stay below the frame's bound."""
MESSAGES_PER_PUSH_MAX: Final = 10_000
"""Messages in one push, which is one operation of the log; the published protocol has the same bound."""
DELIVERIES_PER_RECEIVE_MAX: Final = 10_000
"""Messages in one receive, and acknowledgements in one call: a command must not hold the loop."""
DELIVERY_BYTES_MAX: Final = 8 * MIB
"""Bodies in one receive; what follows is delivered by the next. Below the bound of a frame."""
QUEUE_KEY_BYTES_MAX: Final = 1 * KIB
"""A dedup or group key: each is held in memory for as long as it matters."""
REASON_BYTES_MAX: Final = 4 * KIB
"""The reason of a refusal, cut beyond: room for a traceback's end, for every dead letter there is."""
DEDUP_KEYS_MAX: Final = 2_000_000
"""Dedup keys that one queue remembers, about 200 bytes each: 6,600 a second with the default window."""
REPEATED_ACKS_MAX: Final = 4_096
"""Latest deliveries of a queue for which an acknowledgement that is sent again is still confirmed."""
COUNT_MAX: Final = 1 << 53
"""A limit that a queue is given, in messages or bytes: any integer that JSON carries exactly."""
RESIDENT_BYTES_DEFAULT: Final = 64 * MIB
"""Bodies that one queue keeps in memory when they are in the log as well: seconds of any consumer's work."""
RESIDENT_BYTES_TOTAL_DEFAULT: Final = 512 * MIB
"""The same over all queues of a node."""
READ_AHEAD_BYTES: Final = 1 * MIB
"""Bodies read from the log together: large enough for a disk, small enough for a turn of the loop."""
READ_AHEAD_MESSAGES: Final = 1_024
"""The same in messages."""
READ_GAP_BYTES: Final = 4 * KIB
"""Two bodies this close are read in one go: reading what lies between costs less than a second read."""
DUMP_BYTES: Final = 256 * KIB
"""One operation of a snapshot: bounded, so that a slice of a dump is."""

# Time.
TTL_MS_MAX: Final = 1 << 53
"""285,000 years: larger values are mistakes in the unit and would overflow a sum with the clock."""
REQUEST_TIMEOUT_MS_MAX: Final = 3_600_000
"""A request is remembered until its deadline; an hour is past any synchronous call."""
VISIBILITY_TIMEOUT_MS_DEFAULT: Final = 30_000
"""How long a consumer may work on a message before another one gets it; what clients of queues expect."""
LEASE_MS_MAX: Final = 7 * 24 * 3_600_000
"""A lease is for a consumer that lives: a week is past any job that does not extend it."""
DELIVERIES_DEFAULT: Final = 5
"""Deliveries before a message is a dead letter: enough for a fault that passes."""
DEDUP_WINDOW_MS_DEFAULT: Final = 300_000
"""How long a push can be repeated without a second message: past any client's retries."""
DEDUP_WINDOW_MS_MAX: Final = 7 * 24 * 3_600_000
"""Each key is remembered so long; DEDUP_KEYS_MAX is the bound that is met first."""
DEAD_RETENTION_MS_DEFAULT: Final = 14 * 24 * 3_600_000
"""How long a dead letter waits for somebody to look at it: over a holiday."""
DEAD_LETTERS_DEFAULT: Final = 1_000_000
"""Dead letters that a queue keeps, the oldest go first: a queue that only fails must not fill the memory."""

# Memory that one peer can pin.
OUTPUT_HIGH_WATER_BYTES: Final = 1 * MIB
"""Above this a connection is blocked: its input is not read, its messages wait in its outbox."""
OUTPUT_LOW_WATER_BYTES: Final = 256 * KIB
"""Below this a blocked connection goes on."""
OUTPUT_BYTES_MAX: Final = 32 * MIB
"""Hard bound on what waits for one connection beyond one reply; then it is disconnected."""
PENDING_MESSAGES_DEFAULT: Final = 16_384
"""Messages that may wait for a slow subscription before its policy applies."""
PENDING_BYTES_DEFAULT: Final = 8 * MIB
"""The same in bytes of payload."""
RETAINED_DEFAULT: Final = 10_000_000
"""Retained messages of a node, each a topic of its own: a publisher with a counter in its topics must end."""
RETAINED_BYTES_DEFAULT: Final = 4096 * MIB
"""Their topics, values and headers: nothing evicts them."""
PENDING_REQUESTS_MAX: Final = 100_000
"""Requests waiting for a reply, over the whole node."""
CHANGES_MAX: Final = 65_536
"""Changes that the store's change log holds for watches to resume from."""
CHANGES_BYTES_MAX: Final = 64 * MIB
"""The same in bytes: the log pins the values it holds."""
JOURNAL_PENDING_BYTES_MAX: Final = 64 * MIB
"""What may wait for the disk before commands are no longer read: then TCP slows those who send."""
SHUTDOWN_SECONDS_MAX: Final = 10.0
"""How long a stopping server waits for clients to read what was written to them."""

# Alarms: writes are refused, and what frees memory or room goes on.
MEMORY_ALARM_PERCENT_DEFAULT: Final = 70
"""Of the machine's memory, or the container's: what a turn, an allocator and a snapshot's process need is left."""
MEMORY_ALARM_CLEAR_PERCENT: Final = 95
"""Of the bound: a raised alarm is cleared below it, so that clients are not let in and out each second."""
DISK_ALARM_PERCENT_DEFAULT: Final = 5
"""Of the file system: acks, cleaning and compaction need room of their own to give any back."""
DISK_ALARM_BYTES_DEFAULT_MAX: Final = 1024 * MIB
"""The most that this share asks for: a file system of terabytes does not need 5 % to clean log files of 64 MiB."""
DISK_ALARM_CLEAR_PERCENT: Final = 120
"""Of the bound: as for memory, above it."""

# HTTP.
HTTP_BODY_BYTES_MAX: Final = FRAME_BYTES_MAX
"""One request's body, which is in memory as a whole: what the native protocol takes in one frame."""
HTTP_CONNECTIONS_MAX: Final = 1_000
"""Requests and event streams under way: dashboards and scripts, each a task of the loop."""
HTTP_PAGE_MAX: Final = 1_000
"""Items in one page of a list: encoding one as JSON takes microseconds, a page must not hold the loop."""
HTTP_PAGE_DEFAULT: Final = 100
"""Items in a page when the request does not say: what a person looks at."""
HTTP_SEARCH_MESSAGES_MAX: Final = 10_000
"""Messages that one request of a search looks at: their bodies are read and decoded, some microseconds each."""
HTTP_WAIT_MS_MAX: Final = 60_000
"""Longest long poll: proxies on the way give up on a silent request after about a minute."""
HTTP_TAIL_MESSAGES_MAX: Final = 1_000
"""Messages that wait for one reader of a tail: more than a screen, and the newest are what it looks for."""
HTTP_TAIL_BYTES_MAX: Final = 8 * MIB
"""The same in bytes of topic, value and headers."""
HTTP_FOLLOW_BYTES: Final = 256 * KIB
"""Records that a follower is sent at a time: what waits in its connection stays small."""
SLOW_COMMANDS_KEPT: Final = 128
"""Slow commands that can be asked for: enough to see a pattern; the log has the others."""
HTTP_METRIC_RESOURCES_MAX: Final = 200
"""Queues, and streams, that have metrics of their own: a time series each for about ten names is what a scraper bears."""

# The disk.
LOG_FILE_BYTES: Final = 64 * MIB
"""A log file that has grown to this is followed by another. It is removed as a whole, once
what lives in it has been moved; and a start reads no more than a few of them after a snapshot."""
COMPACTION_FILES: Final = 4
"""Complete log files that a start may have to replay before they are compacted: a second or two of work."""
CLEANING_FILES: Final = 2
"""Dead bytes, in files of the log, from which on cleaning is worth a compaction, which it ends with."""
CLEANING_LIVE_PERCENT: Final = 50
"""A file is cleaned when less of it lives than this: what is moved is then never more than what it frees."""
CLEANING_SLICE_BYTES: Final = 128 * KIB
"""Moved in one turn of the loop: a fraction of a millisecond, written by the loop itself."""
CLEANING_LOOKS: Final = 2_000
"""Messages and blocks looked at in one turn, for the same reason."""
CLEANING_READS: Final = 8
"""Places of the log read in one turn: a disk may take a millisecond for each."""
CLEANING_FLIGHT_BYTES: Final = 2 * MIB
"""Moved and not on disk yet: what a sync must not take much longer for."""
FLUSH_MS_MAX: Final = 100
"""Age of the oldest write at level flush that a power cut can lose. The sync begins after half of it."""
WRITE_AT_ONCE_MS_MAX: Final = 5
"""Time that a write in the loop's own thread may take: most take 20 µs. After one that took longer the disk is
throttled, or the system short of memory, and the thread writes for a while."""
WRITE_PAUSE_MS_MIN: Final = 1_000
"""How long then; twice as long when the next such write is slow, too."""
WRITE_PAUSE_MS_MAX: Final = 32_000
"""The longest of these pauses: one slow write in so much time is felt by nobody."""
RESERVE_BYTES: Final = 1 * MIB
"""Kept on disk for the acks of a full one: about 30,000 of them."""
EPOCHS_MAX: Final = (1 << 23) - 1
"""Starts of one data directory: ids and tokens begin with the epoch, and 40 bits of 63 are for their counting. A
server that is started every second reaches it after 97 days."""
RESTORED_EPOCHS: Final = 1 << 14
"""Starts that a directory may have seen between a backup and the restore of it: as many epochs are passed over."""
READ_FILES_MAX: Final = 64
"""Log files held open for reading old bodies; the descriptors belong to connections."""
SNAPSHOT_RECORD_BYTES: Final = 256 * KIB
"""Operations gathered for one record of a snapshot: one write for about a thousand keys."""
SCAN_BYTES: Final = 1 * MIB
"""Read at a time when a log is replayed or verified."""

# Backups.
BACKUPS_MAX: Final = 4
"""Backups of a node under way at once: each keeps files on disk that compaction would remove."""
BACKUP_CHUNK_BYTES: Final = 256 * KIB
"""One answer of a backup that is read: a small part of a turn of the loop."""
BACKUP_READS_MAX: Final = 16
"""Unanswered reads of one backup: enough for any distance, and 4 MiB of memory."""
BACKUP_IDLE_SECONDS_MAX: Final = 60.0
"""A backup that nobody has read from for so long ends: it must not keep files for ever."""
BACKUP_MANIFEST_BYTES_MAX: Final = 16 * MIB
"""The list of files in a backup, which is held in memory: about 200,000 files, 12 TiB."""

# Streams.
STREAMS_MAX: Final = 100_000
"""Streams of a node: an idle one costs about 2 KiB, and each is named in every snapshot."""
GROUPS_PER_STREAM_MAX: Final = 10_000
"""Consumer groups of one stream; what is appended is told to each that waits."""
MEMBERSHIPS_PER_CONNECTION_MAX: Final = 10_000
"""Memberships in consumer groups of one connection: each costs about 600 bytes, and all end with it in one turn."""
STREAM_KEY_BYTES_MAX: Final = 64 * KIB - 1
"""A record's key: its length is two bytes on the wire and in the log."""
APPEND_RECORDS_MAX: Final = 65_536
"""Records in one batch append; the published client has the same bound."""
FETCH_RECORDS_MAX: Final = 65_536
"""Records in one fetch or read; the published client has the same bound."""
BLOCK_BYTES_MAX: Final = 64 * KIB
"""A block is closed once it is this large: what one look-up in an old part of a stream reads and walks."""
STREAM_TAIL_BYTES_MAX: Final = 1 * MIB
"""The newest blocks of one stream that are kept in memory: readers that keep up never touch the log."""
STREAM_CACHE_BYTES_MAX: Final = 256 * MIB
"""The same over all streams, old blocks that were read again included."""
PRODUCERS_PER_STREAM_MAX: Final = 10_000
"""Producer ids that a stream remembers; the one that has been silent longest is forgotten first."""
PRODUCER_APPENDS_MAX: Final = 100
"""Latest appends remembered for each producer: a client has no more than that unanswered."""
PRODUCER_ID_BYTES_MAX: Final = 256
"""A producer's id: a UUID or a host name with a counter is far shorter."""
GROUP_UNSETTLED_MAX: Final = 1_000_000
"""Messages of a group that are leased, delayed or held back by their key; then it stops at that place."""
KEY_BLOCKED_MAX: Final = 65_536
"""Messages of a group that wait for an earlier one of their key: looking past more takes longer than a turn."""
DEAD_LETTERS_MAX: Final = 100_000
"""Dead letters of one group; past it the oldest are dropped, and counted."""
DEAD_LETTERS_BYTES_MAX: Final = 64 * MIB
"""The same in bytes: dead letters are in memory, so that retention cannot take them."""

TOP_LOOKED_AT_MAX: Final = 10_000
"""Filters among which the busiest are looked for: each costs about a microsecond of a turn."""
