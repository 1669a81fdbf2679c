-- Rankings that are ready when asked: computed anew every so often, not for each question.

CREATE TABLE IF NOT EXISTS top_tracks_of_day (
    period LowCardinality(String) COMMENT 'hour: plays begun in the last 60 minutes; day: in the last 24 hours',
    rank UInt32 COMMENT '1 has the most streams',
    track_id String COMMENT 'what was played',
    plays UInt64 COMMENT 'plays begun',
    streams UInt64 COMMENT 'of these, plays of which at least 30 s were heard',
    listeners UInt64 COMMENT 'different listeners',
    heard_s Float64 COMMENT 'audible time, in seconds',
    refreshed_at DateTime('UTC') COMMENT 'when this was computed'
)
ENGINE = MergeTree
ORDER BY (period, rank)
COMMENT 'The 1,000 tracks with the most streams of the last hour and of the last day; top_tracks reads it.';

CREATE MATERIALIZED VIEW IF NOT EXISTS top_tracks_of_day_refresh REFRESH EVERY 1 MINUTE TO top_tracks_of_day AS
SELECT
    period,
    toUInt32(row_number() OVER (PARTITION BY period ORDER BY streams DESC, plays DESC, track_id)) AS rank,
    track_id,
    count() AS plays,
    sum(is_stream) AS streams,
    uniqCombined64(14)(listener) AS listeners,
    sum(heard_ms) / 1000 AS heard_s,
    toDateTime(now(), 'UTC') AS refreshed_at
FROM (
    SELECT track_id, is_stream, listener, heard_ms, arrayJoin(if(started_at > now() - 3600, ['hour', 'day'], ['day'])) AS period
    FROM plays_of(first_day = today() - 1, last_day = today())
    WHERE started_at > now() - 86400 AND started_at <= now()
)
GROUP BY period, track_id
ORDER BY period, rank
LIMIT 1000 BY period
COMMENT 'Computes top_tracks_of_day every minute.';

CREATE TABLE IF NOT EXISTS top_tracks_of_week (
    period LowCardinality(String) COMMENT 'week: plays begun in the last 7 days',
    rank UInt32 COMMENT '1 has the most streams',
    track_id String COMMENT 'what was played',
    plays UInt64 COMMENT 'plays begun',
    streams UInt64 COMMENT 'of these, plays of which at least 30 s were heard',
    listeners UInt64 COMMENT 'different listeners',
    heard_s Float64 COMMENT 'audible time, in seconds',
    refreshed_at DateTime('UTC') COMMENT 'when this was computed'
)
ENGINE = MergeTree
ORDER BY (period, rank)
COMMENT 'The 1,000 tracks with the most streams of the last week; top_tracks reads it.';

CREATE MATERIALIZED VIEW IF NOT EXISTS top_tracks_of_week_refresh REFRESH EVERY 30 MINUTE TO top_tracks_of_week AS
SELECT
    'week' AS period,
    toUInt32(row_number() OVER (ORDER BY streams DESC, plays DESC, track_id)) AS rank,
    track_id,
    count() AS plays,
    sum(is_stream) AS streams,
    uniqCombined64(14)(listener) AS listeners,
    sum(heard_ms) / 1000 AS heard_s,
    toDateTime(now(), 'UTC') AS refreshed_at
FROM plays_of(first_day = today() - 7, last_day = today())
WHERE started_at > now() - 7 * 86400 AND started_at <= now()
GROUP BY track_id
ORDER BY rank
LIMIT 1000
COMMENT 'Computes top_tracks_of_week every half hour.';

CREATE VIEW IF NOT EXISTS top_tracks (
    period LowCardinality(String) COMMENT 'hour: the last 60 minutes; day: the last 24 hours; week: the last 7 days',
    rank UInt32 COMMENT '1 has the most streams',
    track_id String COMMENT 'what was played',
    plays UInt64 COMMENT 'plays begun',
    streams UInt64 COMMENT 'of these, plays of which at least 30 s were heard',
    listeners UInt64 COMMENT 'different listeners',
    heard_s Float64 COMMENT 'audible time, in seconds',
    refreshed_at DateTime('UTC') COMMENT 'when this was computed'
) AS
SELECT * FROM top_tracks_of_day UNION ALL SELECT * FROM top_tracks_of_week
COMMENT 'What is streamed most? The first 1,000 of the last hour, day and week, computed every minute (the week: every half hour).';

CREATE TABLE IF NOT EXISTS rising_tracks (
    rank UInt32 COMMENT '1 rises most',
    track_id String COMMENT 'what was played',
    starts UInt64 COMMENT 'plays begun in this hour and the one before',
    listeners UInt64 COMMENT 'different listeners of these; below 5 nothing is said to rise',
    expected Float64 COMMENT 'plays that its share of the 7 days before would have given it',
    growth Nullable(Float64) COMMENT 'starts over expected; null for a track that was never played before',
    score Float64 COMMENT 'how surprising that is: plays over the expected, in standard deviations of chance; a listener counts for 3 plays at most',
    refreshed_at DateTime('UTC') COMMENT 'when this was computed'
)
ENGINE = MergeTree
ORDER BY rank
COMMENT 'What is played more than its past would say? The first 1,000, computed every minute. Compared are shares of all plays, so that an evening is no rise.';

CREATE MATERIALIZED VIEW IF NOT EXISTS rising_tracks_refresh REFRESH EVERY 1 MINUTE TO rising_tracks AS
SELECT
    toUInt32(row_number() OVER (ORDER BY score DESC, track_id)) AS rank,
    track_id,
    starts,
    listeners,
    expected,
    if(expected > 0, starts / expected, NULL) AS growth,
    (least(starts, 3 * listeners) - expected) / sqrt(expected + 1) AS score,
    now('UTC') AS refreshed_at
FROM (
    SELECT
        track_id,
        sumIf(listen_states.starts, is_now) AS starts,
        uniqCombined64MergeIf(14)(listen_states.listeners, is_now) AS listeners,
        sumIf(listen_states.starts, NOT is_now) AS starts_before,
        -- Of all tracks together: what a track may expect is its share of the past, times how much is played now.
        sum(starts) OVER () AS all_starts,
        sum(starts_before) OVER () AS all_starts_before,
        starts_before * all_starts / all_starts_before AS expected
    FROM (SELECT *, hour >= toStartOfHour(now('UTC')) - 3600 AS is_now FROM listen_states) AS listen_states
    WHERE hour >= toStartOfHour(now('UTC')) - 3600 - 7 * 86400 AND hour <= now('UTC')
    GROUP BY track_id
)
WHERE listeners >= 5 AND score > 0 AND all_starts_before > 0
ORDER BY rank
LIMIT 1000
COMMENT 'Computes rising_tracks every minute.';
