-- What comes later of a session that was erased, and names nobody, is found by the session alone.

ALTER TABLE erased ADD COLUMN IF NOT EXISTS session UInt64 COMMENT 'of an event: a hash of its app and session_id, so that what comes later of the session without a name is erased, too' CODEC(NONE);
