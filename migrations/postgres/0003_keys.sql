-- Keys: who may send events, and who may read what was counted. Ingest holds a copy and asks for what has changed.
--
-- A secret is held as its SHA-256 and shown once, when it is made. A slow hash would protect secrets that can be
-- guessed; these are 190 random bits, which no number of guesses finds, and every request has one hashed.

CREATE TABLE keys (
    key_id        text PRIMARY KEY CHECK (key_id ~ '^t[wuo]_[0-9A-Za-z]{12}$'),
    kind          text NOT NULL CHECK (kind IN ('write', 'user', 'operator')),
    secret_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(secret_sha256) = 32),
    app           text CHECK (octet_length(app) BETWEEN 1 AND 64),
    user_id       text CHECK (octet_length(user_id) BETWEEN 1 AND 256),
    origins       text[] NOT NULL DEFAULT '{}',
    events_per_s  integer CHECK (events_per_s > 0),
    burst         integer CHECK (burst > 0),
    note          text NOT NULL DEFAULT '' CHECK (octet_length(note) <= 256),
    created_at    timestamptz NOT NULL DEFAULT now(),
    changed_at    timestamptz NOT NULL DEFAULT now(),
    revoked_at    timestamptz,
    CHECK ((events_per_s IS NULL) = (burst IS NULL)),
    CHECK ((kind = 'operator') = (app IS NULL)),
    -- Once revoked, whose it was may be forgotten.
    CHECK (CASE kind WHEN 'user' THEN user_id IS NOT NULL OR revoked_at IS NOT NULL ELSE user_id IS NULL END)
);
COMMENT ON TABLE keys IS 'write keys of apps, tokens of users, tokens of operators; to end one, set revoked_at: that is noticed within seconds, a deleted row within minutes';
COMMENT ON COLUMN keys.key_id IS 'public; the secret begins with it, unless it was given';
COMMENT ON COLUMN keys.app IS 'goes into every event that was posted with the key';
COMMENT ON COLUMN keys.user_id IS 'whose token it is, as the app names its users';
COMMENT ON COLUMN keys.origins IS 'web origins whose pages may use a write key, such as https://*.example.com; empty: none, only apps that are no web pages';
COMMENT ON COLUMN keys.events_per_s IS 'events that one ingest process takes each second, after a burst; null: no limit';
COMMENT ON COLUMN keys.note IS 'for people';
CREATE INDEX keys_changed ON keys (changed_at);
CREATE INDEX keys_user ON keys (user_id) WHERE user_id IS NOT NULL;

-- Whoever writes here, also by hand, is heard by those who ask what has changed.
CREATE FUNCTION mark_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_at := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER keys_marked BEFORE INSERT OR UPDATE ON keys FOR EACH ROW EXECUTE FUNCTION mark_changed();
