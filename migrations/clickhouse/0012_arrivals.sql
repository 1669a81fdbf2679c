-- Which batches have come into a roll-up: a sink that cannot know whether ClickHouse took one looks here.
--
-- Batches of a Kafka partition come one after another, and each goes into a table whole or not at all, month by month.
-- So a roll-up has a batch if it has the last of its offsets. Rows of several partitions at once are no batch and say nothing.

ALTER TABLE listen_states ADD COLUMN IF NOT EXISTS upto SimpleAggregateFunction(maxMap, Map(UInt32, UInt64)) COMMENT 'Kafka partitions of what was counted, each with its highest offset; for the sink';

ALTER TABLE listen_states_from_events MODIFY QUERY
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
    uniqCombined64State(14)(multiIf(user_id != '', user_id, anon_id != '', anon_id, session_id)) AS listeners,
    CAST(if(min(_partition) = max(_partition), [(min(_partition), max(_offset))], []), 'Map(UInt32, UInt64)') AS upto
FROM events
GROUP BY hour, track_id, country, app, device, received_hour;

ALTER TABLE quality_states ADD COLUMN IF NOT EXISTS upto SimpleAggregateFunction(maxMap, Map(UInt32, UInt64)) COMMENT 'Kafka partitions of what was counted, each with its highest offset; for the sink';

ALTER TABLE quality_states_from_events MODIFY QUERY
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
    quantilesTDigestIfState(0.05, 0.5)(toUInt64(ifNull(bitrate_kbps, 0)), type = 'progress' AND bitrate_kbps IS NOT NULL) AS bitrate,
    CAST(if(min(_partition) = max(_partition), [(min(_partition), max(_offset))], []), 'Map(UInt32, UInt64)') AS upto
FROM events
GROUP BY minute, pop, edge_id, asn, received_hour;

ALTER TABLE delivery_states ADD COLUMN IF NOT EXISTS upto SimpleAggregateFunction(maxMap, Map(UInt32, UInt64)) COMMENT 'Kafka partitions of what was counted, each with its highest offset; for the sink';

ALTER TABLE delivery_states_from_deliveries MODIFY QUERY
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
    quantilesTDigestState(0.5, 0.99)(ttfb_us) AS ttfb,
    CAST(if(min(_partition) = max(_partition), [(min(_partition), max(_offset))], []), 'Map(UInt32, UInt64)') AS upto
FROM deliveries
GROUP BY hour, pop, edge_id, cache_status, received_hour;

ALTER TABLE play_states ADD COLUMN IF NOT EXISTS upto SimpleAggregateFunction(maxMap, Map(UInt32, UInt64)) COMMENT 'Kafka partitions of what was counted, each with its highest offset; for the sink';

ALTER TABLE play_states_from_events MODIFY QUERY
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
    groupUniqArrayIf(100)(event_id, type = 'error') AS errors,
    CAST(if(min(_partition) = max(_partition), [(min(_partition), max(_offset))], []), 'Map(UInt32, UInt64)') AS upto
FROM events
GROUP BY day, track_id, session_id, play_id, app, received_hour;
