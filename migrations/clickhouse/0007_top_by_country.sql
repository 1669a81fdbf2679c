-- The rankings of one country each, ready when asked as those of everywhere are.

CREATE TABLE IF NOT EXISTS top_tracks_of_day_by_country (
    period LowCardinality(String) COMMENT 'hour: plays begun in the last 60 minutes; day: in the last 24 hours',
    country LowCardinality(String) COMMENT 'where the listeners were, ISO 3166-1 alpha-2',
    rank UInt32 COMMENT '1 has the most streams',
    track_id String COMMENT 'what was played',
    plays UInt64 COMMENT 'plays begun',
    streams UInt64 COMMENT 'of these, plays of which at least 30 s were heard',
    listeners UInt64 COMMENT 'different listeners',
    heard_s Float64 COMMENT 'audible time, in seconds',
    refreshed_at DateTime('UTC') COMMENT 'when this was computed'
)
ENGINE = MergeTree
ORDER BY (country, period, rank)
COMMENT 'The 200 tracks with the most streams of the last hour and of the last day in each country; top_tracks_by_country reads it.';

CREATE MATERIALIZED VIEW IF NOT EXISTS top_tracks_of_day_by_country_refresh REFRESH EVERY 5 MINUTE TO top_tracks_of_day_by_country AS
SELECT
    period,
    country,
    toUInt32(row_number() OVER (PARTITION BY period, country ORDER BY streams DESC, plays DESC, track_id)) AS rank,
    track_id,
    count() AS plays,
    sum(is_stream) AS streams,
    uniqCombined64(12)(listener) AS listeners,
    sum(heard_ms) / 1000 AS heard_s,
    toDateTime(now(), 'UTC') AS refreshed_at
FROM (
    SELECT
        track_id, country, is_stream, listener, heard_ms,
        arrayJoin(if(started_at > now() - 3600, ['hour', 'day'], ['day'])) AS period
    FROM plays_of(first_day = today() - 1, last_day = today())
    WHERE country != '' AND started_at > now() - 86400 AND started_at <= now()
)
GROUP BY period, country, track_id
ORDER BY period, country, rank
LIMIT 200 BY period, country
COMMENT 'Computes top_tracks_of_day_by_country every five minutes.';

CREATE TABLE IF NOT EXISTS top_tracks_of_week_by_country (
    period LowCardinality(String) COMMENT 'week: plays begun in the last 7 days',
    country LowCardinality(String) COMMENT 'where the listeners were, ISO 3166-1 alpha-2',
    rank UInt32 COMMENT '1 has the most streams',
    track_id String COMMENT 'what was played',
    plays UInt64 COMMENT 'plays begun',
    streams UInt64 COMMENT 'of these, plays of which at least 30 s were heard',
    listeners UInt64 COMMENT 'different listeners',
    heard_s Float64 COMMENT 'audible time, in seconds',
    refreshed_at DateTime('UTC') COMMENT 'when this was computed'
)
ENGINE = MergeTree
ORDER BY (country, period, rank)
COMMENT 'The 200 tracks with the most streams of the last week in each country; top_tracks_by_country reads it.';

CREATE MATERIALIZED VIEW IF NOT EXISTS top_tracks_of_week_by_country_refresh REFRESH EVERY 1 HOUR TO top_tracks_of_week_by_country AS
SELECT
    period,
    country,
    toUInt32(row_number() OVER (PARTITION BY period, country ORDER BY streams DESC, plays DESC, track_id)) AS rank,
    track_id,
    count() AS plays,
    sum(is_stream) AS streams,
    uniqCombined64(12)(listener) AS listeners,
    sum(heard_ms) / 1000 AS heard_s,
    toDateTime(now(), 'UTC') AS refreshed_at
FROM (
    SELECT track_id, country, is_stream, listener, heard_ms, 'week' AS period
    FROM plays_of(first_day = today() - 7, last_day = today())
    WHERE country != '' AND started_at > now() - 7 * 86400 AND started_at <= now()
)
GROUP BY period, country, track_id
ORDER BY period, country, rank
LIMIT 200 BY period, country
COMMENT 'Computes top_tracks_of_week_by_country every hour.';

CREATE VIEW IF NOT EXISTS top_tracks_by_country (
    period LowCardinality(String) COMMENT 'hour: the last 60 minutes; day: the last 24 hours; week: the last 7 days',
    country LowCardinality(String) COMMENT 'where the listeners were, ISO 3166-1 alpha-2',
    rank UInt32 COMMENT '1 has the most streams',
    track_id String COMMENT 'what was played',
    plays UInt64 COMMENT 'plays begun',
    streams UInt64 COMMENT 'of these, plays of which at least 30 s were heard',
    listeners UInt64 COMMENT 'different listeners',
    heard_s Float64 COMMENT 'audible time, in seconds',
    refreshed_at DateTime('UTC') COMMENT 'when this was computed'
) AS
SELECT * FROM top_tracks_of_day_by_country UNION ALL SELECT * FROM top_tracks_of_week_by_country
COMMENT 'What is streamed most in a country? The first 200 of the last hour, day and week, computed every five minutes (the week: every hour).';
