-- What ingest processes say of their own count, as `tonearm audit` reads it. Lowest ClickHouse: 26.2.

CREATE TABLE IF NOT EXISTS tallies (
    tally_id UUID COMMENT 'made once by the process; one sent again has the same id',
    ingest_id LowCardinality(String) COMMENT 'the ingest process; joins events.ingest_id',
    spool_id UUID COMMENT 'the folder in which it keeps what Kafka does not have yet; processes that follow each other on it share the id',
    at DateTime64(3, 'UTC') COMMENT 'by the process''s clock; of one process, the latest speaks' CODEC(DoubleDelta, ZSTD(1)),
    received_at DateTime64(3, 'UTC') COMMENT 'when it was handed to Kafka' CODEC(DoubleDelta, ZSTD(1)),
    given UInt64 COMMENT 'the highest ingest_seq given' CODEC(T64, ZSTD(1)),
    settled UInt64 COMMENT 'every ingest_seq up to this one is in Kafka, in the spool, or void: a hole below it is an event that was lost, or that still waits in the spool' CODEC(T64, ZSTD(1)),
    `voids.first` Array(UInt64) COMMENT 'ranges of ingest_seq whose events were refused after all: first; ARRAY JOIN voids for a row each' CODEC(ZSTD(1)),
    `voids.last` Array(UInt64) COMMENT 'ranges of ingest_seq whose events were refused after all: last' CODEC(ZSTD(1)),
    waiting UInt64 COMMENT 'records in the spool that Kafka had not acknowledged, of this process and of earlier ones' CODEC(T64, ZSTD(1)),
    ended Bool COMMENT 'the process has stopped in order; none above settled was on its way',
    _partition UInt32 COMMENT 'partition of the tallies topic it came from' CODEC(T64, ZSTD(1)),
    _offset UInt64 COMMENT 'offset in that partition' CODEC(T64, ZSTD(1)),
    INDEX by_offset _offset TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (ingest_id, at)
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'How far each ingest process has counted: one row a second in which something changed. Kept 13 months.';
