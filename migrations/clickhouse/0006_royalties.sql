-- Closed days: what was paid stays as it was paid, and what comes later is paid by the next close.
--
-- A close works under an id of its own, the attempt, and counts only once its one row in royalty_closes is
-- there: ClickHouse takes one row a day, by its deduplication token. Rows of other attempts mean nothing.

CREATE TABLE IF NOT EXISTS royalty_plays (
    close_day Date COMMENT 'the day whose close pays it',
    attempt UUID COMMENT 'of which run; it counts where royalty_closes names it',
    play FixedString(16) COMMENT 'the play: sipHash128(app, session_id, track_id, play_id) of plays' CODEC(NONE),
    play_day Date COMMENT 'UTC day in which it began; before close_day where it is a correction',
    track_id String COMMENT 'what was played' CODEC(ZSTD(1)),
    app LowCardinality(String) COMMENT 'the app',
    heard_ms UInt64 COMMENT 'audible time when it was paid, in ms' CODEC(T64, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(close_day)
ORDER BY (close_day, attempt, track_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Which streams were paid by which close, so that none is paid twice: one row a stream and attempt.';

CREATE TABLE IF NOT EXISTS royalty_totals (
    close_day Date COMMENT 'the day whose close pays it',
    attempt UUID COMMENT 'of which run; it counts where royalty_closes names it',
    play_day Date COMMENT 'UTC day in which the plays began; before close_day where it is a correction',
    track_id String COMMENT 'what was played' CODEC(ZSTD(1)),
    app LowCardinality(String) COMMENT 'the app',
    streams UInt64 COMMENT 'plays of which at least 30 s were heard',
    heard_ms UInt64 COMMENT 'audible time of these, in ms'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(close_day)
ORDER BY (close_day, attempt, play_day, track_id, app)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What each attempt to close a day has counted by track and app; the view royalties shows those that count.';

CREATE TABLE IF NOT EXISTS royalty_closes (
    close_day Date COMMENT 'the day that was closed',
    attempt UUID COMMENT 'the run whose rows count',
    closed_at DateTime64(3, 'UTC') COMMENT 'when it was done',
    streams UInt64 COMMENT 'streams paid, corrections included',
    corrections UInt64 COMMENT 'of these, of days that were closed before',
    heard_ms UInt64 COMMENT 'audible time of these streams, in ms'
)
ENGINE = MergeTree
ORDER BY (close_day, closed_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Which days are closed, with what sum? One row a day, written last, once and never changed.';

CREATE VIEW IF NOT EXISTS royalties (
    close_day Date COMMENT 'the day whose close pays it',
    play_day Date COMMENT 'UTC day in which the plays began',
    is_correction Bool COMMENT 'whether these plays belong to a day that was closed before: their events came late',
    track_id String COMMENT 'what was played',
    app LowCardinality(String) COMMENT 'the app',
    streams UInt64 COMMENT 'plays of which at least 30 s were heard',
    heard_ms UInt64 COMMENT 'audible time of these, in ms'
) AS
SELECT close_day, play_day, play_day < close_day AS is_correction, track_id, app, streams, heard_ms
FROM royalty_totals
WHERE (close_day, attempt) IN (SELECT close_day, argMin(attempt, (closed_at, attempt)) FROM royalty_closes GROUP BY close_day)
COMMENT 'What is to be paid for each closed day? One row a close, day of play, track and app. It never changes once it is there.';
