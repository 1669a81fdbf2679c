//! A decision that has left memory comes back whole from ClickHouse.

use http::StatusCode;
use serde_json::{Value, json};
use wire::decision::Decision;
use wire::{DecisionId, Timestamp};

use crate::stage::{SERVERS, Stage, problem};

fn decision() -> Value {
    let candidate = |edge: &str, rank: u32, rtt: Value| {
        json!({ "pop": "fra", "edge": edge, "rtt_ms": rtt, "rtt_source": if rtt.is_null() { "unknown" } else { "probe" },
            "jitter_ms": 0.25, "loss": 0.05, "load": 0.31, "network_load": 0.12, "rank": rank, "reason": "because it's 'so'" })
    };
    json!({
        "decision_id": DecisionId::generate(), "decided_at": Timestamp::now(), "router_id": "router-1", "via": "play",
        "policy": "three-nearest", "track_id": "t 1 ♪", "client_net": "203.0.113.0/24",
        "snapshot_version": u64::MAX, "ttl_s": 30,
        "candidates": [candidate("fra-1", 1, json!(18.25)), candidate("fra-2", 2, Value::Null)],
        "excluded": [{ "pop": "waw", "edge": "waw-1", "reason": "load 0.86 over 0.80" }],
    })
}

/// The row as the sink writes it.
fn row(decision: &Value) -> Value {
    let mut row = json!({ "received_at": decision["decided_at"], "chosen_edge": "fra-1" });
    for (field, value) in decision.as_object().unwrap() {
        let Some(items) = value.as_array() else {
            row[field] = value.clone();
            continue;
        };
        for part in items[0].as_object().unwrap().keys() {
            row[format!("{field}.{part}")] = items.iter().map(|item| item[part].clone()).collect();
        }
    }
    row
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_tells_what_memory_has_forgotten() {
    let _servers = SERVERS.read().await;
    let stage = Stage::open().await;
    service::clickhouse::migrate(&stage.config.clickhouse).await.unwrap();
    let stored = decision();
    let database = &stage.config.clickhouse.database;
    let insert = format!("INSERT INTO {database}.decisions FORMAT JSONEachRow");
    let url = format!(
        "{}/?date_time_input_format=best_effort&query={}",
        stage.servers.clickhouse_http,
        insert.replace(' ', "+")
    );
    let body = Some(("application/json", row(&stored).to_string().into()));
    stage.player.send(http::Method::POST, &url, body).await.unwrap().success().unwrap();

    let id = stored["decision_id"].as_str().unwrap();
    let answer = stage.admin_get(&format!("/v1/decisions/{id}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let told: Decision = answer.json().unwrap();
    assert_eq!(told, serde_json::from_value(stored).unwrap());

    let nobody = DecisionId::generate();
    let not_ours = "a3bb189e-8bf9-4888-9912-ace4e6543002";
    for id in [nobody.to_string(), not_ours.to_owned()] {
        let answer = stage.admin_get(&format!("/v1/decisions/{id}")).await;
        assert_eq!(problem(&answer), (404, "not-found".into(), None), "{id}");
    }
}
