//! The disk tier: warm after a restart, suspicious of what it reads, never in the way.

use std::os::unix::fs::MetadataExt;

use bytesize::ByteSize;
use http::Method;
use service::Shutdown;

use crate::admin::object;
use crate::client::{get, get_range, open};
use crate::origin::{Act, Origin};
use crate::stage::{CHUNK, Stage, eventually, noise};

async fn stored(stage: &Stage, key: &str, chunks: usize) {
    eventually("the chunks are on disk", || async { object(stage, key).await.json()["chunks_on_disk"] == chunks })
        .await;
}

#[tokio::test]
async fn warm_after_a_restart() {
    let origin = Origin::start().await;
    let bytes = noise(1, 5 * CHUNK + 3);
    origin.put("song", Act::of(bytes.clone()));
    let mut stage = Stage::before(&origin, |_| ()).await;
    get_range(&stage.at("song"), &format!("bytes={}-", 2 * CHUNK)).await;
    // Stopped at once: what waits to be written is written before the end.
    stage.restart().await;
    let got = get_range(&stage.at("song"), &format!("bytes={}-", 2 * CHUNK)).await;
    assert_eq!((got.bytes(), origin.asked().len()), (&bytes.slice(2 * CHUNK..), 1));
    assert!(got.header("cache-status").contains("; hit"));
    assert_eq!(get(&stage.at("song")).await.bytes(), &bytes);
    assert_eq!(origin.asked().len(), 2);
}

#[tokio::test]
async fn a_flipped_bit_is_found_and_fetched_again() {
    let origin = Origin::start().await;
    let bytes = noise(2, 3 * CHUNK);
    origin.put("song", Act::of(bytes.clone()));
    let mut stage = Stage::before(&origin, |_| ()).await;
    get(&stage.at("song")).await;
    stored(&stage, "song", 3).await;
    stage.stop().await;
    let [file] = &stage.files()[..] else { panic!("one object, one file") };
    let mut held = std::fs::read(file).unwrap();
    held[CHUNK + 1000] ^= 1;
    std::fs::write(file, held).unwrap();
    stage.start_again().await;
    assert_eq!(get(&stage.at("song")).await.bytes(), &bytes);
    let refetched: Vec<_> = origin.asked().into_iter().skip(1).map(|(_, range)| range.unwrap()).collect();
    assert_eq!(refetched, vec![CHUNK as u64..2 * CHUNK as u64], "the one bad chunk and no other");
}

#[tokio::test]
async fn damage_of_any_file_serves_no_wrong_byte() {
    let origin = Origin::start().await;
    let bytes = noise(3, 3 * CHUNK + 9);
    origin.put("song", Act::of(bytes.clone()));
    let mut stage = Stage::before(&origin, |_| ()).await;
    let damages: [fn(&Stage); 4] = [
        |stage| {
            std::fs::File::options().write(true).open(&stage.files()[0]).unwrap().set_len(CHUNK as u64 + 7).unwrap()
        },
        |stage| std::fs::remove_file(&stage.files()[0]).unwrap(),
        |stage| {
            let log = stage.dir.path().join("index.log");
            let len = std::fs::metadata(&log).unwrap().len();
            std::fs::File::options().write(true).open(log).unwrap().set_len(len - 5).unwrap();
        },
        |stage| std::fs::write(stage.dir.path().join("index.log"), b"no log at all").unwrap(),
    ];
    for damage in damages {
        get(&stage.at("song")).await;
        stored(&stage, "song", 4).await;
        stage.stop().await;
        damage(&stage);
        stage.start_again().await;
        assert_eq!(get(&stage.at("song")).await.bytes(), &bytes);
    }
}

#[tokio::test]
async fn the_budgets_hold_and_evicted_objects_leave_the_disk() {
    let origin = Origin::start().await;
    let stage = Stage::before(&origin, |config| {
        config.edge.id = wire::EdgeId::new("budget-1").unwrap();
        config.edge.cache_memory = ByteSize::mib(4);
        config.edge.cache_disk = ByteSize::mib(8);
    })
    .await;
    for n in 0..32 {
        origin.put(&format!("song-{n}"), Act::of(noise(n, 1 << 20)));
        assert_eq!(get(&stage.at(&format!("song-{n}"))).await.bytes(), &noise(n, 1 << 20));
    }
    eventually("the disk is within its budget", || async {
        let bytes: u64 = stage.files().iter().filter_map(|file| Some(std::fs::metadata(file).ok()?.len())).sum();
        bytes <= 8 << 20
    })
    .await;
    assert!(!stage.files().is_empty(), "some is kept");
    eventually("the memory is within its budget", || async {
        let metrics = get(&format!("{}/metrics", stage.admin)).await;
        let text = String::from_utf8(metrics.bytes().to_vec()).unwrap();
        let line = text.lines().find(|line| line.starts_with("edge_memory_bytes{edge=\"budget-1\"}"));
        let bytes: f64 = line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(f64::MAX);
        bytes > 0.0 && bytes <= f64::from(4 << 20)
    })
    .await;
    for n in 0..32 {
        assert_eq!(get(&stage.at(&format!("song-{n}"))).await.bytes(), &noise(n, 1 << 20));
    }
}

#[tokio::test]
async fn a_disk_that_fails_is_passed_through_and_told() {
    let origin = Origin::start().await;
    let bytes = noise(4, 2 * CHUNK);
    origin.put("song", Act::of(bytes.clone()));
    let stage = Stage::before(&origin, |_| ()).await;
    // A file where a folder should be: root may write anywhere else.
    let objects = stage.dir.path().join("objects");
    std::fs::remove_dir_all(&objects).unwrap();
    std::fs::write(&objects, b"").unwrap();
    assert_eq!(get(&stage.at("song")).await.bytes(), &bytes);
    eventually("health tells of the disk", || async {
        let health = get(&format!("{}/health/detailed", stage.admin)).await;
        health.status == 200 && health.json()["components"]["disk"]["status"] == "degraded"
    })
    .await;
    assert_eq!((get(&stage.at("song")).await.bytes(), origin.asked().len()), (&bytes, 1), "memory still serves");
}

#[tokio::test]
async fn a_folder_has_one_edge_and_a_port_too() {
    let stage = Stage::before(&Origin::start().await, |_| ()).await;
    let refused = cdn_edge::start(stage.config.clone(), Shutdown::new()).await.unwrap_err();
    assert!(format!("{refused:#}").contains("used by another process"), "{refused:#}");
    let mut config = stage.config.clone();
    config.edge.listen = stage.url.strip_prefix("http://").unwrap().parse().unwrap();
    let refused = cdn_edge::start(config, Shutdown::new()).await.unwrap_err();
    assert!(format!("{refused:#}").contains("cannot listen on"), "{refused:#}");
}

/// What listeners hold of evicted objects is a quarter of the budget at most; the rest they get from the origin again.
#[tokio::test(flavor = "multi_thread")]
async fn slow_listeners_of_evicted_objects_do_not_fill_the_disk() {
    const SONGS: u64 = 10;
    const SIZE: usize = 8 << 20;
    const BUDGET: u64 = 16 << 20;
    let origin = Origin::start().await;
    let stage = Stage::before(&origin, |config| {
        config.edge.cache_memory = ByteSize::mib(4);
        config.edge.cache_disk = ByteSize(BUDGET);
    })
    .await;
    let on_disk = || -> u64 {
        let blocks = |file: &std::path::PathBuf| Some(std::fs::metadata(file).ok()?.blocks());
        stage.files().iter().filter_map(blocks).sum::<u64>() * 512
    };
    let mut listeners = Vec::new();
    for song in 0..SONGS {
        let key = format!("song-{song}");
        origin.put(&key, Act::of(noise(song, SIZE)));
        let mut listener = open(Method::GET, &stage.at(&key), &[]).await;
        let first = listener.at_least(1).await;
        listeners.push((song, first, listener));
        eventually("all of it has come, and the disk has what it may", || async {
            let come = object(&stage, &key).await;
            let held = come.status != 200 || come.json()["chunks_on_disk"] == SIZE / CHUNK;
            held && on_disk() <= BUDGET + BUDGET / 4 + (1 << 20)
        })
        .await;
    }
    for (song, first, listener) in listeners {
        let rest = listener.rest().await.expect("a whole body");
        assert!([first, rest].concat() == noise(song, SIZE), "song {song}");
    }
    eventually("nothing lingers", || async { on_disk() <= BUDGET }).await;
}
