-- Reconciliation: what players say was heard against what edges say they sent, joined by the routing decision
-- that stands in both. Neither side can write the other's numbers.
--
-- Tolerance: for what was heard, at least half the bytes of the lowest bitrate the player reported (32 kbit/s
-- where none) must have been sent: encoders vary, and a player may hold a segment from before. At most 1.5 times
-- those of the highest (128 kbit/s where none), for as long as was heard and a minute of buffer more, and 1 MiB
-- for playlists and heads. Bytes of a decision that several plays name are shared evenly among them.

CREATE VIEW IF NOT EXISTS reconciled_plays AS
WITH sent AS (
    SELECT decision, argMax(one_pop, one_bytes) AS sent_pop, sum(one_bytes) AS sent_bytes, toDate(min(one_at)) AS sent_day
    FROM (
        SELECT
            ifNull(decision_id, toUUID('00000000-0000-0000-0000-000000000000')) AS decision, toString(pop) AS one_pop,
            delivery_id, any(bytes_sent) AS one_bytes, any(started_at) AS one_at
        FROM deliveries
        WHERE toDate(started_at) BETWEEN {first_day:Date} - 1 AND {last_day:Date} + 7 AND status IN (200, 206)
        GROUP BY decision, one_pop, delivery_id
    )
    -- What came without a decision is told by POP and day.
    GROUP BY decision, if(decision = toUUID('00000000-0000-0000-0000-000000000000'), (one_pop, toDate(one_at)), ('', toDate(0)))
),
named AS (
    SELECT play_id, session_id, app, track_id, pop, day, heard_ms, lowest_kbps, highest_kbps, decision, count() OVER (PARTITION BY decision) AS shared_by
    FROM (
        SELECT
            play_id, session_id, app, track_id, pop, toDate(started_at) AS day, heard_ms,
            ifNull(bitrate_from_kbps, 32) AS lowest_kbps, ifNull(bitrate_to_kbps, 128) AS highest_kbps,
            arrayJoin(if(empty(decisions), [toUUID('ffffffff-ffff-ffff-ffff-ffffffffffff')], decisions)) AS decision
        FROM plays_of(first_day = {first_day:Date} - 1, last_day = {last_day:Date} + 1)
    )
)
SELECT
    day, if(play_id = '', asked.track_id, play_track_id) AS track_id, pop, app, session_id, play_id, heard_ms, bytes,
    multiIf(
        heard_ms >= 30000 AND bytes < heard_ms / 8 * lowest_kbps * 0.5, 'seconds without bytes',
        bytes > if(play_id = '', 0, (heard_ms + 60000) / 8 * highest_kbps * 1.5) + 1048576, 'bytes without seconds',
        'fits') AS verdict
FROM (
    SELECT
        app, session_id, named.track_id AS play_track_id, play_id,
        -- A row a play, and one a decision that no play names.
        if(play_id = '', sent.decision, toUUID('00000000-0000-0000-0000-000000000000')) AS unplayed,
        if(play_id = '', any(sent_day), any(named.day)) AS day,
        if(any(named.pop) != '', any(named.pop), any(sent_pop)) AS pop,
        any(named.heard_ms) AS heard_ms,
        any(named.lowest_kbps) AS lowest_kbps,
        any(named.highest_kbps) AS highest_kbps,
        toUInt64(sum(sent_bytes / greatest(shared_by, 1))) AS bytes
    FROM named
    FULL JOIN sent ON sent.decision = named.decision
    GROUP BY app, session_id, play_track_id, play_id, unplayed, if(play_id = '', (sent_pop, sent_day), ('', toDate(0)))
) AS matched
LEFT JOIN (
    SELECT decision_id, any(decisions.track_id) AS track_id FROM decisions
    WHERE toDate(decided_at) BETWEEN {first_day:Date} - 8 AND {last_day:Date} + 1 GROUP BY decision_id
) AS asked ON asked.decision_id = matched.unplayed
WHERE day BETWEEN {first_day:Date} AND {last_day:Date}
COMMENT 'Does what was heard fit what was sent? One row a play that began from first_day to last_day (UTC, both included), and one a decision that sent bytes to nobody who reported a play: day, track_id, pop, app, session_id, play_id (empty there), heard_ms, bytes, and verdict: fits, seconds without bytes (a player that lies, or plays what it kept), bytes without seconds (prefetch, or a scraper).';

CREATE VIEW IF NOT EXISTS reconciled_tracks AS
SELECT
    day,
    track_id,
    pop,
    countIf(play_id != '') AS plays,
    sum(reconciled_plays.heard_ms) / 1000 AS heard_s,
    sum(reconciled_plays.bytes) AS bytes,
    if(heard_s > 0, round(bytes * 8 / 1000 / heard_s), NULL) AS kbit_per_s_heard,
    groupArrayIf(100)(play_id, verdict = 'seconds without bytes') AS seconds_without_bytes,
    groupArrayIf(100)(play_id, verdict = 'bytes without seconds' AND play_id != '') AS bytes_without_seconds,
    sumIf(reconciled_plays.bytes, play_id = '') AS bytes_without_play
FROM reconciled_plays(first_day = {first_day:Date}, last_day = {last_day:Date})
GROUP BY day, track_id, pop
COMMENT 'Bytes delivered against seconds heard, by UTC day, track and POP, from first_day to last_day: plays, heard_s, bytes, kbit_per_s_heard (null where nothing was heard), the ids of up to 100 plays that do not fit (seconds_without_bytes, bytes_without_seconds), and bytes_without_play.';

CREATE VIEW IF NOT EXISTS reconciliation (
    day Date COMMENT 'UTC day in which the plays began',
    track_id String COMMENT 'what was played; empty for bytes that no routing decision explains',
    pop String COMMENT 'the point of presence that served',
    plays UInt64 COMMENT 'plays',
    heard_s Float64 COMMENT 'audible time, in seconds',
    bytes UInt64 COMMENT 'body bytes that edges sent for these plays, or for nobody''s play',
    kbit_per_s_heard Nullable(Float64) COMMENT 'kbit sent for each second heard: near the bitrate where it adds up; null where nothing was heard',
    seconds_without_bytes Array(String) COMMENT 'plays heard without being sent, 100 ids at most: a player that lies, or plays what it kept',
    bytes_without_seconds Array(String) COMMENT 'plays sent far more than was heard, 100 ids at most: prefetch, or a scraper',
    bytes_without_play UInt64 COMMENT 'bytes of decisions that nobody reported a play for'
) AS
SELECT * FROM reconciled_tracks(first_day = today() - 7, last_day = today())
COMMENT 'Do bytes delivered and seconds heard fit each other? One row a day, track and POP, of the last week; older ones with reconciled_tracks, single plays with reconciled_plays.';
