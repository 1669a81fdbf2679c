//! The events table as one would make it in PostgreSQL: its own types, an index for each way in.

pub(crate) const STATEMENTS: &[&str] = &[
    EVENTS,
    "CREATE TABLE plain (LIKE events)",
    // By track and time, by listener, by session, and over everything by time.
    "CREATE INDEX ON events (track_id, event_ts)",
    "CREATE INDEX ON events (user_id, event_ts)",
    "CREATE INDEX ON events (session_id)",
    "CREATE INDEX ON events (event_ts)",
    // As generous as the ClickHouse beside it, which takes what it needs.
    "SET work_mem = '256MB'",
    "SET max_parallel_workers_per_gather = 2",
    "SET TIME ZONE 'UTC'",
];

const EVENTS: &str = "CREATE TABLE events (
    event_id uuid NOT NULL, event_ts timestamptz NOT NULL, received_at timestamptz NOT NULL, skew_ms bigint NOT NULL,
    type text NOT NULL, app text NOT NULL, session_id text NOT NULL, play_id text NOT NULL, seq integer,
    user_id text NOT NULL, anon_id text NOT NULL, track_id text NOT NULL, position_ms bigint, duration_ms bigint,
    played_ms bigint, stall_ms bigint, bitrate_kbps integer, codec text NOT NULL, device text NOT NULL, os text NOT NULL,
    app_version text NOT NULL, pop text NOT NULL, edge_id text NOT NULL, decision_id uuid, cache_status text NOT NULL,
    error_code text NOT NULL, consent text NOT NULL, schema_version smallint NOT NULL, extra text NOT NULL,
    wire_format text NOT NULL, country text NOT NULL, asn bigint NOT NULL, client_net text NOT NULL,
    ingest_id text NOT NULL, ingest_seq bigint NOT NULL, _partition integer NOT NULL, _offset bigint NOT NULL
)";
