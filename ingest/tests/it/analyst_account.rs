//! The account `analyst` on the real server: it reads what is there for analysts, and nothing else; no question of it
//! goes beyond its limits.

use clickhouse::Client;
use service::config::{AnalystConfig, ClickHouseConfig, Loader, PostgresConfig, Secret};

use crate::rows::{DAY, MIDNIGHT, accepted, insert};
use crate::support::Stack;

/// With the rows that it has, an answer of text.
async fn ask(client: &Client, sql: &str) -> Result<String, String> {
    let mut cursor = client.query(&sql.replace('?', "??")).fetch_bytes("TSV").map_err(|error| error.to_string())?;
    let answer = cursor.collect().await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8(answer.to_vec()).unwrap())
}

async fn refused(client: &Client, sql: &str, code: &str) {
    let answer = ask(client, sql).await;
    let error = answer.expect_err(sql);
    assert!(error.contains(code), "{sql}: {error}");
}

async fn stack_with_a_play() -> (Stack, tokio::sync::MutexGuard<'static, ()>) {
    let (stack, held) = Stack::of_analysts().await;
    let events = [0, 40_000].map(|at| {
        let more = serde_json::json!({"event_id": uuid::Uuid::from_u128(at + 1), "track_id": "trk-1",
                "played_ms": u64::try_from(at).unwrap(), "user_id": "1.someone"});
        accepted(MIDNIGHT - DAY + i64::try_from(at).unwrap(), "progress", "session-1", &more)
    });
    insert(&stack, "account", &events).await;
    (stack, held)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analyst_reads_and_changes_nothing() {
    let (stack, _held) = stack_with_a_play().await;
    let analyst = stack.analyst();
    assert_eq!(ask(&analyst, "SELECT count() FROM events").await.unwrap(), "2\n");
    assert_eq!(ask(&analyst, "SELECT count(), sum(is_stream) FROM plays").await.unwrap(), "1\t1\n");
    assert_eq!(ask(&analyst, "SELECT count() FROM dead_letters").await.unwrap(), "0\n");
    let wrong = analyst.clone().with_password("not the password");
    refused(&wrong, "SELECT 1", "Code: 516.").await;
    for sql in [
        "INSERT INTO events SELECT * FROM events",
        "ALTER TABLE events DELETE WHERE true",
        "DELETE FROM events WHERE true",
        "ALTER TABLE events DROP COLUMN device",
        "TRUNCATE TABLE events",
        "DROP TABLE events",
        "DROP DATABASE tonearm",
        "CREATE TABLE mine (n UInt8) ENGINE = MergeTree ORDER BY n",
        "CREATE TEMPORARY TABLE mine (n UInt8)",
        "CREATE VIEW mine AS SELECT 1",
        "OPTIMIZE TABLE events FINAL",
        "SYSTEM STOP MERGES events",
        "KILL QUERY WHERE true",
        "GRANT SELECT ON *.* TO analyst",
        "CREATE USER friend",
    ] {
        let error = ask(&analyst, sql).await.expect_err(sql);
        assert!(["Code: 497.", "Code: 164."].iter().any(|code| error.contains(code)), "{sql}: {error}");
    }
    assert_eq!(stack.number("SELECT count() FROM events").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analyst_does_not_see_what_is_kept_back() {
    let (stack, _held) = stack_with_a_play().await;
    let mut loader = Loader::new(None, stack.environment.clone()).unwrap();
    let (clickhouse, postgres): (ClickHouseConfig, PostgresConfig) = (loader.section(), loader.section());
    service::clickhouse::follow_tracks(&clickhouse, &postgres).await.unwrap();
    let analyst = stack.analyst();
    let other = stack.servers.fresh_name("other");
    for sql in [format!("CREATE DATABASE {other}"), format!("CREATE TABLE {other}.t (n UInt8) ENGINE = Memory")] {
        stack.clickhouse.query(&sql).execute().await.unwrap();
    }
    for sql in [
        &format!("SELECT * FROM {other}.t"),
        "SELECT payload FROM dead_letter",
        "SELECT * FROM dead_letter",
        "SELECT * FROM erasures",
        "SELECT * FROM erased",
        "SELECT * FROM tracks_refresh",
        "SHOW CREATE TABLE tracks_refresh",
        "SELECT * FROM system.processes",
        "SELECT * FROM system.users",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
        "SELECT * FROM file('/etc/passwd', 'CSV', 'a String')",
        "SELECT * FROM remote('127.0.0.1', system.one)",
        "SELECT * FROM postgresql('127.0.0.1:1', 'd', 't', 'u', 'p')",
    ] {
        refused(&analyst, sql, "Code: 497.").await;
    }
    let databases = ask(&analyst, "SELECT name FROM system.databases").await.unwrap();
    assert!(!databases.contains(&other), "{databases}");
    // Its address and password stand in the view that reads it.
    let password = stack.servers.postgres.split([':', '@']).nth(2).unwrap();
    let schema = ask(&analyst, "SELECT name, create_table_query, as_select FROM system.tables").await.unwrap();
    assert!(schema.contains("play_states") && !schema.contains(password), "{schema}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_beyond_its_limits_is_stopped() {
    let (stack, _held) = stack_with_a_play().await;
    let analyst = stack.analyst();
    let endless = "SELECT count() FROM numbers(1000000000000000) WHERE sipHash64(number) = 1";
    refused(&analyst, &format!("{endless} SETTINGS max_execution_time = 1"), "Code: 159.").await;
    let large = "SELECT uniqExact(number) FROM numbers(20000000)";
    refused(&analyst, &format!("{large} SETTINGS max_memory_usage = 50000000"), "Code: 241.").await;
    refused(&analyst, "SELECT number FROM numbers(1000001)", "Code: 396.").await;
    // None of these can be put off.
    for setting in [
        "max_execution_time = 61",
        "max_execution_time = 0",
        "timeout_overflow_mode = 'break'",
        "max_memory_usage = 0",
        "max_result_rows = 1000001",
        "max_threads = 5",
        "max_concurrent_queries_for_user = 9",
        "max_temporary_data_on_disk_size_for_query = 0",
    ] {
        refused(&analyst, &format!("SELECT 1 SETTINGS {setting}"), "Code: 452.").await;
    }
    refused(&analyst, "SELECT 1 SETTINGS readonly = 0", "readonly").await;
    let quota = "SELECT max_queries, max_execution_time FROM system.quota_usage";
    assert_eq!(ask(&analyst, quota).await.unwrap(), "10000\t7200\n");
}

/// Accounts of this server stand in a file; those of most are made by SQL.
#[tokio::test(flavor = "multi_thread")]
async fn what_makes_the_account_elsewhere_is_understood_by_the_server() {
    let (stack, _held) = Stack::of_analysts().await;
    let analyst = AnalystConfig { password: Secret::new(r"it's a \ long one"), ..AnalystConfig::default() };
    for sql in service::clickhouse::analyst_statements("tonearm", &analyst) {
        let parsed: Result<String, _> = stack.clickhouse.query("SELECT formatQuery(?)").bind(&sql).fetch_one().await;
        parsed.unwrap_or_else(|error| panic!("{sql}: {error}"));
        // It would be done, had this server where to keep a profile, a role, a user.
        let error = stack.clickhouse.query(&sql.replace('?', "??")).execute().await.expect_err(&sql).to_string();
        let lacking = ["Code: 514.", "Code: 511.", "Code: 180."];
        assert!(lacking.iter().any(|code| error.contains(code)), "{sql}: {error}");
    }
    let mut loader = Loader::new(None, stack.environment.clone()).unwrap();
    let made = service::clickhouse::create_analyst(&loader.section(), &analyst).await.unwrap();
    assert_eq!(made, service::clickhouse::Account::NotAllowed);
}
