-- What became of dead letters that an operator sent again with `tonearm dlq replay`. Lowest ClickHouse: 26.2.

CREATE TABLE IF NOT EXISTS dead_letter_replays (
    topic LowCardinality(String) COMMENT 'the topic of the dead letter',
    _partition UInt32 COMMENT 'its partition' CODEC(T64, ZSTD(1)),
    _offset UInt64 COMMENT 'its offset' CODEC(T64, ZSTD(1)),
    state LowCardinality(String) COMMENT 'sending: about to be sent, or sent by a command that was killed before it could tell; sent: Kafka has acknowledged it',
    changed_at DateTime64(3, 'UTC') COMMENT 'when that was so' CODEC(DoubleDelta, ZSTD(1)),
    from_offset UInt64 COMMENT 'where its partition ended before it was sent: who doubts looks for it from there' CODEC(T64, ZSTD(1)),
    sent_offset Nullable(UInt64) COMMENT 'where it lies now, in the same topic and partition' CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree(changed_at)
ORDER BY (topic, _partition, _offset)
TTL toDateTime(changed_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Dead letters that were sent again: one row a letter, read with FINAL. Kept 13 months.';

CREATE VIEW IF NOT EXISTS dead_letters (
    topic LowCardinality(String) COMMENT 'the Kafka topic it came from',
    _partition UInt32 COMMENT 'partition of that topic',
    _offset UInt64 COMMENT 'offset in that partition',
    received_at DateTime64(3, 'UTC') COMMENT 'when it was handed to Kafka',
    kind LowCardinality(String) COMMENT 'unreadable: no payload of its topic; refused: ClickHouse did not take its row',
    reason String COMMENT 'why it is no row of its table',
    id Nullable(UUID) COMMENT 'its id, where refused',
    replay LowCardinality(String) COMMENT 'waits, or sending or sent where it was sent again',
    replayed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when it was sent again',
    replayed_offset Nullable(UInt64) COMMENT 'where it lies now, in the same topic and partition: a row of the table, a repeat, or a dead letter once more'
) AS
SELECT
    l.topic AS topic,
    l._partition AS _partition,
    l._offset AS _offset,
    l.received_at AS received_at,
    l.kind AS kind,
    l.reason AS reason,
    l.id AS id,
    if(r.state = '', 'waits', r.state) AS replay,
    if(r.state = 'sent', r.changed_at, NULL) AS replayed_at,
    r.sent_offset AS replayed_offset
FROM dead_letter AS l
LEFT JOIN (SELECT * FROM dead_letter_replays FINAL) AS r
    ON r.topic = l.topic AND r._partition = l._partition AND r._offset = l._offset
COMMENT 'What was set aside, why, and what became of it? One row a dead letter, without its payload.';
