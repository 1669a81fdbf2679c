-- Roll-ups: sums that are kept while rows come in, by materialized views over the raw tables.
--
-- A target ends in _states and has two columns for the audit: the raw rows that were counted, and the hour
-- they were received in, last in its key. The view of the same noun is for analysts. Every target has a
-- deduplication window, or a batch that the sink sends again would count twice in it.

CREATE TABLE IF NOT EXISTS listen_states (
    hour DateTime('UTC') COMMENT 'in which it happened',
    track_id String COMMENT 'what was played',
    country LowCardinality(String) COMMENT 'where the listener is; empty where unknown',
    app LowCardinality(String) COMMENT 'the app whose write key posted it',
    device LowCardinality(String) COMMENT 'as the player names it',
    received_hour DateTime('UTC') COMMENT 'in which ingest received it; for the audit',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'raw rows counted; for the audit',
    starts SimpleAggregateFunction(sum, UInt64) COMMENT 'plays begun',
    completes SimpleAggregateFunction(sum, UInt64) COMMENT 'plays heard to the end',
    skips SimpleAggregateFunction(sum, UInt64) COMMENT 'plays skipped',
    listeners AggregateFunction(uniqCombined64(14), String) COMMENT 'different listeners: uniqCombined64Merge(14)(listeners), over any rows'
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(received_hour)
ORDER BY (hour, track_id, country, app, device, received_hour)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What was played by hour, track, country, app and device, as states to be merged; listens_by_hour reads it.';

CREATE MATERIALIZED VIEW IF NOT EXISTS listen_states_from_events TO listen_states AS
SELECT
    toStartOfHour(event_ts) AS hour,
    track_id,
    country,
    app,
    device,
    toStartOfHour(received_at) AS received_hour,
    count() AS events,
    countIf(type = 'play_start') AS starts,
    countIf(type = 'complete') AS completes,
    countIf(type = 'skip') AS skips,
    uniqCombined64State(14)(multiIf(user_id != '', user_id, anon_id != '', anon_id, session_id)) AS listeners
FROM events
GROUP BY hour, track_id, country, app, device, received_hour
COMMENT 'Keeps listen_states up to events.';

CREATE VIEW IF NOT EXISTS listens_by_hour (
    hour DateTime('UTC') COMMENT 'in which it happened',
    track_id String COMMENT 'what was played',
    country LowCardinality(String) COMMENT 'where the listeners are; empty where unknown',
    app LowCardinality(String) COMMENT 'the app whose write key posted it',
    device LowCardinality(String) COMMENT 'as the player names it',
    events UInt64 COMMENT 'events of players',
    starts UInt64 COMMENT 'plays begun',
    completes UInt64 COMMENT 'plays heard to the end',
    skips UInt64 COMMENT 'plays skipped',
    listeners UInt64 COMMENT 'different listeners of this row, within a percent; do not add them up, merge the states of listen_states'
) AS
SELECT
    hour,
    track_id,
    country,
    app,
    device,
    sum(listen_states.events) AS events,
    sum(listen_states.starts) AS starts,
    sum(listen_states.completes) AS completes,
    sum(listen_states.skips) AS skips,
    uniqCombined64Merge(14)(listen_states.listeners) AS listeners
FROM listen_states
GROUP BY hour, track_id, country, app, device
COMMENT 'What was played, where and on what? One row an hour, track, country, app and device.';

CREATE TABLE IF NOT EXISTS quality_states (
    minute DateTime('UTC') COMMENT 'in which it happened',
    pop LowCardinality(String) COMMENT 'the point of presence, as the player saw it',
    edge_id LowCardinality(String) COMMENT 'the edge, as the player saw it',
    asn UInt32 COMMENT 'the listener''s network: its autonomous system; 0 where unknown',
    received_hour DateTime('UTC') COMMENT 'in which ingest received it; for the audit',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'raw rows counted; for the audit',
    starts SimpleAggregateFunction(sum, UInt64) COMMENT 'plays begun',
    stalls SimpleAggregateFunction(sum, UInt64) COMMENT 'times that playback stood still',
    stalled_ms SimpleAggregateFunction(sum, UInt64) COMMENT 'for how long, in ms',
    errors SimpleAggregateFunction(sum, UInt64) COMMENT 'errors that players reported',
    startup AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), UInt64) COMMENT 'wait for the first sound in ms, as a t-digest',
    bitrate AggregateFunction(quantilesTDigest(0.05, 0.5), UInt64) COMMENT 'bitrate heard in kbit/s, as a t-digest over progress events'
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(received_hour)
ORDER BY (minute, pop, edge_id, asn, received_hour)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'How playback was by minute, POP, edge and network, as states to be merged; quality_by_minute reads it.';

CREATE MATERIALIZED VIEW IF NOT EXISTS quality_states_from_events TO quality_states AS
SELECT
    toStartOfMinute(event_ts) AS minute,
    pop,
    edge_id,
    asn,
    toStartOfHour(received_at) AS received_hour,
    count() AS events,
    countIf(type = 'play_start') AS starts,
    countIf(type = 'stall') AS stalls,
    sumIf(ifNull(stall_ms, 0), type IN ('stall', 'resume')) AS stalled_ms,
    countIf(type = 'error') AS errors,
    quantilesTDigestIfState(0.5, 0.95, 0.99)(ifNull(stall_ms, 0), type = 'play_start' AND stall_ms IS NOT NULL) AS startup,
    quantilesTDigestIfState(0.05, 0.5)(toUInt64(ifNull(bitrate_kbps, 0)), type = 'progress' AND bitrate_kbps IS NOT NULL) AS bitrate
FROM events
GROUP BY minute, pop, edge_id, asn, received_hour
COMMENT 'Keeps quality_states up to events.';

CREATE VIEW IF NOT EXISTS quality_by_minute (
    minute DateTime('UTC') COMMENT 'in which it happened',
    pop LowCardinality(String) COMMENT 'the point of presence, as the player saw it',
    edge_id LowCardinality(String) COMMENT 'the edge, as the player saw it',
    asn UInt32 COMMENT 'the listener''s network: its autonomous system; 0 where unknown',
    events UInt64 COMMENT 'events of players',
    starts UInt64 COMMENT 'plays begun',
    stalls UInt64 COMMENT 'times that playback stood still',
    stalled_ms UInt64 COMMENT 'for how long, in ms',
    errors UInt64 COMMENT 'errors that players reported',
    startup_p50_ms Float32 COMMENT 'median wait for the first sound, in ms; NaN where nobody said',
    startup_p95_ms Float32 COMMENT '95th percentile of it',
    startup_p99_ms Float32 COMMENT '99th percentile of it',
    bitrate_p05_kbps Float32 COMMENT 'bitrate that 95 % of listening reached, in kbit/s; NaN where nobody said',
    bitrate_p50_kbps Float32 COMMENT 'median bitrate, in kbit/s'
) AS
SELECT
    minute,
    pop,
    edge_id,
    asn,
    sum(quality_states.events) AS events,
    sum(quality_states.starts) AS starts,
    sum(quality_states.stalls) AS stalls,
    sum(quality_states.stalled_ms) AS stalled_ms,
    sum(quality_states.errors) AS errors,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(startup)[1] AS startup_p50_ms,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(startup)[2] AS startup_p95_ms,
    quantilesTDigestMerge(0.5, 0.95, 0.99)(startup)[3] AS startup_p99_ms,
    quantilesTDigestMerge(0.05, 0.5)(bitrate)[1] AS bitrate_p05_kbps,
    quantilesTDigestMerge(0.05, 0.5)(bitrate)[2] AS bitrate_p50_kbps
FROM quality_states
GROUP BY minute, pop, edge_id, asn
COMMENT 'How did listeners get it: stalls, start-up time, bitrate? One row a minute, edge and network.';

CREATE TABLE IF NOT EXISTS delivery_states (
    hour DateTime('UTC') COMMENT 'in which the request arrived',
    pop LowCardinality(String) COMMENT 'the point of presence',
    edge_id LowCardinality(String) COMMENT 'the edge',
    cache_status LowCardinality(String) COMMENT 'hit, hit_disk, collapsed, miss or none',
    received_hour DateTime('UTC') COMMENT 'in which Kafka was given it; for the audit',
    deliveries SimpleAggregateFunction(sum, UInt64) COMMENT 'responses; raw rows counted, for the audit',
    bytes SimpleAggregateFunction(sum, UInt64) COMMENT 'body bytes sent',
    broken_off SimpleAggregateFunction(sum, UInt64) COMMENT 'responses that ended before their last byte',
    errors SimpleAggregateFunction(sum, UInt64) COMMENT 'responses with a status of 400 or above',
    ttfb AggregateFunction(quantilesTDigest(0.5, 0.99), UInt64) COMMENT 'time to first byte in microseconds, as a t-digest'
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(received_hour)
ORDER BY (hour, pop, edge_id, cache_status, received_hour)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What edges sent by hour, POP, edge and cache status, as states to be merged; deliveries_by_pop reads it.';

CREATE MATERIALIZED VIEW IF NOT EXISTS delivery_states_from_deliveries TO delivery_states AS
SELECT
    toStartOfHour(started_at) AS hour,
    pop,
    edge_id,
    cache_status,
    toStartOfHour(received_at) AS received_hour,
    count() AS deliveries,
    sum(bytes_sent) AS bytes,
    countIf(NOT complete) AS broken_off,
    countIf(status >= 400) AS errors,
    quantilesTDigestState(0.5, 0.99)(ttfb_us) AS ttfb
FROM deliveries
GROUP BY hour, pop, edge_id, cache_status, received_hour
COMMENT 'Keeps delivery_states up to deliveries.';

CREATE VIEW IF NOT EXISTS deliveries_by_pop (
    hour DateTime('UTC') COMMENT 'in which the request arrived',
    pop LowCardinality(String) COMMENT 'the point of presence',
    edge_id LowCardinality(String) COMMENT 'the edge',
    cache_status LowCardinality(String) COMMENT 'hit, hit_disk, collapsed, miss or none',
    deliveries UInt64 COMMENT 'responses',
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
    sum(delivery_states.deliveries) AS deliveries,
    sum(delivery_states.bytes) AS bytes,
    sum(delivery_states.broken_off) AS broken_off,
    sum(delivery_states.errors) AS errors,
    quantilesTDigestMerge(0.5, 0.99)(ttfb)[1] / 1000 AS ttfb_p50_ms,
    quantilesTDigestMerge(0.5, 0.99)(ttfb)[2] / 1000 AS ttfb_p99_ms
FROM delivery_states
GROUP BY hour, pop, edge_id, cache_status
COMMENT 'How much did each POP and edge deliver, and out of which cache? One row an hour, edge and cache status.';

CREATE VIEW IF NOT EXISTS cache_hits_by_pop (
    hour DateTime('UTC') COMMENT 'in which the requests arrived',
    pop LowCardinality(String) COMMENT 'the point of presence',
    deliveries UInt64 COMMENT 'responses that had a body from the cache or the origin',
    bytes UInt64 COMMENT 'body bytes sent',
    hit_ratio Float64 COMMENT 'share of these responses that the edge held, in memory or on disk, 0 to 1',
    byte_hit_ratio Float64 COMMENT 'share of the bytes that were sent by these'
) AS
SELECT
    hour,
    pop,
    sum(delivery_states.deliveries) AS deliveries,
    sum(delivery_states.bytes) AS bytes,
    sumIf(delivery_states.deliveries, cache_status IN ('hit', 'hit_disk')) / sum(delivery_states.deliveries) AS hit_ratio,
    sumIf(delivery_states.bytes, cache_status IN ('hit', 'hit_disk')) / greatest(sum(delivery_states.bytes), 1) AS byte_hit_ratio
FROM delivery_states
WHERE cache_status != 'none'
GROUP BY hour, pop
COMMENT 'How much of what was asked for did each POP hold? One row an hour and POP.';
