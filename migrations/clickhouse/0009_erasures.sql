-- What was forgotten on request, so that it is proved, and so that an audit does not call it lost.

CREATE TABLE IF NOT EXISTS erasures (
    erasure_id UUID COMMENT 'names one run of `tonearm erase` that found something, or was the first for its listener',
    erased_at DateTime64(3, 'UTC') COMMENT 'when it began: what was received before it is gone, what came later is not its concern' CODEC(DoubleDelta, ZSTD(1)),
    user_hashes Array(String) COMMENT 'the listener as every version of the key writes the name; no name is kept',
    `counts.table` Array(LowCardinality(String)) COMMENT 'where rows were erased or made nameless',
    `counts.rows` Array(UInt64) COMMENT 'how many there',
    remains String COMMENT 'JSON: what is left elsewhere, and until when' CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY erased_at
COMMENT 'Proofs of erasure: which listener, when, how much, and what remains until when? One row a run; no name, only keyed hashes.';

CREATE TABLE IF NOT EXISTS erased (
    topic LowCardinality(String) COMMENT 'the Kafka topic it came from',
    _partition UInt32 COMMENT 'partition of that topic' CODEC(T64, ZSTD(1)),
    _offset UInt64 COMMENT 'offset in that partition' CODEC(Delta, ZSTD(1)),
    received_at DateTime64(3, 'UTC') COMMENT 'when it was received' CODEC(DoubleDelta, ZSTD(1)),
    ingest_id LowCardinality(String) COMMENT 'the ingest process that accepted it',
    ingest_seq UInt64 COMMENT 'that process''s number' CODEC(Delta, ZSTD(1)),
    id UUID COMMENT 'its event_id, which is chance: the sink knows by it what is sent again' CODEC(NONE),
    from_table LowCardinality(String) COMMENT 'the table it was erased from',
    erasure_id UUID COMMENT 'the erasure that took it'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (topic, _partition, _offset)
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Where erased rows lay in Kafka, and nothing of what they said: `tonearm audit` counts them in.';
