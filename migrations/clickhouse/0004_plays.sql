-- Plays: what all events of one play say together, however they came: in several batches, late, or twice.
--
-- States are of functions that do not mind a repeat (max, min, different elements), but for `events`. The last of
-- several values that belong together is the greatest text that begins with their time: of texts ClickHouse finds it
-- several times as fast as of tuples, at each insert and at each merge.
-- A play is one play_id in one session of one app; where the player sends no play_id, one track in a session.

CREATE TABLE IF NOT EXISTS play_states (
    day Date COMMENT 'UTC day of these events; a play over midnight has rows of both days',
    track_id String COMMENT 'what was played',
    session_id String COMMENT 'the run of the player it belongs to' CODEC(ZSTD(1)),
    play_id String COMMENT 'as the player sent it; empty where it sent none' CODEC(ZSTD(1)),
    app LowCardinality(String) COMMENT 'the app whose write key posted it',
    received_hour DateTime('UTC') COMMENT 'in which ingest received these events; for the audit' CODEC(Delta, ZSTD(1)),
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'raw rows counted; for the audit',
    started_at SimpleAggregateFunction(min, DateTime64(3, 'UTC')) COMMENT 'first event' CODEC(Delta, ZSTD(1)),
    ended_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'last event' CODEC(Delta, ZSTD(1)),
    proven_until SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'when the player may have heard the last of it: its last event, or when a listen that is told whole (ListenBrainz) was received' CODEC(Delta, ZSTD(1)),
    played_ms SimpleAggregateFunction(max, Nullable(UInt64)) COMMENT 'audible time as the player counts it, in ms' CODEC(T64, ZSTD(1)),
    position_from_ms SimpleAggregateFunction(min, Nullable(UInt64)) COMMENT 'lowest position, in ms' CODEC(T64, ZSTD(1)),
    position_to_ms SimpleAggregateFunction(max, Nullable(UInt64)) COMMENT 'highest position, in ms' CODEC(T64, ZSTD(1)),
    duration_ms SimpleAggregateFunction(max, Nullable(UInt64)) COMMENT 'how long the track is, in ms' CODEC(T64, ZSTD(1)),
    bitrate_from_kbps SimpleAggregateFunction(min, Nullable(UInt32)) COMMENT 'lowest bitrate reported, in kbit/s' CODEC(T64, ZSTD(1)),
    bitrate_to_kbps SimpleAggregateFunction(max, Nullable(UInt32)) COMMENT 'highest bitrate reported, in kbit/s' CODEC(T64, ZSTD(1)),
    startup_ms SimpleAggregateFunction(max, Nullable(UInt64)) COMMENT 'wait for the first sound, in ms' CODEC(T64, ZSTD(1)),
    completed SimpleAggregateFunction(max, UInt8) COMMENT '1 where the player reported the end of the track',
    skipped SimpleAggregateFunction(max, UInt8) COMMENT '1 where the listener skipped it',
    user_id SimpleAggregateFunction(max, String) COMMENT 'the listener, where known' CODEC(ZSTD(1)),
    anon_id SimpleAggregateFunction(max, String) COMMENT 'the device, where the listener is not known' CODEC(ZSTD(1)),
    client SimpleAggregateFunction(max, String) COMMENT 'what the last event says of the player: its time (ms, 8 bytes, the highest first), device, os, app_version, country and asn, a NUL between' CODEC(ZSTD(1)),
    served SimpleAggregateFunction(max, String) COMMENT 'what the last event that names an edge says of it: its time, as in client, pop and edge_id, a NUL between' CODEC(ZSTD(1)),
    decided SimpleAggregateFunction(max, String) COMMENT 'the last routing decision: its time, as in client, and its 16 bytes' CODEC(ZSTD(1)),
    decisions SimpleAggregateFunction(groupUniqArrayArray(20), Array(UUID)) COMMENT 'routing decisions it was played by, 20 at most' CODEC(ZSTD(1)),
    stalls SimpleAggregateFunction(groupUniqArrayArray(100), Array(Tuple(event_id UUID, stall_ms UInt64, begins UInt8))) COMMENT 'times that playback stood still, and resumes that tell how long it did, 100 at most' CODEC(ZSTD(1)),
    errors SimpleAggregateFunction(groupUniqArrayArray(100), Array(UUID)) COMMENT 'error events, 100 at most' CODEC(ZSTD(1)),
    INDEX by_session session_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_user user_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(received_hour)
ORDER BY (day, track_id, session_id, play_id, app, received_hour)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What the events of a play say together, as states to be merged; the view plays reads it.';

CREATE MATERIALIZED VIEW IF NOT EXISTS play_states_from_events TO play_states AS
SELECT
    toDate(event_ts) AS day,
    track_id,
    session_id,
    play_id,
    app,
    toStartOfHour(received_at) AS received_hour,
    count() AS events,
    min(event_ts) AS started_at,
    max(event_ts) AS ended_at,
    max(if(wire_format = 'listenbrainz', received_at, event_ts)) AS proven_until,
    max(events.played_ms) AS played_ms,
    min(position_ms) AS position_from_ms,
    max(position_ms) AS position_to_ms,
    max(events.duration_ms) AS duration_ms,
    min(bitrate_kbps) AS bitrate_from_kbps,
    max(bitrate_kbps) AS bitrate_to_kbps,
    max(if(type = 'play_start', stall_ms, NULL)) AS startup_ms,
    max(type = 'complete') AS completed,
    max(type = 'skip') AS skipped,
    max(events.user_id) AS user_id,
    max(events.anon_id) AS anon_id,
    max(concat(reinterpretAsFixedString(byteSwap(toUnixTimestamp64Milli(event_ts))), toString(device), '\0', toString(os), '\0', toString(app_version), '\0', toString(country), '\0', toString(asn))) AS client,
    max(concat(reinterpretAsFixedString(byteSwap(if(pop = '', 0, toUnixTimestamp64Milli(event_ts)))), toString(pop), '\0', toString(edge_id))) AS served,
    max(if(isNull(decision_id), '', concat(reinterpretAsFixedString(byteSwap(toUnixTimestamp64Milli(event_ts))), reinterpretAsFixedString(assumeNotNull(decision_id))))) AS decided,
    groupUniqArrayIf(20)(assumeNotNull(decision_id), isNotNull(decision_id)) AS decisions,
    groupUniqArrayIf(100)((event_id, ifNull(stall_ms, 0), toUInt8(type = 'stall')), type = 'stall' OR (type = 'resume' AND ifNull(stall_ms, 0) > 0)) AS stalls,
    groupUniqArrayIf(100)(event_id, type = 'error') AS errors
FROM events
GROUP BY day, track_id, session_id, play_id, app, received_hour
COMMENT 'Keeps play_states up to events.';

CREATE VIEW IF NOT EXISTS plays (
    play_id String COMMENT 'one play of one track; where the player sent none, session and track stand for it',
    session_id String COMMENT 'the run of the player it belongs to',
    track_id String COMMENT 'what was played',
    app LowCardinality(String) COMMENT 'the app whose write key posted it',
    user_id String COMMENT 'the listener, where known',
    anon_id String COMMENT 'the device, where the listener is not known',
    listener String COMMENT 'user_id, or else anon_id, or else session_id: count these for listeners',
    device String COMMENT 'as the player names it',
    os String COMMENT 'as the player names it',
    app_version String COMMENT 'the player''s version',
    country String COMMENT 'where the listener is; empty where unknown',
    asn UInt32 COMMENT 'the listener''s network: its autonomous system; 0 where unknown',
    pop String COMMENT 'the point of presence that served last, as the player saw it',
    edge_id String COMMENT 'the edge that served last, as the player saw it',
    started_at DateTime64(3, 'UTC') COMMENT 'its first event',
    ended_at DateTime64(3, 'UTC') COMMENT 'its last event so far',
    claimed_ms UInt64 COMMENT 'audible time as the player counts it, in ms; where it does not, how far the position moved',
    heard_ms UInt64 COMMENT 'audible time that is believed, in ms: what was claimed, but at most the time from the first event to the last and 5 s',
    is_stream UInt8 COMMENT '1 where at least 30 s were heard: what is counted and paid',
    duration_ms Nullable(UInt64) COMMENT 'how long the track is, in ms',
    completed UInt8 COMMENT '1 where the player reported the end of the track',
    skipped UInt8 COMMENT '1 where the listener skipped it',
    startup_ms Nullable(UInt64) COMMENT 'wait for the first sound, in ms',
    bitrate_from_kbps Nullable(UInt32) COMMENT 'lowest bitrate reported, in kbit/s',
    bitrate_to_kbps Nullable(UInt32) COMMENT 'highest bitrate reported, in kbit/s',
    stalls UInt64 COMMENT 'how often playback stood still, 100 at most',
    stalled_ms UInt64 COMMENT 'for how long, in ms',
    errors UInt64 COMMENT 'errors the player reported, 100 at most',
    decisions Array(UUID) COMMENT 'the routing decisions it was played by, 20 at most: join decisions and deliveries',
    decision_id Nullable(UUID) COMMENT 'the last of them',
    events UInt64 COMMENT 'its events in the raw table'
) AS
SELECT
    if(sent_play_id = '', concat(session_id, '/', track_id), sent_play_id) AS play_id,
    session_id,
    track_id,
    app,
    user_id,
    anon_id,
    multiIf(user_id != '', user_id, anon_id != '', anon_id, session_id) AS listener,
    last_client[1] AS device,
    last_client[2] AS os,
    last_client[3] AS app_version,
    last_client[4] AS country,
    toUInt32OrZero(last_client[5]) AS asn,
    last_served[1] AS pop,
    last_served[2] AS edge_id,
    started_at,
    ended_at,
    ifNull(coalesce(played_ms, moved_ms), 0) AS claimed_ms,
    -- A player's timer, and the network between two of its posts, may be off by 5 s; nothing is heard faster than time passes.
    least(claimed_ms, toUInt64(dateDiff('ms', started_at, proven_until)) + 5000) AS heard_ms,
    toUInt8(heard_ms >= 30000) AS is_stream,
    duration_ms,
    completed,
    skipped,
    startup_ms,
    bitrate_from_kbps,
    bitrate_to_kbps,
    arraySum(all_stalls.begins) AS stalls,
    arraySum(all_stalls.stall_ms) AS stalled_ms,
    length(all_errors) AS errors,
    decisions,
    if(empty(decisions), NULL, reinterpretAsUUID(last_decided)) AS decision_id,
    events
FROM (
    SELECT
        app,
        session_id,
        track_id,
        s.play_id AS sent_play_id,
        max(s.user_id) AS user_id,
        max(s.anon_id) AS anon_id,
        splitByChar('\0', substring(max(s.client), 9)) AS last_client,
        splitByChar('\0', substring(max(s.served), 9)) AS last_served,
        substring(max(s.decided), 9) AS last_decided,
        min(s.started_at) AS started_at,
        max(s.ended_at) AS ended_at,
        max(s.proven_until) AS proven_until,
        max(s.played_ms) AS played_ms,
        toUInt64(max(s.position_to_ms) - min(s.position_from_ms)) AS moved_ms,
        max(s.duration_ms) AS duration_ms,
        max(s.completed) AS completed,
        max(s.skipped) AS skipped,
        max(s.startup_ms) AS startup_ms,
        min(s.bitrate_from_kbps) AS bitrate_from_kbps,
        max(s.bitrate_to_kbps) AS bitrate_to_kbps,
        groupUniqArrayArray(100)(s.stalls) AS all_stalls,
        groupUniqArrayArray(100)(s.errors) AS all_errors,
        groupUniqArrayArray(20)(s.decisions) AS decisions,
        sum(s.events) AS events
    FROM play_states AS s
    GROUP BY app, session_id, track_id, sent_play_id
)
COMMENT 'What was played, how long was heard, how did it end? One row a play. Reads every play of a track, or of all: for a range of days, plays_of is faster.';

CREATE VIEW IF NOT EXISTS plays_of AS
SELECT
    if(sent_play_id = '', concat(session_id, '/', track_id), sent_play_id) AS play_id,
    session_id,
    track_id,
    app,
    user_id,
    anon_id,
    multiIf(user_id != '', user_id, anon_id != '', anon_id, session_id) AS listener,
    last_client[1] AS device,
    last_client[2] AS os,
    last_client[3] AS app_version,
    last_client[4] AS country,
    toUInt32OrZero(last_client[5]) AS asn,
    last_served[1] AS pop,
    last_served[2] AS edge_id,
    started_at,
    ended_at,
    ifNull(coalesce(played_ms, moved_ms), 0) AS claimed_ms,
    -- A player's timer, and the network between two of its posts, may be off by 5 s; nothing is heard faster than time passes.
    least(claimed_ms, toUInt64(dateDiff('ms', started_at, proven_until)) + 5000) AS heard_ms,
    toUInt8(heard_ms >= 30000) AS is_stream,
    duration_ms,
    completed,
    skipped,
    startup_ms,
    bitrate_from_kbps,
    bitrate_to_kbps,
    arraySum(all_stalls.begins) AS stalls,
    arraySum(all_stalls.stall_ms) AS stalled_ms,
    length(all_errors) AS errors,
    decisions,
    if(empty(decisions), NULL, reinterpretAsUUID(last_decided)) AS decision_id,
    events
FROM (
    SELECT
        app,
        session_id,
        track_id,
        s.play_id AS sent_play_id,
        max(s.user_id) AS user_id,
        max(s.anon_id) AS anon_id,
        splitByChar('\0', substring(max(s.client), 9)) AS last_client,
        splitByChar('\0', substring(max(s.served), 9)) AS last_served,
        substring(max(s.decided), 9) AS last_decided,
        min(s.started_at) AS started_at,
        max(s.ended_at) AS ended_at,
        max(s.proven_until) AS proven_until,
        max(s.played_ms) AS played_ms,
        toUInt64(max(s.position_to_ms) - min(s.position_from_ms)) AS moved_ms,
        max(s.duration_ms) AS duration_ms,
        max(s.completed) AS completed,
        max(s.skipped) AS skipped,
        max(s.startup_ms) AS startup_ms,
        min(s.bitrate_from_kbps) AS bitrate_from_kbps,
        max(s.bitrate_to_kbps) AS bitrate_to_kbps,
        groupUniqArrayArray(100)(s.stalls) AS all_stalls,
        groupUniqArrayArray(100)(s.errors) AS all_errors,
        groupUniqArrayArray(20)(s.decisions) AS decisions,
        sum(s.events) AS events
    FROM play_states AS s
    WHERE s.day BETWEEN {first_day:Date} - 7 AND {last_day:Date} + 7
    GROUP BY app, session_id, track_id, sent_play_id
)
WHERE toDate(started_at) BETWEEN {first_day:Date} AND {last_day:Date}
COMMENT 'plays that began from first_day to last_day, both included, the columns as in plays: SELECT ... FROM plays_of(first_day = ''2026-11-20'', last_day = ''2026-11-21''). Of a play whose events lie more than a week from these days, it sees a part only.';

CREATE VIEW IF NOT EXISTS plays_by_track_hour (
    hour DateTime('UTC') COMMENT 'in which the play began',
    track_id String COMMENT 'what was played',
    plays UInt64 COMMENT 'plays begun',
    streams UInt64 COMMENT 'of these, plays of which at least 30 s were heard',
    completed UInt64 COMMENT 'of these, played to the end',
    skipped UInt64 COMMENT 'of these, skipped',
    listeners UInt64 COMMENT 'different listeners; a session counts as one where the listener is not known',
    heard_s Float64 COMMENT 'audible time, in seconds',
    stalled_s Float64 COMMENT 'time that playback stood still, in seconds'
) AS
SELECT
    toStartOfHour(started_at) AS hour,
    track_id,
    count() AS plays,
    sum(is_stream) AS streams,
    sum(plays.completed) AS completed,
    sum(plays.skipped) AS skipped,
    uniqExact(listener) AS listeners,
    sum(heard_ms) / 1000 AS heard_s,
    sum(stalled_ms) / 1000 AS stalled_s
FROM plays
GROUP BY hour, track_id
COMMENT 'Which tracks were played when, by how many, and for how long? One row a track and hour.';

CREATE VIEW IF NOT EXISTS sessions (
    session_id String COMMENT 'one run of a player',
    app LowCardinality(String) COMMENT 'the app whose write key posted it',
    listener String COMMENT 'user_id, or else anon_id, or else session_id',
    device String COMMENT 'as the player names it',
    country String COMMENT 'where the listener is; empty where unknown',
    started_at DateTime64(3, 'UTC') COMMENT 'its first event',
    ended_at DateTime64(3, 'UTC') COMMENT 'its last event so far',
    plays UInt64 COMMENT 'plays begun',
    tracks UInt64 COMMENT 'different tracks',
    streams UInt64 COMMENT 'plays of which at least 30 s were heard',
    completed UInt64 COMMENT 'plays heard to the end',
    skipped UInt64 COMMENT 'plays skipped',
    heard_ms UInt64 COMMENT 'audible time, in ms',
    stalls UInt64 COMMENT 'how often playback stood still',
    errors UInt64 COMMENT 'errors the player reported'
) AS
SELECT
    session_id,
    app,
    max(plays.listener) AS listener,
    any(plays.device) AS device,
    any(plays.country) AS country,
    min(plays.started_at) AS started_at,
    max(plays.ended_at) AS ended_at,
    count() AS plays,
    uniqExact(track_id) AS tracks,
    sum(is_stream) AS streams,
    sum(plays.completed) AS completed,
    sum(plays.skipped) AS skipped,
    sum(plays.heard_ms) AS heard_ms,
    sum(plays.stalls) AS stalls,
    sum(plays.errors) AS errors
FROM plays
GROUP BY app, session_id
COMMENT 'What came of each run of a player? One row a session.';

CREATE VIEW IF NOT EXISTS session_funnel (
    day Date COMMENT 'UTC day in which the sessions began',
    app LowCardinality(String) COMMENT 'the app',
    sessions UInt64 COMMENT 'sessions with a play',
    streamed UInt64 COMMENT 'of these, with a play of which 30 s were heard',
    completed UInt64 COMMENT 'of these, with a play heard to its end',
    returned UInt64 COMMENT 'of these, with a second stream',
    lasted UInt64 COMMENT 'of these, with half an hour heard'
) AS
SELECT
    toDate(started_at) AS day,
    app,
    count() AS sessions,
    countIf(streams >= 1) AS streamed,
    countIf(streams >= 1 AND sessions.completed >= 1) AS completed,
    countIf(streams >= 2 AND sessions.completed >= 1) AS returned,
    countIf(streams >= 2 AND sessions.completed >= 1 AND heard_ms >= 1800000) AS lasted
FROM sessions
GROUP BY day, app
COMMENT 'How far do sessions get: a stream, one to its end, another, half an hour? Each step counts sessions that took all before it. One row a day and app.';
