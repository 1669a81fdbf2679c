//! Delivery records, as a listener in ingest's place gets them.

use std::collections::BTreeSet;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use wire::delivery::{CacheStatus, Delivery, DeliveryBatch};
use wire::{DecisionId, EdgeId};

use crate::catcher::Catcher;
use crate::client::{get, get_range, send};
use crate::origin::{Act, Origin};
use crate::stage::{CHUNK, Stage, eventually, noise};
use crate::web::{Reply, Web};

async fn stage(origin: &Origin) -> (Stage, Catcher) {
    let ingest = Catcher::start("/v1/deliveries").await;
    let url = ingest.url.clone();
    (Stage::before(origin, |config| config.edge.ingest = url).await, ingest)
}

fn records(ingest: &Catcher) -> Vec<Delivery> {
    ingest.caught::<DeliveryBatch>().into_iter().flat_map(|batch| batch.deliveries).collect()
}

async fn wait_for(ingest: &Catcher, count: usize) -> Vec<Delivery> {
    eventually("the records arrive", || async { records(ingest).len() >= count }).await;
    records(ingest)
}

#[tokio::test]
async fn each_answer_is_recorded_with_its_decision_and_bytes() {
    let origin = Origin::start().await;
    let bytes = noise(1, 3 * CHUNK);
    origin.put("a/song", Act::of(bytes.clone()));
    let (stage, ingest) = stage(&origin).await;
    let decision = DecisionId::generate();
    let url = stage.at(&format!("a/song?x=1&decision_id={decision}"));
    let etag = get(&url).await.header("etag").to_owned();
    get_range(&url, "bytes=100-299").await;
    send(Method::HEAD, &url, &[]).await;
    send(Method::GET, &url, &[("if-none-match", &etag)]).await;
    let missing = get(&stage.at("a/missing")).await;
    let refused = get_range(&url, "bytes=99999999-").await;
    get(&stage.at(".tonearm/ping")).await;

    // Each on a connection of its own: their order is the threads' affair.
    let mut records = wait_for(&ingest, 6).await;
    records.sort_by_key(|record| (record.method.clone(), record.status));
    let told: Vec<_> = records.iter().map(|r| (r.method.as_str(), r.status, r.cache_status)).collect();
    let wanted = [
        ("GET", 200, CacheStatus::Miss),
        ("GET", 206, CacheStatus::Hit),
        ("GET", 304, CacheStatus::Hit),
        ("GET", 404, CacheStatus::None),
        ("GET", 416, CacheStatus::None),
        ("HEAD", 200, CacheStatus::Hit),
    ];
    assert_eq!(told, wanted);
    let sent: Vec<_> = records.iter().map(|record| record.bytes_sent).collect();
    let (missing, refused) = (missing.bytes().len() as u64, refused.bytes().len() as u64);
    assert_eq!(sent, [bytes.len() as u64, 200, 0, missing, refused, 0]);
    for record in &records {
        assert_eq!((record.edge_id.as_str(), record.pop.as_str()), ("fra-1", "fra"));
        assert_eq!(record.client_net, "127.0.0.0/24");
        assert!(record.complete && record.ttfb_us <= record.duration_us && record.ttfb_us > 0);
        let about_song = record.key.as_str() == "a/song";
        assert_eq!(record.decision_id, about_song.then_some(decision));
        assert_eq!(record.object_bytes, about_song.then_some(bytes.len() as u64));
    }
    assert_eq!(records[1].range_start, 100);
}

/// A POST whose answer is kept for reads to come is none itself.
#[tokio::test]
async fn only_reads_are_deliveries() {
    let web = Web::start().await;
    let ingest = Catcher::start("/v1/deliveries").await;
    let url = ingest.url.clone();
    let stage = Stage::public(&web, |config| config.edge.ingest = url).await;
    let kept = [("Cache-Control", "max-age=60"), ("Content-Location", "/form")];
    web.put("/form", [Reply::new(200, &kept, "kept")]);
    send(Method::POST, &stage.at("form"), &[]).await;
    get(&stage.at("form")).await;
    assert_eq!(web.heard().len(), 1);
    send(Method::GET, &stage.at("other"), &[("cache-control", "only-if-cached")]).await;
    let mut told: Vec<_> =
        wait_for(&ingest, 2).await.into_iter().map(|r| (r.method, r.status, r.cache_status)).collect();
    told.sort_by_key(|(_, status, _)| *status);
    assert_eq!(told, [("GET".into(), 200, CacheStatus::Hit), ("GET".into(), 504, CacheStatus::None)]);
}

#[tokio::test]
async fn a_client_that_leaves_is_recorded_with_what_it_could_get() {
    let origin = Origin::start().await;
    origin.put("song", Act::of(noise(2, 32 << 20)));
    let (stage, ingest) = stage(&origin).await;
    let addr = stage.url.strip_prefix("http://").unwrap().parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut client: TcpStream = socket.connect(addr).await.unwrap();
    client.write_all(b"GET /song HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut some = vec![0; 100_000];
    client.read_exact(&mut some).await.unwrap();
    drop(client);
    let records = wait_for(&ingest, 1).await;
    assert!(!records[0].complete);
    assert!((99_000..20 << 20).contains(&records[0].bytes_sent), "{}", records[0].bytes_sent);
}

#[tokio::test]
async fn pipelined_answers_are_told_apart() {
    let origin = Origin::start().await;
    origin.put("one", Act::of(noise(3, 1000)));
    origin.put("two", Act::of(noise(4, 3 * CHUNK)));
    let (stage, ingest) = stage(&origin).await;
    let mut client = TcpStream::connect(stage.url.strip_prefix("http://").unwrap()).await.unwrap();
    let requests = "GET /one HTTP/1.1\r\nhost: x\r\n\r\nHEAD /two HTTP/1.1\r\nhost: x\r\n\r\n\
                    GET /two HTTP/1.1\r\nhost: x\r\n\r\nGET /one HTTP/1.1\r\nhost: x\r\nte: trailers\r\n\r\n\
                    GET /two HTTP/1.1\r\nhost: x\r\n\r\nGET /one HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    client.write_all(requests.as_bytes()).await.unwrap();
    client.read_to_end(&mut Vec::new()).await.unwrap();
    let sent: Vec<_> = wait_for(&ingest, 6).await.iter().map(|r| (r.bytes_sent, r.complete)).collect();
    let (one, two) = ((1000, true), (3 * CHUNK as u64, true));
    // The fourth is one that takes the connection to hyper.
    assert_eq!(sent, vec![one, (0, true), two, one, two, one]);
}

#[tokio::test]
async fn ingest_away_delays_and_the_stop_flushes() {
    let origin = Origin::start().await;
    origin.put("song", Act::of(noise(5, 1000)));
    let (mut stage, ingest) = stage(&origin).await;
    ingest.fail_next(2);
    get(&stage.at("song")).await;
    let batches = || ingest.caught::<DeliveryBatch>();
    eventually("the batch is sent again", || async { batches().len() == 3 }).await;
    let ids: Vec<_> = batches().iter().map(|batch| batch.deliveries[0].delivery_id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "the same record has the same id");
    get(&stage.at("song")).await;
    stage.stop().await;
    assert_eq!(records(&ingest).len(), 4, "what was served just before the stop is told");
    assert_eq!(records(&ingest)[3].edge_id, EdgeId::new("fra-1").unwrap());
}

#[tokio::test]
async fn records_are_kept_from_whoever_answers_in_ingests_place() {
    let origin = Origin::start().await;
    origin.put("song", Act::of(noise(5, 1000)));
    let (stage, ingest) = stage(&origin).await;
    ingest.answer_next(&[(200, "<html>log in</html>"), (204, ""), (422, ""), (202, r#"{"accepted":0,"errors":[]}"#)]);
    for _ in 0..5 {
        get(&stage.at("song")).await;
    }
    let taken = || ingest.taken::<DeliveryBatch>().into_iter().map(|batch| batch.deliveries).collect::<Vec<_>>();
    eventually("they are taken", || async { taken().concat().len() == 5 }).await;
    let batches = ingest.caught::<DeliveryBatch>();
    assert!(batches[1..5].iter().all(|batch| *batch == batches[0]), "{batches:?}");

    ingest.answer_next(&[(413, "")]);
    let before = ingest.caught::<DeliveryBatch>().len();
    for _ in 0..4 {
        get(&stage.at("song")).await;
    }
    eventually("what was too much comes in parts", || async { taken().concat().len() == 9 }).await;
    let batches = ingest.caught::<DeliveryBatch>();
    let too_many = &batches[before].deliveries;
    let parts = batches[before + 1..].iter().filter(|part| too_many.contains(&part.deliveries[0]));
    assert!(parts.clone().all(|part| part.deliveries.len() <= (too_many.len() / 2).max(1)), "{batches:?}");
    let ids: BTreeSet<_> = taken().concat().iter().map(|told| told.delivery_id).collect();
    assert_eq!(ids.len(), 9);
}

#[tokio::test]
async fn records_wait_on_disk_while_ingest_is_away() {
    let origin = Origin::start().await;
    origin.put("song", Act::of(noise(6, 1000)));
    let ingest = Catcher::start("/v1/deliveries").await;
    let mut stage = Stage::before(&origin, |config| config.edge.ingest = "http://127.0.0.1:1".into()).await;
    for _ in 0..30 {
        get(&stage.at("song")).await;
    }
    stage.stop().await;
    assert!(records(&ingest).is_empty());
    stage.config.edge.ingest.clone_from(&ingest.url);
    stage.start_again().await;
    let mut ids: Vec<_> = wait_for(&ingest, 30).await.iter().map(|record| record.delivery_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 30);
    stage.restart().await;
    get(&stage.at("song")).await;
    let all = wait_for(&ingest, 31).await;
    assert_eq!(all.len(), 31, "what ingest has is not sent again");
}

#[tokio::test]
async fn a_full_spool_loses_records_and_says_so() {
    let origin = Origin::start().await;
    origin.put("song", Act::of(noise(7, 1000)));
    let change = |config: &mut cdn_edge::Config| {
        config.edge.ingest = "http://127.0.0.1:1".into();
        config.edge.spool_max = bytesize::ByteSize::b(2000);
    };
    let stage = Stage::before(&origin, change).await;
    let url = format!("{}/health/detailed", stage.admin);
    eventually("the spool is full", || async {
        assert_eq!(get(&stage.at("song")).await.status, 200);
        let health = get(&url).await.json().to_string();
        health.contains("the spool of delivery records is full") && health.contains("delivery records wait on disk")
    })
    .await;
}

#[tokio::test]
async fn tcp_and_the_player_are_told_of() {
    let origin = Origin::start().await;
    origin.put("song", Act::of(noise(8, 1000)));
    let (stage, ingest) = stage(&origin).await;
    let said = [("cmcd-object", "br=128,ot=a"), ("cmcd-session", "sid=\"s-1\""), ("cmcd-request", "nor=\"..%2Fx\"")];
    send(Method::GET, &stage.at("song"), &said).await;
    get(&stage.at("song?CMCD=br%3D256%2Csu")).await;
    get(&stage.at("song")).await;
    let mut records = wait_for(&ingest, 3).await;
    records.sort_by_key(|record| record.started_at);
    let told: Vec<String> = records.iter().map(|record| format!("{:?}", record.cmcd)).collect();
    assert_eq!(told, [r#"{"br": "128", "ot": "a", "sid": "s-1"}"#, r#"{"br": "256", "su": "true"}"#, "{}"]);
    for record in records {
        let rtt = record.tcp_rtt_us.unwrap();
        assert!((1..1_000_000).contains(&rtt), "{rtt}");
        assert_eq!(record.tcp_retransmits, Some(0));
    }
}
