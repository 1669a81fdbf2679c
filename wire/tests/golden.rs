//! Every payload as it crosses a process boundary, one file each under `golden/`.
//!
//! A change of format shows as a diff of these files. Where it is meant, `GOLDEN=write cargo test -p wire`
//! writes them anew; a reader of the old form must still be able to read the new one.

#![allow(clippy::unwrap_used, reason = "a test that meets an error should stop there")]

use std::fmt::Debug;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;
use wire::content::{ContentChange, ContentEvent, ObjectRef};
use wire::decision::{Candidate, Decision, Excluded, RouteAnswer, RouteCandidate, RttSource, Via};
use wire::delivery::{CacheStatus, Delivery, DeliveryBatch};
use wire::endpoints::{EdgeEndpoint, Endpoints, S3Endpoint};
use wire::event::{AcceptedEvent, BatchAnswer, Consent, ElementError, Event, EventType, WireFormat};
use wire::fleet::{Edge, EdgeState, Place};
use wire::held::HeldDigest;
use wire::live::{LIVE_VERSION, LiveState, LiveStats, NowCounts, PopNow, TrackNow};
use wire::load::LoadReport;
use wire::measurement::{EdgeMeasurement, Measurements};
use wire::tally::{Numbers, Tally};
use wire::track::{PublishOrder, Rendition, RenditionKind, TrackSpec, TrackState, TrackStatus};
use wire::track::{WarmAnswer, WarmOrder, WarmResult};
use wire::{DecisionId, EdgeId, ObjectKey, PlayId, PopId, SessionId, Timestamp, TrackId};

/// The value is written as its file says, and the file is read as the value.
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.json"));
    let written = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("GOLDEN").is_some_and(|mode| mode == "write") {
        std::fs::write(&path, &written).unwrap();
    }
    let file = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, file, "{name}: the format has changed");
    assert_eq!(&serde_json::from_str::<T>(&file).unwrap(), value, "{name} is not read back as it was written");
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x0193_5b0e_0000_7000_8000_0000_0000_0000 + n)
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_795_251_600_000 + ms).unwrap()
}

fn pop(name: &str) -> PopId {
    PopId::new(name).unwrap()
}

fn edge_id(name: &str) -> EdgeId {
    EdgeId::new(name).unwrap()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).unwrap()
}

fn track() -> TrackId {
    TrackId::new("trk-1").unwrap()
}

fn full_event() -> Event {
    let text = |text: &str| Some(text.to_owned());
    Event {
        event_id: id(1),
        event_type: EventType::Progress,
        session_id: SessionId::new("session-1").unwrap(),
        track_id: track(),
        client_ts: at(123),
        sent_at: Some(at(1000)),
        play_id: Some(PlayId::new("play-1").unwrap()),
        seq: Some(3),
        user_id: text("u-17"),
        anon_id: text("a-9"),
        position_ms: Some(30_000),
        duration_ms: Some(180_000),
        played_ms: Some(29_800),
        stall_ms: Some(250),
        bitrate_kbps: Some(128),
        codec: text("mp4a.40.2"),
        device: text("iPhone15,4"),
        os: text("iOS 19"),
        app_version: text("4.2"),
        pop: Some(pop("fra")),
        edge_id: Some(edge_id("fra-1")),
        decision_id: Some(DecisionId(id(13))),
        cache_status: text("hit"),
        error_code: text("E7"),
        consent: Some(Consent::Granted),
        schema_version: Some(1),
        extra: Some(serde_json::from_str(r#"{"mood":"calm"}"#).unwrap()),
    }
}

/// What a player must send and nothing else.
fn least_event() -> Event {
    let json = serde_json::json!({
        "event_id": id(2), "type": "play_start", "session_id": "session-1", "track_id": "trk-1", "client_ts": at(0)
    });
    serde_json::from_value(json).unwrap()
}

#[test]
fn events() {
    golden("event", &full_event());
    golden("event_least", &least_event());
    golden(
        "accepted_event",
        &AcceptedEvent {
            event: full_event(),
            app: "web".into(),
            ingest_id: "ingest-1-0a1b2c3d4e5f".into(),
            received_at: at(1250),
            event_ts: at(373),
            skew_ms: 250,
            wire_format: WireFormat::CloudEvents,
            country: Some("PL".into()),
            asn: 64496,
            client_net: "192.0.2.0/24".into(),
            ingest_seq: 42,
        },
    );
    let error = ElementError {
        index: 1,
        event_id: Some("not-a-uuid".into()),
        status: 400,
        problem_type: "urn:tonearm:problem:bad-field".into(),
        field: Some("event_id".into()),
        detail: "UUID parsing failed".into(),
        retryable: false,
    };
    golden("batch_answer", &BatchAnswer { accepted: 1, errors: vec![error] });
}

#[test]
fn a_number_given_last_is_where_it_would_have_been_written() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/accepted_event.json");
    let numbered: AcceptedEvent = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for ingest_seq in [1, u64::MAX] {
        let mut written = serde_json::to_vec(&AcceptedEvent { ingest_seq: 0, ..numbered.clone() }).unwrap();
        let before = written.len();
        wire::event::number(&mut written, ingest_seq);
        assert_eq!(written, serde_json::to_vec(&AcceptedEvent { ingest_seq, ..numbered.clone() }).unwrap());
        assert!(written.len() - before <= wire::event::NUMBER_BYTES);
    }
    let unnumbered = serde_json::to_vec(&AcceptedEvent { ingest_seq: 0, ..numbered }).unwrap();
    assert!(serde_json::from_slice::<AcceptedEvent>(&unnumbered).is_err(), "an event without its number is none");
}

#[test]
fn tallies() {
    golden(
        "tally",
        &Tally {
            tally_id: id(21),
            ingest_id: "ingest-1-0a1b2c3d4e5f".into(),
            spool_id: id(22),
            at: at(2000),
            given: 45,
            settled: 42,
            voids: vec![Numbers { first: 7, last: 9 }],
            waiting: 3,
            ended: false,
        },
    );
}

#[test]
fn every_event_type_has_the_name_it_is_told_by() {
    use EventType::{Complete, Error, Pause, PlayStart, Progress, QualityChange, Resume, Seek, Skip, Stall};
    let all = [PlayStart, Progress, Pause, Resume, Seek, Complete, Skip, Error, Stall, QualityChange];
    golden("event_types", &all);
    for one in all {
        assert_eq!(serde_json::to_value(one).unwrap(), one.as_str());
    }
}

#[test]
fn deliveries() {
    let delivery = Delivery {
        delivery_id: id(3),
        decision_id: Some(DecisionId(id(13))),
        edge_id: edge_id("fra-1"),
        pop: pop("fra"),
        key: key("trk-1/128/seg-3.m4s"),
        method: "GET".into(),
        status: 206,
        cache_status: CacheStatus::HitDisk,
        range_start: 65_536,
        bytes_sent: 1000,
        object_bytes: Some(96_000),
        ttfb_us: 210,
        duration_us: 1900,
        complete: true,
        started_at: at(500),
        client_net: "192.0.2.0/24".into(),
        tcp_rtt_us: Some(18_250),
        tcp_retransmits: Some(2),
        cmcd: [("br".into(), "128".into()), ("sid".into(), "s-1".into())].into(),
    };
    let least = Delivery {
        decision_id: None,
        object_bytes: None,
        cache_status: CacheStatus::None,
        tcp_rtt_us: None,
        tcp_retransmits: None,
        cmcd: [].into(),
        ..delivery.clone()
    };
    golden("delivery", &delivery);
    golden("delivery_batch", &DeliveryBatch { deliveries: vec![delivery, least] });
    let all = [CacheStatus::Hit, CacheStatus::HitDisk, CacheStatus::Collapsed, CacheStatus::Miss, CacheStatus::None];
    for one in all {
        assert_eq!(serde_json::to_value(one).unwrap(), one.as_str());
    }
}

fn candidate(edge: &str, rank: u32) -> Candidate {
    Candidate {
        pop: pop("fra"),
        edge: edge_id(edge),
        rtt_ms: (rank == 1).then_some(18.25),
        rtt_source: if rank == 1 { RttSource::Probe } else { RttSource::Unknown },
        jitter_ms: 1.5,
        loss: 0.0,
        load: 0.41,
        network_load: 0.125,
        rank,
        reason: "lowest network load of the 3 nearest".into(),
    }
}

fn excluded() -> Vec<Excluded> {
    vec![Excluded { pop: pop("waw"), edge: edge_id("waw-1"), reason: "load 0.86 over 0.80".into() }]
}

#[test]
fn decisions() {
    golden(
        "decision",
        &Decision {
            decision_id: DecisionId(id(13)),
            decided_at: at(0),
            router_id: "router-1".into(),
            via: Via::Route,
            policy: "three-nearest".into(),
            track_id: track(),
            client_net: "192.0.2.0/24".into(),
            snapshot_version: 7,
            ttl_s: 30,
            candidates: vec![candidate("fra-1", 1), candidate("fra-2", 2)],
            excluded: excluded(),
        },
    );
    let offered = RouteCandidate {
        url: Some("http://fra-1/trk-1/track.m4a?decision=x".into()),
        hls_url: None,
        probe_url: "http://fra-1/.tonearm/ping".into(),
        inputs: candidate("fra-1", 1),
    };
    golden(
        "route_answer",
        &RouteAnswer {
            decision_id: DecisionId(id(13)),
            policy: "three-nearest".into(),
            ttl_s: 30,
            candidates: vec![offered],
            excluded: excluded(),
        },
    );
}

#[test]
fn what_edges_and_players_measure() {
    let report = LoadReport {
        edge_id: edge_id("fra-1"),
        pop: pop("fra"),
        started_at: at(0),
        seq: 12,
        sent_at: at(12_000),
        cpu: 0.31,
        memory: 0.2,
        disk_io_bytes_s: 1_000_000,
        disk_capacity_bytes_s: 500_000_000,
        connections: 40,
        connections_max: 10_000,
        network_out_bps: 250_000_000,
        network_capacity_bps: 1_000_000_000,
        hit_ratio: Some(0.96),
        fills: 3,
        fill_backlog: 0.125,
        held: Some(HeldDigest::of(2, ["trk-1/128", "trk-1/256"].into_iter())),
        draining: false,
    };
    golden("load_report", &report);
    let edges = vec![EdgeMeasurement { edge: edge_id("fra-1"), rtt_ms: vec![18.5, 17.25, 19.0], lost: 1 }];
    golden("measurements", &Measurements { decision_id: DecisionId(id(13)), edges });
}

fn object() -> ObjectRef {
    ObjectRef { key: key("trk-1/master.m3u8"), bytes: 412, content_type: "application/vnd.apple.mpegurl".into() }
}

#[test]
fn content() {
    golden(
        "content_event",
        &ContentEvent {
            event_id: id(4),
            change: ContentChange::Published,
            track_id: track(),
            version: 2,
            occurred_at: at(0),
            pops: vec![pop("fra"), pop("waw")],
            objects: vec![object()],
        },
    );
    let spec = TrackSpec {
        title: "Needle Drop".into(),
        artist: "The Tonearms".into(),
        duration_ms: 61_000,
        renditions: vec![Rendition {
            kind: RenditionKind::Hls,
            key: key("trk-1/master.m3u8"),
            codec: "mp4a.40.2".into(),
            bitrate_kbps: 256,
        }],
        objects: vec![object()],
    };
    golden("track_spec", &spec);
    golden("track_status", &TrackStatus { track_id: track(), version: 2, state: TrackState::RollingOut, spec });
    golden("publish_order", &PublishOrder { pops: vec![pop("fra")] });
}

#[test]
fn warming() {
    golden("warm_order", &WarmOrder { keys: vec!["trk-1/master.m3u8".into(), "trk-1/gone.m4s".into()] });
    let held = WarmResult { key: "trk-1/master.m3u8".into(), bytes: Some(412), fetched: 412, error: None };
    let gone = WarmResult { key: "trk-1/gone.m4s".into(), bytes: None, fetched: 0, error: Some("404".into()) };
    golden("warm_answer", &WarmAnswer { results: vec![held, gone] });
}

#[test]
fn fleet_and_endpoints() {
    let place = Place { city: "Frankfurt".into(), country: "DE".into(), latitude: 50.11, longitude: 8.68 };
    golden(
        "edge",
        &Edge {
            edge_id: edge_id("fra-1"),
            pop: pop("fra"),
            url: "http://fra-1.example".into(),
            admin_url: "http://fra-1.internal:7201".into(),
            capacity_bps: 1_000_000_000,
            icmp_host: Some("192.0.2.7".parse().unwrap()),
            state: EdgeState::Active,
            place: Some(place),
        },
    );
    let local = |port: u16| format!("http://127.0.0.1:{port}");
    golden(
        "endpoints",
        &Endpoints {
            router: local(7000),
            ingest: local(7100),
            catalog: local(7300),
            edges: vec![EdgeEndpoint { id: edge_id("fra-1"), pop: pop("fra"), url: local(7200), admin: local(7201) }],
            kafka: "127.0.0.1:9092".into(),
            clickhouse_http: local(8123),
            clickhouse_native: "127.0.0.1:9000".into(),
            clickhouse_database: "tonearm".into(),
            analyst_user: "analyst".into(),
            analyst_password: "analyst-password".into(),
            postgres: "postgres://tonearm:password@127.0.0.1:5432/tonearm".into(),
            s3: S3Endpoint {
                endpoint: local(9001),
                bucket: "tonearm".into(),
                access_key: "access".into(),
                secret_key: "secret".into(),
            },
            admin_token: "admin-token".into(),
            write_key: "write-key".into(),
            user_id: "u-17".into(),
            user_token: "user-token".into(),
            operator_token: "operator-token".into(),
        },
    );
}

#[test]
fn live_stats() {
    let counts = |listeners, plays_per_s| NowCounts { listeners, plays_per_s };
    let everything = LiveStats {
        v: LIVE_VERSION,
        at: at(0),
        state: LiveState::Live,
        sampled: 0.5,
        track: None,
        pop: None,
        all: counts(1402, 12.5),
        tracks: vec![TrackNow { track: track(), counts: counts(900, 8.25) }],
        other_tracks: counts(502, 4.25),
        pops: vec![
            PopNow { pop: "fra".into(), counts: counts(1400, 12.5) },
            PopNow { pop: String::new(), counts: counts(2, 0.0) },
        ],
        other_pops: counts(0, 0.0),
    };
    golden("live_stats", &everything);
    let filtered = LiveStats {
        track: Some(track()),
        pop: Some(pop("fra")),
        state: LiveState::CatchingUp,
        sampled: 1.0,
        all: counts(900, 8.25),
        other_tracks: counts(0, 0.0),
        pops: vec![PopNow { pop: "fra".into(), counts: counts(900, 8.25) }],
        ..everything
    };
    golden("live_stats_filtered", &filtered);
}
