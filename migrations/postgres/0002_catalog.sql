-- The catalog: tracks, what they are made of, their rollout, and the outbox that tells the rest of the world.

CREATE TABLE tracks (
    track_id    text PRIMARY KEY,
    title       text NOT NULL,
    artist      text NOT NULL,
    duration_ms bigint NOT NULL CHECK (duration_ms > 0),
    state       text NOT NULL CHECK (state IN ('ready', 'rolling_out', 'live', 'withdrawn')),
    version     integer NOT NULL DEFAULT 0 CHECK (version >= 0),
    pops        text[] NOT NULL DEFAULT '{}',
    revised     boolean NOT NULL DEFAULT false,
    on_air      boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN tracks.version IS 'counts publications; 0 before the first';
COMMENT ON COLUMN tracks.pops IS 'POPs that the last publication named, in order; empty means all';
COMMENT ON COLUMN tracks.revised IS 'whether title, renditions or objects were replaced since the last publication';
COMMENT ON COLUMN tracks.on_air IS 'whether routers send listeners to it: once live, also while a later version rolls out';
-- Routers ask what has changed since they last looked.
CREATE INDEX tracks_changed ON tracks (changed_at);

-- The life of a track, as catalog/src/life.rs has it: whoever writes here, an impossible step is refused.
CREATE FUNCTION refuse_impossible_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.on_air := NEW.state = 'live';
        RETURN NEW;
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('ready', 'rolling_out'), ('rolling_out', 'live'), ('rolling_out', 'withdrawn'),
        ('live', 'rolling_out'), ('live', 'withdrawn'), ('withdrawn', 'ready')
    ) THEN
        RAISE EXCEPTION 'track % cannot go from % to %', OLD.track_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    -- A publication is a new version, and nothing else is.
    IF NEW.version NOT IN (OLD.version, OLD.version + 1)
        OR (NEW.version > OLD.version AND NEW.state <> 'rolling_out')
        OR (NEW.version = OLD.version AND NEW.state = 'rolling_out' AND OLD.state <> 'rolling_out')
    THEN
        RAISE EXCEPTION 'track % cannot go from version % to % and be %',
            OLD.track_id, OLD.version, NEW.version, NEW.state USING ERRCODE = 'check_violation';
    END IF;
    NEW.on_air := NEW.state = 'live' OR (NEW.state = 'rolling_out' AND OLD.on_air);
    RETURN NEW;
END $$;
CREATE TRIGGER tracks_life BEFORE INSERT OR UPDATE OF state, version ON tracks
    FOR EACH ROW EXECUTE FUNCTION refuse_impossible_step();

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
    payload    json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at    timestamptz
);
COMMENT ON TABLE outbox IS 'content events, written in the transaction that changes the track';
COMMENT ON COLUMN outbox.payload IS 'what Kafka gets, byte by byte: json keeps the text, jsonb would not';
CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_at IS NULL;
-- A relay asks of each event whether an older one of its track still waits.
CREATE INDEX outbox_unsent_of_track ON outbox (track_id, id) WHERE sent_at IS NULL;
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;

CREATE TABLE rollouts (
    track_id    text NOT NULL REFERENCES tracks ON DELETE CASCADE,
    version     integer NOT NULL,
    step        text NOT NULL CHECK (step IN ('warm', 'purge')),
    edge_id     text NOT NULL,
    state       text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'failed')),
    attempts    integer NOT NULL DEFAULT 0,
    error       text,
    bytes       bigint NOT NULL DEFAULT 0,
    deadline_at timestamptz NOT NULL,
    next_at     timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (track_id, version, step, edge_id)
);
COMMENT ON TABLE rollouts IS 'one order to one edge: warm a version of a track, or purge it; the rows are also the inbox of the content events';
COMMENT ON COLUMN rollouts.attempts IS 'counts orders given; whoever gives one writes its outcome only while the count is still its own';
COMMENT ON COLUMN rollouts.next_at IS 'not to be tried before; while an order is on its way, when it counts as lost';
COMMENT ON COLUMN rollouts.error IS 'why the last attempt failed';
CREATE INDEX rollouts_due ON rollouts (next_at) WHERE state = 'waiting';
CREATE INDEX rollouts_deadline ON rollouts (deadline_at) WHERE state = 'waiting';

-- What routers read: one row a track, with what a player starts from.
CREATE VIEW routable_tracks AS
SELECT t.track_id,
       t.version,
       t.on_air AS live,
       t.changed_at,
       (SELECT r.key FROM renditions r WHERE r.track_id = t.track_id AND r.kind = 'hls'
         ORDER BY r.bitrate_kbps DESC, r.key LIMIT 1) AS hls_key,
       (SELECT r.key FROM renditions r WHERE r.track_id = t.track_id AND r.kind = 'progressive'
         ORDER BY r.bitrate_kbps DESC, r.key LIMIT 1) AS progressive_key
  FROM tracks t;
