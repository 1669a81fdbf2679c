-- The catalog's tracks. `tonearm migrate` adds tracks_refresh, which reads them from PostgreSQL every minute:
-- it needs an address and a password, and so is no migration. A copy, so that PostgreSQL may be away.

CREATE TABLE IF NOT EXISTS tracks (
    track_id String COMMENT 'as events name it',
    title String COMMENT 'of the track',
    artist String COMMENT 'of the track',
    duration_ms UInt64 COMMENT 'how long it is, in ms',
    state LowCardinality(String) COMMENT 'ready, rolling_out, live or withdrawn'
)
ENGINE = MergeTree
ORDER BY track_id
COMMENT 'What are the tracks called? The catalog as PostgreSQL had it a minute ago, or when it was last there.';

CREATE VIEW IF NOT EXISTS unknown_tracks (
    track_id String COMMENT 'as events name it',
    starts UInt64 COMMENT 'plays begun',
    apps Array(String) COMMENT 'the apps that play it',
    first_hour DateTime('UTC') COMMENT 'when it was first played',
    last_hour DateTime('UTC') COMMENT 'when it was last played'
) AS
SELECT
    track_id,
    sum(listen_states.starts) AS starts,
    groupUniqArray(100)(toString(app)) AS apps,
    min(hour) AS first_hour,
    max(hour) AS last_hour
FROM listen_states
WHERE track_id NOT IN (SELECT track_id FROM tracks)
GROUP BY track_id
COMMENT 'What is played that the catalog does not know? One row a track: a new one that the catalog lags behind with, or a client that makes up names.';
