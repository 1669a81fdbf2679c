//! `tonearm purge`, `warm` and `objects` as an operator types them, for a fleet of two edges.

use bytes::Bytes;
use devstack::s3client::S3Client;
use serde_json::Value;

use crate::support::process::free_port;
use crate::support::process::{Core, Server};
use crate::support::stack::Stack;

async fn edge(stack: &Stack, name: &str) -> (Server, String) {
    let admin = format!("127.0.0.1:{}", free_port().unwrap());
    let cache = stack.folder(name).display().to_string();
    let environment = [
        ("TONEARM_EDGE_ID", name),
        ("TONEARM_EDGE_POP", "fra"),
        ("TONEARM_EDGE_ADMIN_LISTEN", &*admin),
        ("TONEARM_EDGE_CACHE_DIR", &*cache),
    ];
    let (server, url) = stack.role("edge", &environment).await.unwrap();
    let pool = sqlx::PgPool::connect(&stack.postgres).await.unwrap();
    sqlx::query("INSERT INTO pops (pop_id) VALUES ('fra') ON CONFLICT DO NOTHING").execute(&pool).await.unwrap();
    let edge = "INSERT INTO edges (edge_id, pop_id, url, admin_url, capacity_bps, state)
                VALUES ($1, 'fra', $2, $3, 1000000000, 'active')";
    let query = sqlx::query(edge).bind(name).bind(&url).bind(format!("http://{admin}"));
    query.execute(&pool).await.unwrap();
    (server, format!("http://{admin}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_warms_looks_and_purges() {
    let stack = Stack::start(Core::Any).await.unwrap();
    let s3 = S3Client::new(&stack.s3).unwrap();
    for key in ["album/1.m4a", "album/2.m4a"] {
        s3.put(key, "audio/mp4", Bytes::from(vec![7; 1000])).await.unwrap();
    }
    let (_one, first) = edge(&stack, "fra-1").await;
    let (two, _) = edge(&stack, "fra-2").await;

    let told: Value = serde_json::from_str(&stack.tonearm(&["warm", "--prefix", "album/", "--json"]).unwrap()).unwrap();
    for (at, name) in ["fra-1", "fra-2"].into_iter().enumerate() {
        assert_eq!((&told[at]["edge"], &told[at]["answer"]["bytes"]), (&name.into(), &2000.into()), "{told}");
    }
    let held = stack.tonearm(&["objects", "album/1.m4a"]).unwrap();
    assert!(held.contains("fra-2") && held.matches("200 of 1000 B: 1000 B in memory").count() == 2, "{held}");
    let named = stack.tonearm(&["objects", "album/1.m4a", "--edge", &first]).unwrap();
    assert!(named.starts_with(&first) && !named.contains("fra-2"), "{named}");

    let missing = stack.tonearm(&["warm", "album/3.m4a"]).unwrap_err();
    assert!(missing.to_string().starts_with("tonearm warm"), "an object that could not be had fails the order");
    let purged = stack.tonearm(&["purge", "album/1.m4a", "--prefix", "other/"]).unwrap();
    assert_eq!(purged.matches("1 of 1 keys were held").count(), 2, "{purged}");
    assert_eq!(stack.tonearm(&["objects", "album/1.m4a"]).unwrap().matches("not held").count(), 2);
    assert!(stack.tonearm(&["objects", "album/2.m4a"]).unwrap().contains("fresh, "));
    assert!(stack.tonearm(&["purge"]).is_err(), "nothing is no order");

    drop(two);
    assert!(stack.tonearm(&["purge", "--all"]).is_err(), "an edge that is away has not purged");
    assert_eq!(stack.tonearm(&["objects", "album/2.m4a", "--edge", &first]).unwrap().matches("not held").count(), 1);
}
