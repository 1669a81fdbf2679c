//! An audit of what is whole holds; each kind of damage is named.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::Method;
use ingest::audit::{Audit, Grade, Hours, PartitionAudit};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::FutureRecord;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use service::Running;
use service::client::ApiClient;
use service::config::Loader;
use tokio::sync::watch;
use uuid::Uuid;
use wire::Timestamp;
use wire::topic::Topic;

use crate::landing::delivery;
use crate::support::{ADMIN_TOKEN, Stack, event, events, eventually, post, post_at};

pub(crate) async fn audit(stack: &Stack) -> Audit {
    let mut loader = Loader::new(None, stack.environment.clone()).unwrap();
    let config = ingest::audit::Config::read(&mut loader);
    ingest::audit::run(&config, Hours::default()).await.unwrap()
}

/// Waits until the sink has committed all that Kafka has.
pub(crate) async fn settled(stack: &Stack) -> Audit {
    let ask = || async {
        let audit = audit(stack).await;
        let behind = |p: &PartitionAudit| p.place.committed.unwrap_or(0) < p.place.high;
        let lag = audit.topics.iter().flat_map(|topic| &topic.partitions).filter(|p| behind(p)).count();
        if lag == 0 { Ok(()) } else { Err(format!("{lag} partitions lag")) }
    };
    eventually(Duration::from_secs(120), ask).await;
    audit(stack).await
}

/// Some of everything: events, deliveries, and messages that no sink can read.
pub(crate) async fn furnish(stack: &Stack, ingest: &Running) {
    for _ in 0..6 {
        assert_eq!(post(ingest, &json!(events(100))).await.status, 202);
    }
    let api = ApiClient::new(Duration::from_secs(30)).with_bearer(ADMIN_TOKEN);
    let batch = json!({"deliveries": [delivery()]});
    let answer = api.send_json(Method::POST, &format!("{}/v1/deliveries", ingest.url()), &batch).await.unwrap();
    assert_eq!(answer.status, 202);
    let producer = service::kafka::producer(&stack.kafka).unwrap();
    let topic = Topic::Listens.name(&stack.kafka.topic_prefix);
    for payload in [&b"no event"[..], b"{}"] {
        let record = FutureRecord::to(&topic).key("k").payload(payload).partition(0);
        producer.send(record, Duration::from_secs(20)).await.unwrap();
    }
}

pub(crate) async fn change(stack: &Stack, sql: &str) {
    stack.clickhouse.query(sql).with_setting("mutations_sync", "2").execute().await.unwrap();
}

fn listens(audit: &Audit) -> &[PartitionAudit] {
    &audit.topics.iter().find(|topic| topic.table == "events").unwrap().partitions
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_whole_holds_and_what_was_damaged_is_named() {
    let stack = Stack::new().await;
    let (ingest, sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    furnish(&stack, &ingest).await;
    let whole = settled(&stack).await;
    assert_eq!(whole.verdict, Grade::Holds, "{whole}");
    let counts = |of: fn(&PartitionAudit) -> u64| listens(&whole).iter().map(of).sum::<u64>();
    assert_eq!((counts(|p| p.counts.raw), counts(|p| p.counts.dead_letter)), (600, 2), "{whole}");
    let said = whole.to_string();
    assert!(said.contains("2 dead letters") && said.contains("It adds up."), "{said}");

    damage_offsets(&stack, &whole).await;
    assert!(sink.stop().await.is_ok());
    skip_an_offset(&stack).await;
}

/// Posts until it is told to stop; how many events were taken.
async fn flow(url: String, stop: watch::Receiver<bool>) -> usize {
    let mut posted = 0;
    while !*stop.borrow() {
        let batch = json!(events(20)).to_string();
        let answer = post_at(&url, "application/json", batch).await.unwrap();
        assert_eq!(answer.status, 202);
        posted += 20;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    posted
}

/// How far an audit speaks of the listens, and how many of these it has found.
fn spoken_of(audit: &Audit) -> (u64, u64) {
    let partitions = listens(audit);
    (partitions.iter().map(|p| p.end).sum(), partitions.iter().map(|p| p.counts.raw + p.counts.repeats).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_it_holds_up_to_its_watermark_and_still_finds_a_hole() {
    let stack = Stack::new().await;
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    let (running, stop) = watch::channel(false);
    let load: Vec<_> = (0..2).map(|_| tokio::spawn(flow(ingest.url(), stop.clone()))).collect();
    let mut before = 0;
    for _ in 0..3 {
        stack.past("SELECT count() FROM events", before).await;
        let found = audit(&stack).await;
        assert_eq!(found.verdict, Grade::Holds, "{found}");
        let (end, rows) = spoken_of(&found);
        assert!(end > before && end == rows, "{end} after {before}, {rows} rows: {found}");
        before = end;
    }
    change(&stack, "ALTER TABLE events DELETE WHERE _partition = 0 AND _offset = 3").await;
    let found = audit(&stack).await;
    let holes: Vec<_> = listens(&found).iter().flat_map(|p| &p.holes).map(|hole| (hole.first, hole.last)).collect();
    assert_eq!((found.verdict, holes), (Grade::Off, vec![(3, 3)]), "{found}");
    running.send_replace(true);
    let mut posted = 0;
    for sender in load {
        posted += sender.await.unwrap();
    }
    assert!(posted as u64 >= before, "{posted} were posted, and {before} spoken of");
}

/// Random rows deleted and doubled, against the sets themselves.
async fn damage_offsets(stack: &Stack, whole: &Audit) {
    let mut random = StdRng::seed_from_u64(11);
    let mut lost: BTreeMap<u32, BTreeSet<i64>> = BTreeMap::new();
    let mut doubled: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
    for partition in listens(whole) {
        let (p, end) = (partition.place.partition, partition.end);
        for offset in [0, end - 1] {
            lost.entry(p).or_default().insert(i64::try_from(offset).unwrap());
        }
        for _ in 0..20 {
            lost.entry(p).or_default().insert(random.random_range(0..i64::try_from(end).unwrap()));
            doubled.entry(p).or_default().insert(random.random_range(0..end));
        }
    }
    for (p, offsets) in &mut doubled {
        offsets.retain(|offset| !lost[p].contains(&i64::try_from(*offset).unwrap()));
    }
    // Each statement goes through every view, so there is one for all partitions.
    for table in ["events", "dead_letter"] {
        let twice = format!("SELECT * FROM {table} WHERE (_partition, _offset) IN ({})", places(&doubled));
        change(stack, &format!("INSERT INTO {table} {twice}")).await;
        let gone = format!("(_partition, _offset) IN ({})", places(&lost));
        change(stack, &format!("ALTER TABLE {table} DELETE WHERE {gone}")).await;
    }
    let found = audit(stack).await;
    assert_eq!(found.verdict, Grade::Off);
    for partition in listens(&found) {
        let p = partition.place.partition;
        let holes: BTreeSet<i64> = partition.holes.iter().flat_map(|hole| hole.first..=hole.last).collect();
        let twice: BTreeSet<u64> = partition.doubles.iter().map(|double| double.offset).collect();
        assert_eq!(holes, lost[&p], "{found}");
        assert_eq!(twice, doubled[&p], "{found}");
        assert_eq!((partition.missing, partition.doubled), (holes.len() as u64, twice.len() as u64), "{found}");
    }
    assert!(found.to_string().contains("offsets are nowhere: 0"), "{found}");
    // Rows with an id that stands there twice are told, too.
    let ids = &found.topics[0].ids;
    assert!(ids.more_than_once > 0 && ids.examples.len() as u64 == ids.more_than_once.min(20), "{ids:?}");
}

fn places<T: ToString>(offsets: &BTreeMap<u32, BTreeSet<T>>) -> String {
    let places =
        offsets.iter().flat_map(|(p, offsets)| offsets.iter().map(move |o| format!("({p}, {})", o.to_string())));
    places.collect::<Vec<_>>().join(", ")
}

/// A group whose offset was moved over messages that it never stored.
async fn skip_an_offset(stack: &Stack) {
    let topic = Topic::Decisions.name(&stack.kafka.topic_prefix);
    let producer = service::kafka::producer(&stack.kafka).unwrap();
    let record = FutureRecord::to(&topic).key("k").payload("x").partition(1);
    producer.send(record, Duration::from_secs(20)).await.unwrap();
    let told = audit(stack).await;
    assert_eq!(told.topics[2].partitions[1].missing, 0, "above the watermark nothing is missing: {told}");
    commit(stack, topic.clone()).await;
    let found = audit(stack).await;
    assert_eq!(found.topics[2].partitions[1].missing, 1, "{found}");
    assert!(found.to_string().contains(&format!("{topic} 1: 1 offsets are nowhere: 0")), "{found}");
}

async fn commit(stack: &Stack, topic: String) {
    let group = format!("{}.sink", stack.kafka.topic_prefix);
    let mut config = service::kafka::client_config(&stack.kafka);
    let consumer: BaseConsumer = config.set("group.id", group).create().unwrap();
    let moved = move || {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 1, Offset::Offset(1)).unwrap();
        consumer.commit(&list, CommitMode::Sync)
    };
    // The sink that left is still a member until its session ends.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let moved = std::sync::Arc::new(moved);
    loop {
        let attempt = moved.clone();
        match tokio::task::spawn_blocking(move || attempt()).await.unwrap() {
            Ok(()) => return,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A process that counted to seven, as Kafka would have it of a real one.
async fn counted(stack: &Stack, ingest_id: &str, numbers: &[u64], tally: Value) {
    let now = Timestamp::now();
    let producer = service::kafka::producer(&stack.kafka).unwrap();
    for number in numbers {
        let accepted = json!({
            "event": event(), "app": "web", "ingest_id": ingest_id, "received_at": now, "event_ts": now,
            "skew_ms": 0, "wire_format": "json", "ingest_seq": number
        });
        produce(&producer, Topic::Listens.name(&stack.kafka.topic_prefix), &accepted).await;
    }
    let mut whole = json!({
        "tally_id": Uuid::now_v7(), "ingest_id": ingest_id, "spool_id": Uuid::nil(), "at": now, "given": 7,
        "settled": 5, "voids": [], "waiting": 0, "ended": false
    });
    whole.as_object_mut().unwrap().extend(tally.as_object().unwrap().clone());
    produce(&producer, Topic::Tallies.name(&stack.kafka.topic_prefix), &whole).await;
}

async fn produce(producer: &rdkafka::producer::FutureProducer, topic: String, payload: &Value) {
    let payload = payload.to_string();
    let record = FutureRecord::to(&topic).key("k").payload(&payload);
    producer.send(record, Duration::from_secs(20)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_was_promised_and_is_nowhere_is_named() {
    let stack = Stack::new().await;
    let _sink = stack.sink(&[]).await;
    counted(&stack, "ingest-whole", &[1, 2, 3, 4, 5, 7], json!({})).await;
    counted(&stack, "ingest-void", &[1, 3, 5], json!({"voids": [{"first": 2, "last": 2}, {"first": 4, "last": 4}]}))
        .await;
    let whole = settled(&stack).await;
    assert_eq!(whole.verdict, Grade::Holds, "{whole}");
    let unproven: Vec<u64> = whole.instances.iter().map(|instance| instance.unproven).collect();
    assert_eq!(unproven, [1, 2], "{whole}");

    let spool = Uuid::now_v7();
    counted(&stack, "ingest-spooled", &[1, 2, 5], json!({"spool_id": spool, "waiting": 2})).await;
    assert_eq!(settled(&stack).await.verdict, Grade::Unjudged, "what waits in a spool is not lost");
    // The process after it on the same spool has sent it all.
    counted(&stack, "ingest-next", &[1, 2, 3, 4, 5], json!({"spool_id": spool, "waiting": 0})).await;
    let found = settled(&stack).await;
    assert_eq!(found.verdict, Grade::Off, "{found}");
    assert!(found.to_string().contains("ingest-spooled: 2 accepted events are nowhere: 3-4"), "{found}");
}

/// Beside the roll-ups that migrations make: one made for this test, and one that no audit can compare.
const MADE: [&str; 4] = [
    "CREATE TABLE made_states (received_hour DateTime('UTC'), track_id String, events SimpleAggregateFunction(sum, UInt64)) \
     ENGINE = AggregatingMergeTree ORDER BY (track_id, received_hour) SETTINGS non_replicated_deduplication_window = 100",
    "CREATE MATERIALIZED VIEW made_states_from_events TO made_states AS SELECT toStartOfHour(received_at) AS received_hour, \
     track_id, count() AS events FROM events GROUP BY received_hour, track_id",
    "CREATE TABLE blind (n UInt64) ENGINE = MergeTree ORDER BY n",
    "CREATE MATERIALIZED VIEW blind_from_events TO blind AS SELECT count() AS n FROM events",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_counts_otherwise_than_its_raw_table_is_named() {
    let stack = Stack::new().await;
    for statement in MADE {
        change(&stack, statement).await;
    }
    let (ingest, _sink) = (stack.ingest(&[]).await, stack.sink(&[]).await);
    furnish(&stack, &ingest).await;
    let blind = settled(&stack).await;
    assert_eq!(blind.verdict, Grade::Unjudged, "{blind}");
    assert!(blind.to_string().contains("blind: cannot be compared with its raw table"), "{blind}");
    change(&stack, "DROP VIEW blind_from_events").await;
    let whole = audit(&stack).await;
    assert_eq!(whole.verdict, Grade::Holds, "{whole}");
    every_view_is_compared(&stack, &whole).await;

    // Each without its last hour.
    let targets: BTreeSet<&String> = whole.views.iter().map(|view| &view.target).collect();
    for target in &targets {
        change(&stack, &format!("CREATE TABLE kept_{target} AS {target}")).await;
        change(&stack, &format!("INSERT INTO kept_{target} SELECT * FROM {target}")).await;
        change(&stack, &format!("TRUNCATE TABLE {target}")).await;
        change(&stack, &format!("INSERT INTO {target} SELECT * FROM kept_{target} WHERE NOT {}", last_hour(target)))
            .await;
    }
    let found = audit(&stack).await;
    whole.views.iter().for_each(|view| is_named(&found, &view.target));
    // Right again, and then twice: as if it had no deduplication.
    for target in &targets {
        for _ in 0..2 {
            let token = Uuid::now_v7();
            change(&stack, &format!("INSERT INTO {target} SELECT * FROM kept_{target} WHERE {} SETTINGS insert_deduplication_token = '{token}'", last_hour(target))).await;
        }
    }
    let found = audit(&stack).await;
    whole.views.iter().filter(|view| view.measure == "rows").for_each(|view| is_named(&found, &view.target));
    for target in &targets {
        change(&stack, &format!("TRUNCATE TABLE {target}")).await;
        change(&stack, &format!("INSERT INTO {target} SELECT * FROM kept_{target}")).await;
    }
    assert_eq!(audit(&stack).await.verdict, Grade::Holds);
    // Whoever is not there counts nothing wrong.
    change(&stack, "DETACH TABLE quality_states_from_events PERMANENTLY").await;
    let told = audit(&stack).await;
    assert!(told.verdict == Grade::Off && told.to_string().contains("the view that fills it is gone"), "{told}");
}

fn last_hour(target: &str) -> String {
    format!("received_hour = (SELECT max(received_hour) FROM kept_{target})")
}

fn is_named(audit: &Audit, target: &str) {
    assert_eq!(audit.verdict, Grade::Off, "{target}: {audit}");
    let about = audit.findings.iter().find(|finding| finding.about == target);
    assert!(about.is_some_and(|finding| finding.what.contains("counts other")), "{target}: {audit}");
}

/// Each target of a materialized view over a raw table, the ones from migrations included.
async fn every_view_is_compared(stack: &Stack, whole: &Audit) {
    let compared: BTreeSet<&str> = whole.views.iter().map(|view| view.view.as_str()).collect();
    let raw = "'events', 'deliveries', 'decisions', 'tallies'";
    let feeding = format!(
        "SELECT toUInt64(uniqExact(view)) FROM (SELECT arrayJoin(dependencies_table) AS view FROM system.tables \
         WHERE database = currentDatabase() AND name IN ({raw}))"
    );
    assert_eq!(stack.number(&feeding).await, compared.len() as u64, "{compared:?}");
    assert!(whole.views.iter().all(|view| view.unjudged.is_none() && view.hours_off == 0), "{whole}");
    assert!(compared.contains("made_states_from_events"));
}
