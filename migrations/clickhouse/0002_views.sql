-- Views for analysts. Plain ones: computed when asked, so they cannot drift from the raw tables.

CREATE VIEW IF NOT EXISTS plays (
    play_id String COMMENT 'one play of one track; where the player sent none, session and track stand for it',
    session_id String COMMENT 'the run of the player it belongs to',
    track_id String COMMENT 'what was played',
    app LowCardinality(String) COMMENT 'the app whose write key posted it',
    user_id String COMMENT 'the listener, where known',
    device LowCardinality(String) COMMENT 'as the player names it',
    started_at DateTime64(3, 'UTC') COMMENT 'its first event',
    ended_at DateTime64(3, 'UTC') COMMENT 'its last event so far',
    heard_ms UInt64 COMMENT 'audible time, in ms',
    is_stream UInt8 COMMENT '1 where at least 30 s were heard: what is counted and paid',
    completed UInt8 COMMENT '1 where the player reported the end of the track',
    skipped UInt8 COMMENT '1 where the listener skipped it',
    stalls UInt64 COMMENT 'how often playback stood still',
    stalled_ms UInt64 COMMENT 'for how long, in ms',
    errors UInt64 COMMENT 'errors the player reported',
    decision_id Nullable(UUID) COMMENT 'the last routing decision it was played by: joins decisions and deliveries'
) AS
SELECT
    if(events.play_id = '', concat(events.session_id, '/', events.track_id), events.play_id) AS play_id,
    events.session_id AS session_id,
    events.track_id AS track_id,
    events.app AS app,
    max(events.user_id) AS user_id,
    argMax(events.device, event_ts) AS device,
    min(event_ts) AS started_at,
    max(event_ts) AS ended_at,
    ifNull(max(played_ms), 0) AS heard_ms,
    heard_ms >= 30000 AS is_stream,
    max(type = 'complete') AS completed,
    max(type = 'skip') AS skipped,
    uniqExactIf(event_id, type = 'stall') AS stalls,
    -- By event, so that one sent twice counts once.
    arraySum(stall -> stall.2, groupUniqArrayIf((event_id, ifNull(stall_ms, 0)), type = 'stall')) AS stalled_ms,
    uniqExactIf(event_id, type = 'error') AS errors,
    argMaxIf(events.decision_id, event_ts, events.decision_id IS NOT NULL) AS decision_id
FROM events
GROUP BY app, session_id, track_id, play_id
COMMENT 'What was played, how long was heard, how did it end? One row a play, events sent twice counted once.';

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
    uniqExact(if(user_id = '', session_id, user_id)) AS listeners,
    sum(heard_ms) / 1000 AS heard_s,
    sum(stalled_ms) / 1000 AS stalled_s
FROM plays
GROUP BY hour, track_id
COMMENT 'Which tracks were played when, by how many, and for how long? One row a track and hour.';

CREATE VIEW IF NOT EXISTS deliveries_by_pop (
    hour DateTime('UTC') COMMENT 'in which the request arrived',
    pop LowCardinality(String) COMMENT 'the point of presence',
    edge_id LowCardinality(String) COMMENT 'the edge',
    cache_status LowCardinality(String) COMMENT 'hit, hit_disk, collapsed, miss or none',
    deliveries UInt64 COMMENT 'responses; one that the edge reported twice counts once',
    bytes UInt64 COMMENT 'body bytes sent',
    broken_off UInt64 COMMENT 'responses that ended before their last byte',
    errors UInt64 COMMENT 'responses with a status of 400 or above',
    ttfb_p50_ms Float64 COMMENT 'median time to first byte, in ms',
    ttfb_p99_ms Float64 COMMENT '99th percentile of it, in ms'
) AS
SELECT
    hour,
    pop,
    edge_id,
    cache_status,
    count() AS deliveries,
    sum(bytes_sent) AS bytes,
    countIf(NOT complete) AS broken_off,
    countIf(status >= 400) AS errors,
    quantile(0.5)(ttfb_us) / 1000 AS ttfb_p50_ms,
    quantile(0.99)(ttfb_us) / 1000 AS ttfb_p99_ms
FROM (
    -- One row a delivery_id, with the outer keys among the inner so that filters on them reach the table.
    SELECT
        toStartOfHour(started_at) AS hour, pop, edge_id, cache_status, delivery_id,
        any(deliveries.bytes_sent) AS bytes_sent, any(deliveries.complete) AS complete,
        any(deliveries.status) AS status, any(deliveries.ttfb_us) AS ttfb_us
    FROM deliveries
    GROUP BY hour, pop, edge_id, cache_status, delivery_id
)
GROUP BY hour, pop, edge_id, cache_status
COMMENT 'How much did each POP and edge deliver, and out of which cache? One row an hour, edge and cache status.';

CREATE VIEW IF NOT EXISTS decisions_by_pop (
    hour DateTime('UTC') COMMENT 'in which it was decided',
    pop LowCardinality(String) COMMENT 'where listeners were sent',
    edge_id LowCardinality(String) COMMENT 'the edge they were sent to',
    policy LowCardinality(String) COMMENT 'the policy that picked',
    reason LowCardinality(String) COMMENT 'why, in words',
    decisions UInt64 COMMENT 'how often',
    tracks UInt64 COMMENT 'different tracks asked for',
    rtt_avg_ms Nullable(Float64) COMMENT 'mean round trip as the router believed, in ms; null where nothing was measured',
    load_avg Float64 COMMENT 'mean load of the edge when it was picked, 0 to 1',
    candidates_avg Float64 COMMENT 'mean number of candidates offered'
) AS
SELECT
    toStartOfHour(decided_at) AS hour,
    chosen_pop AS pop,
    chosen_edge AS edge_id,
    policy,
    chosen_reason AS reason,
    uniqExact(decision_id) AS decisions,
    uniqExact(track_id) AS tracks,
    avg(chosen_rtt_ms) AS rtt_avg_ms,
    avg(chosen_load) AS load_avg,
    avg(length(candidates.edge)) AS candidates_avg
FROM decisions
GROUP BY hour, pop, edge_id, policy, reason
COMMENT 'Where were listeners sent, and why? One row an hour, edge, policy and reason.';

CREATE VIEW IF NOT EXISTS listens (
    decision_id UUID COMMENT 'the routing decision of this listen',
    decided_at DateTime64(3, 'UTC') COMMENT 'when the router answered',
    track_id String COMMENT 'what was asked for',
    chosen_pop LowCardinality(String) COMMENT 'where the listener was sent',
    chosen_edge LowCardinality(String) COMMENT 'the edge the listener was sent to',
    chosen_reason LowCardinality(String) COMMENT 'why, in words',
    served_by Array(String) COMMENT 'the edges that really sent bytes; empty where none did',
    responses UInt64 COMMENT 'responses of edges',
    hits UInt64 COMMENT 'of these, answered from memory or disk without a fill',
    bytes UInt64 COMMENT 'body bytes sent',
    events UInt64 COMMENT 'events of the player',
    heard_ms UInt64 COMMENT 'audible time, in ms',
    stalls UInt64 COMMENT 'how often playback stood still'
) AS
SELECT
    d.decision_id AS decision_id,
    d.decided_at AS decided_at,
    d.track_id AS track_id,
    d.chosen_pop AS chosen_pop,
    d.chosen_edge AS chosen_edge,
    d.chosen_reason AS chosen_reason,
    b.served_by AS served_by,
    b.responses AS responses,
    b.hits AS hits,
    b.bytes AS bytes,
    e.events AS events,
    e.heard_ms AS heard_ms,
    e.stalls AS stalls
FROM decisions AS d
LEFT JOIN (
    SELECT
        assumeNotNull(decision_id) AS decision, groupUniqArray(edge) AS served_by, count() AS responses,
        countIf(status IN ('hit', 'hit_disk')) AS hits, sum(sent) AS bytes
    FROM (
        SELECT decision_id, delivery_id, any(toString(edge_id)) AS edge, any(cache_status) AS status, any(bytes_sent) AS sent
        FROM deliveries
        WHERE decision_id IS NOT NULL
        GROUP BY decision_id, delivery_id
    )
    GROUP BY decision_id
) AS b ON b.decision = d.decision_id
LEFT JOIN (
    SELECT
        assumeNotNull(decision_id) AS decision, uniqExact(event_id) AS events,
        ifNull(max(played_ms), 0) AS heard_ms, uniqExactIf(event_id, type = 'stall') AS stalls
    FROM events
    WHERE decision_id IS NOT NULL
    GROUP BY decision_id
) AS e ON e.decision = d.decision_id
COMMENT 'What became of each routing decision: which edge served, how many bytes, what was heard? One row a decision.';
