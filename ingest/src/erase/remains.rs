//! What an erasure does not reach, and until when it is there.

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use serde::Serialize;
use service::config::KafkaConfig;
use wire::Timestamp;
use wire::topic::Topic;

use super::Proof;
use super::store::Store;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remains {
    #[serde(rename = "where")]
    pub place: String,
    pub what: String,
    /// None where nothing ends it by itself.
    pub until: Option<Timestamp>,
}

impl Remains {
    fn new(place: impl Into<String>, what: impl Into<String>, until: Option<Timestamp>) -> Self {
        Self { place: place.into(), what: what.into(), until }
    }
}

pub(super) async fn ask(
    kafka: &KafkaConfig,
    store: &Store,
    caught_up: bool,
    waiting_plays: u64,
    proof: &Proof,
) -> anyhow::Result<Vec<Remains>> {
    let mut all = Vec::new();
    for topic in [Topic::Listens.name(&kafka.topic_prefix), Topic::Listens.dead_letter_name(&kafka.topic_prefix)] {
        let kept = kept_ms(kafka, &topic).await.with_context(|| format!("cannot ask how long {topic} is kept"))?;
        let until = kept.map(|kept| proof.erased_at.saturating_add_millis(kept));
        let what = "messages with the listener's hash; the sink does not read them again. A segment goes when its last \
                    message is that old, so the end may come later by the topic's segment.ms";
        all.push(Remains::new(format!("Kafka {topic}"), what, until));
    }
    if !caught_up {
        let what =
            "messages that the sink has not stored yet may name the listener: run it again when it has caught up";
        all.push(Remains::new("Kafka, not yet stored", what, None));
    }
    if waiting_plays > 0 {
        let what = format!("{waiting_plays} plays that the sink is still at: run it again when it has caught up");
        all.push(Remains::new("events, roll-ups", what, None));
    }
    let waiting = "SELECT sum(w) FROM (SELECT argMax(waiting, at) AS w FROM tallies GROUP BY spool_id)";
    let waiting = store.number("what waits in spools", waiting).await?;
    if waiting > 0 {
        let what = format!("{waiting} records wait, which may name the listener: run it again when they are sent");
        all.push(Remains::new("ingest's spools", what, None));
    }
    let counts = "sums over many listeners, and sketches of how many different ones, which cannot forget one: \
                  they say how many, never who";
    all.push(Remains::new("roll-ups without listeners", counts, None));
    let paid = "totals of days that were closed, and which plays they paid, by a hash of the plays' own random ids, so \
                that none is paid twice";
    all.push(Remains::new("closed royalties", paid, None));
    let places = "where the erased rows lay, with their random ids and numbers and nothing of what they said";
    all.push(Remains::new("erased", places, Some(proof.erased_at.saturating_add_millis(396 * 24 * 3_600_000))));
    let parts = "files of the parts as they were, until ClickHouse removes them (old_parts_lifetime, 8 minutes)";
    all.push(Remains::new("ClickHouse's disk", parts, Some(proof.erased_at.saturating_add_millis(15 * 60_000))));
    Ok(all)
}

/// The topic's `retention.ms`; none where it is kept for ever.
async fn kept_ms(kafka: &KafkaConfig, topic: &str) -> anyhow::Result<Option<i64>> {
    let admin: AdminClient<DefaultClientContext> = service::kafka::client_config(kafka).create()?;
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(20)));
    let answer = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await?;
    let config = answer.into_iter().next().context("no answer")?.map_err(|code| anyhow::anyhow!("{code}"))?;
    let kept = config.get("retention.ms").and_then(|entry| entry.value.as_deref()).context("no retention.ms")?;
    Ok(Some(kept.parse::<i64>()?).filter(|kept| *kept >= 0))
}

impl fmt::Display for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = self.until.map_or_else(|| "until it is made otherwise".into(), |until| format!("until {until}"));
        write!(f, "{}, {until}: {}", self.place, self.what)
    }
}
