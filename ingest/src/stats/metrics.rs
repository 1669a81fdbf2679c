//! What the statistics API counts.

use std::sync::LazyLock;

use metrics::Gauge;
use service::metrics::Metric;

const ANSWERS: Metric = Metric::new(
    "tonearm_stats_answers_total",
    "answers to questions, by how: hit, asked, stale, or none where there was not even an old one",
);
pub(super) const QUERY: Metric =
    Metric::new("tonearm_stats_query_seconds", "from asking ClickHouse to its answer, waiting included, by question");
pub(super) const SUBSCRIBERS: Metric =
    Metric::new("tonearm_live_subscribers", "who gets the live figures at this moment, by websocket or event_stream");
const LIVE_SESSIONS: Metric =
    Metric::new("tonearm_live_sessions", "sessions that the live figures hold in memory; 0 while nobody looks");
const LIVE_FOLLOWING: Metric =
    Metric::new("tonearm_live_following", "1 while the listens topic is read for the live figures");

pub(super) static SESSIONS: LazyLock<Gauge> = LazyLock::new(|| LIVE_SESSIONS.gauge(&[]));
pub(super) static FOLLOWING: LazyLock<Gauge> = LazyLock::new(|| LIVE_FOLLOWING.gauge(&[]));

pub(super) fn answer(how: &'static str) {
    ANSWERS.counter(&[("how", how.to_owned())]).increment(1);
}
