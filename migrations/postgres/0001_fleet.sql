-- The fleet: where edges stand and whether they may get listeners. Routers keep a snapshot of it.

CREATE TABLE pops (
    pop_id     text PRIMARY KEY,
    city       text,
    country    text CHECK (country ~ '^[A-Z]{2}$'),
    latitude   double precision CHECK (latitude BETWEEN -90 AND 90),
    longitude  double precision CHECK (longitude BETWEEN -180 AND 180),
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE pops IS 'points of presence';

CREATE TABLE edges (
    edge_id      text PRIMARY KEY,
    pop_id       text NOT NULL REFERENCES pops,
    url          text NOT NULL,
    admin_url    text NOT NULL,
    capacity_bps bigint NOT NULL CHECK (capacity_bps > 0),
    icmp_host    text,
    state        text NOT NULL CHECK (state IN ('active', 'drain', 'maintenance')),
    changed_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN edges.url IS 'where listeners reach it';
COMMENT ON COLUMN edges.admin_url IS 'where operators and the catalog reach it';
COMMENT ON COLUMN edges.icmp_host IS 'address to ping; null where only HTTP probes tell the truth';
CREATE INDEX edges_pop ON edges (pop_id);
