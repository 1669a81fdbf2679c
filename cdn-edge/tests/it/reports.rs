//! Load reports, as listeners in routers' places get them; and the drain.

use std::sync::Arc;

use http::Method;
use tokio::sync::Semaphore;
use wire::load::LoadReport;

use crate::catcher::Catcher;
use crate::client::{get, open};
use crate::origin::{Act, Origin};
use crate::stage::{CHUNK, Stage, eventually, noise};

async fn router() -> Catcher {
    Catcher::start("/v1/fleet/reports").await
}

#[tokio::test]
async fn every_router_is_told_also_while_another_is_away() {
    let (one, two) = (router().await, router().await);
    let origin = Origin::start().await;
    origin.put("song", Act::of(noise(1, CHUNK)));
    let urls = vec![one.url.clone(), "http://127.0.0.1:1".into(), two.url.clone()];
    let stage = Stage::before(&origin, |config| config.edge.routers = urls).await;
    for _ in 0..4 {
        get(&stage.at("song")).await;
    }
    for router in [&one, &two] {
        eventually("the traffic is reported", || async {
            let reports: Vec<LoadReport> = router.caught();
            reports.iter().any(|r| r.network_out_bps > 0) && reports.iter().any(|r| r.hit_ratio.is_some())
        })
        .await;
        let reports: Vec<LoadReport> = router.caught();
        let first = &reports[0];
        assert!(reports.windows(2).all(|pair| pair[0].seq < pair[1].seq && pair[0].started_at == pair[1].started_at));
        assert_eq!(
            (first.edge_id.as_str(), first.network_capacity_bps, first.draining),
            ("fra-1", 1_000_000_000, false)
        );
        assert!(reports.iter().all(|r| (0.0..=1.0).contains(&r.cpu) && r.memory > 0.0 && r.memory < 1.0));
        let json = serde_json::to_vec(first).unwrap();
        LoadReport::parse(&json).unwrap();
    }
    let health = get(&format!("{}/health/detailed", stage.admin)).await.json();
    assert_eq!(health["components"]["routers"]["reason"], "1 of 3 routers do not take load reports");
}

#[tokio::test]
async fn a_drain_is_told_and_lets_listeners_finish() {
    let (router, pieces) = (router().await, Arc::new(Semaphore::new(1)));
    let origin = Origin::start().await;
    let bytes = noise(2, 2 * CHUNK);
    origin.put("song", Act { pieces: Some(pieces.clone()), ..Act::of(bytes.clone()) });
    let url = router.url.clone();
    let mut stage = Stage::before(&origin, |config| {
        config.edge.routers = vec![url];
        config.http.drain_timeout = service::config::Span::from_secs(15);
    })
    .await;
    let mut listener = open(Method::GET, &stage.at("song"), &[]).await;
    let first = listener.next().await.unwrap().unwrap();
    let (health, addr) = (format!("{}/health", stage.admin), stage.url.strip_prefix("http://").unwrap().to_owned());
    let stopping = tokio::spawn(async move { stage.stop().await });
    eventually("routers know of the drain", || async {
        router.caught::<LoadReport>().last().is_some_and(|report| report.draining)
    })
    .await;
    assert_eq!(get(&health).await.status, 503);
    eventually("no new connections are taken", || async { tokio::net::TcpStream::connect(&addr).await.is_err() }).await;
    pieces.add_permits(1000);
    assert_eq!([&first[..], &listener.rest().await.unwrap()].concat(), bytes);
    stopping.await.unwrap();
}

#[tokio::test]
async fn what_is_held_is_told_once_and_again_when_it_changes() {
    let (router, origin) = (router().await, Origin::start().await);
    for n in 0..30 {
        origin.put(&format!("trk-{n}/128/init.mp4"), Act::of(noise(n, 1000)));
    }
    let pieces = Arc::new(Semaphore::new(0));
    origin.put("slow/a", Act { pieces: Some(pieces.clone()), ..Act::of(noise(99, CHUNK)) });
    let url = router.url.clone();
    let stage = Stage::before(&origin, |config| {
        config.edge.routers = vec![url];
        config.edge.report_interval = service::config::Span::from_millis(50);
    })
    .await;
    for n in 0..30 {
        get(&stage.at(&format!("trk-{n}/128/init.mp4"))).await;
    }
    let digests = || -> Vec<wire::held::HeldDigest> {
        router.caught::<LoadReport>().into_iter().filter_map(|report| report.held).collect()
    };
    let holds = |key: &str| digests().last().is_some_and(|digest| digest.may_hold(key));
    eventually("the last one is told", || async { holds("trk-29/128/seg-1.m4s") }).await;
    let digest = digests().pop().unwrap();
    assert_eq!((digest.folders, digest.bits.len()), (30, 38), "10 bits a folder");
    assert!((0..30).all(|n| digest.may_hold(&format!("trk-{n}/128/x"))));
    let wrong = (0..500).filter(|n| digest.may_hold(&format!("other-{n}/x"))).count();
    assert!(wrong < 50, "{wrong} of 500");
    let told = digests().len();
    let slow = tokio::spawn({
        let url = stage.at("slow/a");
        async move { get(&url).await }
    });
    eventually("who waits is told of", || async {
        router.caught::<LoadReport>().iter().any(|report| report.fills == 1 && report.fill_backlog > 0.0)
    })
    .await;
    assert!(digests().len() <= told + 1, "a digest that has not changed is not told each time");
    pieces.add_permits(100);
    slow.await.unwrap();
    eventually("it is held now", || async { holds("slow/b") }).await;
}
