-- Views over raw tables: computed when asked, so they cannot drift from them.

CREATE VIEW IF NOT EXISTS decisions_by_pop (
    hour DateTime('UTC') COMMENT 'in which it was decided',
    pop LowCardinality(String) COMMENT 'where listeners were sent',
    edge_id LowCardinality(String) COMMENT 'the edge they were sent to',
    policy LowCardinality(String) COMMENT 'the policy that picked',
    reason LowCardinality(String) COMMENT 'why, in words',
    decisions UInt64 COMMENT 'how often',
    tracks UInt64 COMMENT 'different tracks asked for',
    rtt_avg_ms Nullable(Float64) COMMENT 'mean round trip as the router believed, in ms; null where nothing was measured',
    load_avg Float64 COMMENT 'mean load of the edge when it was picked, 0 to 1',
    candidates_avg Float64 COMMENT 'mean number of candidates offered'
) AS
SELECT
    toStartOfHour(decided_at) AS hour,
    chosen_pop AS pop,
    chosen_edge AS edge_id,
    policy,
    chosen_reason AS reason,
    uniqExact(decision_id) AS decisions,
    uniqExact(track_id) AS tracks,
    avg(chosen_rtt_ms) AS rtt_avg_ms,
    avg(chosen_load) AS load_avg,
    avg(length(candidates.edge)) AS candidates_avg
FROM decisions
GROUP BY hour, pop, edge_id, policy, reason
COMMENT 'Where were listeners sent, and why? One row an hour, edge, policy and reason.';

CREATE VIEW IF NOT EXISTS listens (
    decision_id UUID COMMENT 'the routing decision of this listen',
    decided_at DateTime64(3, 'UTC') COMMENT 'when the router answered',
    track_id String COMMENT 'what was asked for',
    chosen_pop LowCardinality(String) COMMENT 'where the listener was sent',
    chosen_edge LowCardinality(String) COMMENT 'the edge the listener was sent to',
    chosen_reason LowCardinality(String) COMMENT 'why, in words',
    served_by Array(String) COMMENT 'the edges that really sent bytes; empty where none did',
    responses UInt64 COMMENT 'responses of edges',
    hits UInt64 COMMENT 'of these, answered from memory or disk without a fill',
    bytes UInt64 COMMENT 'body bytes sent',
    events UInt64 COMMENT 'events of the player',
    heard_ms UInt64 COMMENT 'audible time, in ms',
    stalls UInt64 COMMENT 'how often playback stood still'
) AS
SELECT
    d.decision_id AS decision_id,
    d.decided_at AS decided_at,
    d.track_id AS track_id,
    d.chosen_pop AS chosen_pop,
    d.chosen_edge AS chosen_edge,
    d.chosen_reason AS chosen_reason,
    b.served_by AS served_by,
    b.responses AS responses,
    b.hits AS hits,
    b.bytes AS bytes,
    e.events AS events,
    e.heard_ms AS heard_ms,
    e.stalls AS stalls
FROM decisions AS d
LEFT JOIN (
    SELECT
        assumeNotNull(decision_id) AS decision, groupUniqArray(edge) AS served_by, count() AS responses,
        countIf(status IN ('hit', 'hit_disk')) AS hits, sum(sent) AS bytes
    FROM (
        SELECT decision_id, delivery_id, any(toString(edge_id)) AS edge, any(cache_status) AS status, any(bytes_sent) AS sent
        FROM deliveries
        WHERE decision_id IS NOT NULL
        GROUP BY decision_id, delivery_id
    )
    GROUP BY decision_id
) AS b ON b.decision = d.decision_id
LEFT JOIN (
    SELECT
        assumeNotNull(decision_id) AS decision, uniqExact(event_id) AS events,
        ifNull(max(played_ms), 0) AS heard_ms, uniqExactIf(event_id, type = 'stall') AS stalls
    FROM events
    WHERE decision_id IS NOT NULL
    GROUP BY decision_id
) AS e ON e.decision = d.decision_id
COMMENT 'What became of each routing decision: which edge served, how many bytes, what was heard? One row a decision.';
