-- Raw tables: what the sink moves out of Kafka, row for row. Lowest ClickHouse: 26.2.
--
-- Partitions are months of the server's clock: a player whose clock is wrong by years must not
-- spread one batch over a hundred partitions. non_replicated_deduplication_window is what makes the
-- sink's retries count once; every target of a materialized view over these tables needs it too.
-- fsync: an insert that was acknowledged is committed to Kafka next, so it must survive a power loss.

-- One session's events lie together, so that what they share is stored once: its ids, its listener, its clock.
-- Questions about tracks go to the roll-ups. What a column can be computed from is stored instead of it, as
-- small numbers (`_id_high`, `_ahead_ms`, `_delay_ms`): most of an event's bytes are the chance in its ids.
CREATE TABLE IF NOT EXISTS events (
    event_id UUID ALIAS reinterpretAsUUID(bitOr(bitShiftLeft(toUInt128(_id_low), 64), toUInt128(toUInt64(_id_high + bitShiftLeft(toUInt64(toUnixTimestamp64Milli(event_ts) - skew_ms), 16))))) COMMENT 'made once by the player; the same event sent again has the same id',
    _id_high UInt64 COMMENT 'first half of event_id less what client_ts gives a UUIDv7 made at that moment; how event_id is stored' CODEC(T64, ZSTD(1)),
    _id_low UInt64 COMMENT 'second half of event_id; chance, so no codec' CODEC(NONE),
    event_ts DateTime64(3, 'UTC') COMMENT 'when it happened: the player''s clock corrected by skew_ms; filter and group by this' CODEC(Delta, ZSTD(1)),
    received_at DateTime64(3, 'UTC') ALIAS event_ts + toIntervalMillisecond(_delay_ms) COMMENT 'when ingest received it, by the server''s clock',
    _delay_ms Int64 COMMENT 'received_at less event_ts, in ms; how received_at is stored' CODEC(T64, ZSTD(1)),
    skew_ms Int64 COMMENT 'what was added to the player''s clock to have event_ts, in ms: by how much it was behind the server''s when it sent; 0 where it did not say and could be right' CODEC(T64, ZSTD(1)),
    clock_suspect Bool ALIAS abs(skew_ms) > 86400000 COMMENT 'the player''s clock is off by more than a day',
    client_ts DateTime64(3, 'UTC') ALIAS event_ts - toIntervalMillisecond(skew_ms) COMMENT 'when it happened by the player''s own clock',
    type LowCardinality(String) COMMENT 'play_start, progress, pause, resume, seek, complete, skip, error, stall or quality_change',
    app LowCardinality(String) COMMENT 'the app whose write key posted it',
    session_id String COMMENT 'one run of a player, from opening to closing' CODEC(ZSTD(1)),
    play_id String COMMENT 'one play of one track in a session; empty where the player sent none' CODEC(ZSTD(1)),
    seq Nullable(UInt32) COMMENT 'counts the events of one play from 0' CODEC(Delta, ZSTD(1)),
    user_id String COMMENT 'the listener, where known, as a keyed hash with the version of its key before a colon; empty otherwise' CODEC(ZSTD(1)),
    anon_id String COMMENT 'the device, where the listener is not known, as a keyed hash like user_id; empty otherwise' CODEC(ZSTD(1)),
    track_id LowCardinality(String) COMMENT 'what was played; may be unknown to the catalog',
    position_ms Nullable(UInt64) ALIAS toUInt64(_ahead_ms + ifNull(played_ms, 0)) COMMENT 'where in the track, in ms',
    _ahead_ms Nullable(Int64) COMMENT 'position_ms less played_ms, in ms: 0 until the listener seeks; how position_ms is stored' CODEC(ZSTD(1)),
    duration_ms Nullable(UInt64) COMMENT 'how long the track is, in ms' CODEC(ZSTD(1)),
    played_ms Nullable(UInt64) COMMENT 'audible time of this play so far, in ms; cumulative, so take max() per play, never sum()' CODEC(T64, ZSTD(1)),
    stall_ms Nullable(UInt64) COMMENT 'with type stall: how long playback stood still, in ms; with play_start: how long the listener waited for the first sound; with resume, from players that tell of a stall as it begins (CMCD): how long the stall before it was' CODEC(T64, ZSTD(1)),
    bitrate_kbps Nullable(UInt32) COMMENT 'of the rendition played, in kbit/s' CODEC(T64, ZSTD(1)),
    codec LowCardinality(String) COMMENT 'RFC 6381 name, such as mp4a.40.2; empty where not sent',
    device LowCardinality(String) COMMENT 'as the player names it; empty where not sent',
    os LowCardinality(String) COMMENT 'as the player names it; empty where not sent',
    app_version LowCardinality(String) COMMENT 'the player''s version; empty where not sent',
    pop LowCardinality(String) COMMENT 'the point of presence that served, as the player saw it; empty where not sent',
    edge_id LowCardinality(String) COMMENT 'the edge that served, as the player saw it; empty where not sent',
    decision_id Nullable(UUID) COMMENT 'the routing decision it was played by: joins decisions and deliveries' CODEC(ZSTD(1)),
    cache_status LowCardinality(String) COMMENT 'the edge''s Cache-Status, as the player saw it; empty where not sent',
    error_code LowCardinality(String) COMMENT 'the player''s own code; with type error',
    consent LowCardinality(String) COMMENT 'granted or denied, as the player sent it; empty where it did not say. Denied: no user, no device, no network is kept',
    schema_version UInt16 COMMENT 'of the event as the player sent it; 1 where it did not say',
    extra String COMMENT 'JSON object of the fields that the player sent and no column has; empty where there were none' CODEC(ZSTD(1)),
    wire_format LowCardinality(String) COMMENT 'the wire format it came in: json, cloudevents, cmcd or listenbrainz',
    country LowCardinality(String) COMMENT 'ISO 3166-1 alpha-2, from the address; empty where unknown',
    asn UInt32 COMMENT 'autonomous system the listener is in, from the address; 0 where unknown' CODEC(T64, ZSTD(1)),
    client_net LowCardinality(String) COMMENT 'the listener''s network, cut to /24 or /48; empty where unknown',
    ingest_id LowCardinality(String) COMMENT 'the ingest process that accepted it',
    ingest_seq UInt64 COMMENT 'that process''s count from 1, without holes: one is an event that was lost, and `tonearm audit` names it' CODEC(Delta, ZSTD(1)),
    _partition UInt32 COMMENT 'partition of the listens topic it came from' CODEC(T64, ZSTD(1)),
    _offset UInt64 COMMENT 'offset in that partition: contiguous, or something is missing; twice, or something was doubled' CODEC(Delta, ZSTD(1)),
    INDEX by_received received_at TYPE minmax GRANULARITY 1,
    INDEX by_user user_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_session session_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_decision decision_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_offset _offset TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(event_ts + toIntervalMillisecond(_delay_ms))
ORDER BY (toStartOfHour(event_ts), session_id, event_ts)
TTL toDateTime(event_ts + toIntervalMillisecond(_delay_ms)) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What happened in players: one row an event, as posted to POST /v1/events. Kept 13 months. SELECT * leaves out what is computed (event_id, received_at, position_ms) unless asterisk_include_alias_columns = 1.';

CREATE TABLE IF NOT EXISTS deliveries (
    delivery_id UUID COMMENT 'made once by the edge; a record sent again has the same id, so count uniqExact(delivery_id)',
    decision_id Nullable(UUID) COMMENT 'the routing decision in the URL: joins decisions and events; null for requests without one',
    started_at DateTime64(3, 'UTC') COMMENT 'when the request''s head had arrived, by the edge''s clock' CODEC(DoubleDelta, ZSTD(1)),
    received_at DateTime64(3, 'UTC') COMMENT 'when it was handed to Kafka' CODEC(DoubleDelta, ZSTD(1)),
    pop LowCardinality(String) COMMENT 'the edge''s point of presence',
    edge_id LowCardinality(String) COMMENT 'the edge that answered',
    key String COMMENT 'the object, as the origin bucket names it' CODEC(ZSTD(1)),
    method LowCardinality(String) COMMENT 'of the request',
    status UInt16 COMMENT 'of the response: 200, 206, 304, 404, ...' CODEC(T64, ZSTD(1)),
    cache_status LowCardinality(String) COMMENT 'hit (memory), hit_disk, collapsed (joined a running fill), miss (started one), none (no body from the cache)',
    range_start UInt64 COMMENT 'first byte that was asked for; 0 for the whole object' CODEC(T64, ZSTD(1)),
    bytes_sent UInt64 COMMENT 'body bytes handed to the socket' CODEC(T64, ZSTD(1)),
    object_bytes Nullable(UInt64) COMMENT 'size of the whole object, where known' CODEC(T64, ZSTD(1)),
    ttfb_us UInt64 COMMENT 'from the request''s head to the first byte, in microseconds' CODEC(T64, ZSTD(1)),
    duration_us UInt64 COMMENT 'from the request''s head to the last byte, in microseconds' CODEC(T64, ZSTD(1)),
    complete Bool COMMENT 'false where the client left or the origin failed before the last byte',
    client_net LowCardinality(String) COMMENT 'the listener''s network, cut to /24 or /48',
    tcp_rtt_us Nullable(UInt32) COMMENT 'TCP''s smoothed round trip on the connection at the end of the response, in microseconds; null where unknown' CODEC(T64, ZSTD(1)),
    tcp_retransmits Nullable(UInt32) COMMENT 'segments that TCP sent again on the connection since its record before this one; null where unknown' CODEC(T64, ZSTD(1)),
    cmcd Map(LowCardinality(String), String) COMMENT 'what the player said with the request, by CMCD key: br, bl, sid, cid, su, ...; texts without their quotes' CODEC(ZSTD(1)),
    _partition UInt32 COMMENT 'partition of the deliveries topic it came from' CODEC(T64, ZSTD(1)),
    _offset UInt64 COMMENT 'offset in that partition' CODEC(T64, ZSTD(1)),
    INDEX by_decision decision_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_offset _offset TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (toStartOfHour(started_at), pop, cache_status, key, started_at)
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What edges sent to whom: one row a response. Kept 13 months.';

CREATE TABLE IF NOT EXISTS decisions (
    decision_id UUID COMMENT 'joins events and deliveries; GET /v1/decisions/{id} of the router tells the same',
    decided_at DateTime64(3, 'UTC') COMMENT 'when the router answered, by its clock' CODEC(DoubleDelta, ZSTD(1)),
    received_at DateTime64(3, 'UTC') COMMENT 'when it was handed to Kafka' CODEC(DoubleDelta, ZSTD(1)),
    router_id LowCardinality(String) COMMENT 'the router that decided',
    via LowCardinality(String) COMMENT 'how it was asked for: route or play',
    policy LowCardinality(String) COMMENT 'the policy that picked, such as three-nearest',
    track_id String COMMENT 'what was asked for' CODEC(ZSTD(1)),
    client_net LowCardinality(String) COMMENT 'the listener''s network, cut to /24 or /48',
    snapshot_version UInt64 COMMENT 'changes of fleet and tracks that this router had seen' CODEC(T64, ZSTD(1)),
    ttl_s UInt32 COMMENT 'how long the listener may keep to it, in seconds' CODEC(T64, ZSTD(1)),
    chosen_pop LowCardinality(String) COMMENT 'where the listener was sent; empty where there was no candidate',
    chosen_edge LowCardinality(String) COMMENT 'the edge the listener was sent to',
    chosen_reason LowCardinality(String) COMMENT 'why this edge, in words',
    chosen_rtt_ms Nullable(Float64) COMMENT 'round trip to it as the router believed, in ms; null where nothing was measured',
    chosen_load Float64 COMMENT 'its busiest resource, 0 to 1',
    chosen_network_load Float64 COMMENT 'its network out against capacity, 0 to 1',
    `candidates.pop` Array(LowCardinality(String)) COMMENT 'every candidate in rank order, the chosen one first: its point of presence; ARRAY JOIN candidates for a row each',
    `candidates.edge` Array(LowCardinality(String)) COMMENT 'its edge',
    `candidates.rtt_ms` Array(Nullable(Float64)) COMMENT 'its smoothed round trip, in ms; null where nothing was measured',
    `candidates.rtt_source` Array(LowCardinality(String)) COMMENT 'where that came from: probe, listeners or unknown',
    `candidates.jitter_ms` Array(Float64) COMMENT 'its jitter over round trips, in ms',
    `candidates.loss` Array(Float64) COMMENT 'share of probes lost, 0 to 1',
    `candidates.load` Array(Float64) COMMENT 'its busiest resource, 0 to 1',
    `candidates.network_load` Array(Float64) COMMENT 'its network out against capacity, 0 to 1',
    `candidates.rank` Array(UInt32) COMMENT '1 is the one to use',
    `candidates.reason` Array(String) COMMENT 'why it stands where it stands, in words',
    `excluded.pop` Array(LowCardinality(String)) COMMENT 'every edge that was left out: its point of presence; ARRAY JOIN excluded for a row each',
    `excluded.edge` Array(LowCardinality(String)) COMMENT 'its edge',
    `excluded.reason` Array(String) COMMENT 'why it was left out, in words',
    _partition UInt32 COMMENT 'partition of the decisions topic it came from' CODEC(T64, ZSTD(1)),
    _offset UInt64 COMMENT 'offset in that partition' CODEC(T64, ZSTD(1)),
    INDEX by_decision decision_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_offset _offset TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (toStartOfHour(decided_at), chosen_pop, track_id, decided_at)
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Where routers sent listeners, and why: one row a decision with everything the policy read. Kept 13 months.';

CREATE TABLE IF NOT EXISTS repeats (
    topic LowCardinality(String) COMMENT 'the Kafka topic it came from',
    _partition UInt32 COMMENT 'partition of that topic' CODEC(T64, ZSTD(1)),
    _offset UInt64 COMMENT 'offset in that partition: it is in no other table' CODEC(T64, ZSTD(1)),
    id UUID COMMENT 'the event_id, delivery_id, decision_id or tally_id that the same partition had brought before; the first one is in its table',
    received_at DateTime64(3, 'UTC') COMMENT 'when it was handed to Kafka' CODEC(DoubleDelta, ZSTD(1)),
    ingest_id LowCardinality(String) COMMENT 'of an event: the ingest process that accepted it this time; empty otherwise',
    ingest_seq UInt64 COMMENT 'of an event: that process''s number for it; 0 otherwise' CODEC(T64, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (topic, _partition, _offset)
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What was sent again, as clients and edges do when an answer was lost: one row a message that was not stored a second time. Kept 13 months.';

CREATE TABLE IF NOT EXISTS dead_letter (
    topic LowCardinality(String) COMMENT 'the Kafka topic it came from; the original lies in the topic of this name with .dlq too',
    _partition UInt32 COMMENT 'partition of that topic' CODEC(T64, ZSTD(1)),
    _offset UInt64 COMMENT 'offset in that partition' CODEC(T64, ZSTD(1)),
    received_at DateTime64(3, 'UTC') COMMENT 'when it was handed to Kafka' CODEC(DoubleDelta, ZSTD(1)),
    kind LowCardinality(String) COMMENT 'unreadable: no payload of its topic; refused: ClickHouse did not take its row',
    reason String COMMENT 'why it is no row of its table' CODEC(ZSTD(1)),
    id Nullable(UUID) COMMENT 'its event_id, delivery_id, decision_id or tally_id, where refused; null where it could not be read',
    key String COMMENT 'the message''s key, byte for byte' CODEC(ZSTD(1)),
    payload String COMMENT 'the message, byte for byte' CODEC(ZSTD(1)),
    INDEX by_offset _offset TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (topic, received_at)
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What could not be read: one row a message that was set aside so that its neighbours could go on.';
