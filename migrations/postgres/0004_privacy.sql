-- What users are hashed with. It lies here and the hashes in ClickHouse, so that neither alone tells who listened.

CREATE TABLE privacy_keys (
    version    integer PRIMARY KEY CHECK (version > 0),
    key        bytea NOT NULL CHECK (octet_length(key) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE privacy_keys IS 'keys of the HMAC that stands for a user: the newest version hashes, all of them are used for look-ups; without its key a version''s hashes are nobody''s for ever';

-- Every installation has one of its own from the start: three random UUIDs are 366 random bits.
INSERT INTO privacy_keys (version, key)
VALUES (1, sha256(convert_to(concat(gen_random_uuid(), gen_random_uuid(), gen_random_uuid()), 'UTF8')));
