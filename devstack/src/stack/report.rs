//! Where everything is, and what to try next.

use std::path::Path;

use wire::endpoints::Endpoints;

#[allow(clippy::print_stdout, reason = "this is what was asked for")]
pub fn print(endpoints: &Endpoints, root: &Path) {
    println!("{}", text(endpoints, root));
}

fn text(at: &Endpoints, root: &Path) -> String {
    let edges: Vec<String> = at.edges.iter().map(|edge| format!("{} {}", edge.id, edge.url)).collect();
    let query = "SELECT+*+FROM+events+ORDER+BY+received_at+DESC+LIMIT+5+FORMAT+Vertical";
    let lines = [
        String::new(),
        "Tonearm is up.".to_owned(),
        format!("  router      {}", at.router),
        format!("  ingest      {}", at.ingest),
        format!("  catalog     {}", at.catalog),
        format!("  edges       {}", edges.join("\n              ")),
        format!("  Kafka       {}", at.kafka),
        format!(
            "  ClickHouse  {} (native {}), database {}",
            at.clickhouse_http, at.clickhouse_native, at.clickhouse_database
        ),
        format!("  S3          {}, bucket {}", at.s3.endpoint, at.s3.bucket),
        format!("  all of it, with keys: {}", root.join("endpoints.json").display()),
        format!("  logs:                 {}", root.join("log").display()),
        "Try:".to_owned(),
        "  target/release/tonearm listen --track trk-002 --seconds 30".to_owned(),
        format!("  curl '{}/v1/route?track=trk-003'", at.router),
        format!("  curl '{}/?database={}&query={query}'", at.clickhouse_http, at.clickhouse_database),
        "  make down stops it, make reset deletes its data.".to_owned(),
    ];
    lines.join("\n")
}
