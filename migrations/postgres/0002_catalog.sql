-- The catalog: tracks, what they are made of, their rollout, and the outbox that tells the rest of the world.

CREATE TABLE tracks (
    track_id    text PRIMARY KEY,
    title       text NOT NULL,
    artist      text NOT NULL,
    duration_ms bigint NOT NULL CHECK (duration_ms > 0),
    state       text NOT NULL CHECK (state IN ('ready', 'rolling_out', 'live', 'withdrawn')),
    version     integer NOT NULL DEFAULT 0 CHECK (version >= 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN tracks.version IS 'counts publications; 0 before the first';
-- Routers ask what has changed since they last looked.
CREATE INDEX tracks_changed ON tracks (changed_at);

CREATE TABLE renditions (
    track_id     text NOT NULL REFERENCES tracks ON DELETE CASCADE,
    kind         text NOT NULL CHECK (kind IN ('hls', 'progressive')),
    key          text NOT NULL,
    codec        text NOT NULL,
    bitrate_kbps integer NOT NULL CHECK (bitrate_kbps > 0),
    PRIMARY KEY (track_id, key)
);

CREATE TABLE objects (
    track_id     text NOT NULL REFERENCES tracks ON DELETE CASCADE,
    key          text NOT NULL,
    bytes        bigint NOT NULL CHECK (bytes >= 0),
    content_type text NOT NULL,
    PRIMARY KEY (track_id, key)
);
COMMENT ON TABLE objects IS 'every object of a track in the origin bucket';

CREATE TABLE outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id   uuid NOT NULL UNIQUE,
    track_id   text NOT NULL,
    payload    jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at    timestamptz
);
COMMENT ON TABLE outbox IS 'content events, written in the transaction that changes the track';
CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_at IS NULL;
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;

CREATE TABLE rollouts (
    track_id    text NOT NULL REFERENCES tracks ON DELETE CASCADE,
    version     integer NOT NULL,
    edge_id     text NOT NULL,
    state       text NOT NULL CHECK (state IN ('waiting', 'warm', 'failed')),
    attempts    integer NOT NULL DEFAULT 0,
    error       text,
    bytes       bigint NOT NULL DEFAULT 0,
    deadline_at timestamptz NOT NULL,
    next_at     timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (track_id, version, edge_id)
);
COMMENT ON TABLE rollouts IS 'one warm order: a version of a track at one edge';
CREATE INDEX rollouts_waiting ON rollouts (next_at) WHERE state = 'waiting';

-- What routers read: one row a track, with what a player starts from.
CREATE VIEW routable_tracks AS
SELECT t.track_id,
       t.version,
       t.state = 'live' AS live,
       t.changed_at,
       (SELECT r.key FROM renditions r WHERE r.track_id = t.track_id AND r.kind = 'hls'
         ORDER BY r.bitrate_kbps DESC, r.key LIMIT 1) AS hls_key,
       (SELECT r.key FROM renditions r WHERE r.track_id = t.track_id AND r.kind = 'progressive'
         ORDER BY r.bitrate_kbps DESC, r.key LIMIT 1) AS progressive_key
  FROM tracks t;
