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
