//! One listen, told so that one understands the product.

use super::Listen;
use super::candidates::median;
use super::player::{Play, Served};
use super::rows::{self, QUERY};
use super::target::Target;

pub(super) fn opening(play: &Play) {
    let most = play.most.map_or_else(|| "to its end".into(), |most| format!("for {} s", most.as_secs()));
    println!("A listener plays {} {most}, at {} x speed.", play.track, play.speed);
}

pub(super) fn told(listen: &Listen) {
    decided(listen);
    served(listen);
    heard(listen);
}

fn decided(listen: &Listen) {
    let answer = &listen.answer;
    println!("\nThe router decided by {}, for {} s (decision {}):", answer.policy, answer.ttl_s, answer.decision_id);
    println!("  rank edge    RTT ms  jitter  loss  load  network  pinged ms  reason");
    for candidate in &answer.candidates {
        let c = &candidate.inputs;
        let pinged = listen.measured.edges.iter().find(|m| m.edge == c.edge).and_then(median);
        println!(
            "  {:<4} {:<7} {:>6}  {:>6.1}  {:>3.0}%  {:>3.0}%  {:>6.1}%  {:>9}  {}",
            c.rank,
            c.edge.as_str(),
            number(c.rtt_ms),
            c.jitter_ms,
            c.loss * 100.0,
            c.load * 100.0,
            c.network_load * 100.0,
            number(pinged),
            c.reason
        );
    }
    for excluded in &answer.excluded {
        println!("  -    {:<7} {}", excluded.edge.as_str(), excluded.reason);
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.1}"))
}

fn served(listen: &Listen) {
    println!("\nThe edge served:");
    println!("  edge    object                    bytes  TTFB ms  Cache-Status");
    for Served { edge, object, bytes, ttfb_ms, cache_status, .. } in &listen.played.served {
        let status = cache_status.as_deref().unwrap_or("-");
        println!("  {:<7} {object:<22} {bytes:>8}  {ttfb_ms:>7.1}  {status}", edge.as_str());
    }
}

fn heard(listen: &Listen) {
    let played = &listen.played;
    let stalls: u64 = played.stalls_ms.iter().sum();
    println!(
        "\nHeard {:.1} s, first audio after {:.0} ms, {} stalls ({stalls} ms), {} kbit/s at the end; {} events accepted, {} lost.",
        std::time::Duration::from_millis(played.heard_ms).as_secs_f64(),
        played.startup_ms,
        played.stalls_ms.len(),
        played.bitrate_kbps,
        listen.events_accepted,
        listen.events_lost.len()
    );
}

/// Waits for the rows, and shows them with the query that finds them.
pub(super) async fn explained(listen: &Listen, target: &Target) -> anyhow::Result<()> {
    let stack = target.stack()?;
    let decision = listen.answer.decision_id;
    let bytes: usize = listen.played.served.iter().map(|served| served.bytes).sum();
    let lines = rows::arrived(stack, decision, bytes as u64, listen.events_accepted as u64).await?;
    println!("\nClickHouse holds:");
    for line in &lines {
        println!("  {:<9} {:>3} x  {}", line.what, line.n, line.story);
    }
    let query = QUERY.replace('?', &format!("'{decision}'"));
    println!("\nby this query in database {}:\n  {}", stack.clickhouse_database, query.replace('\n', "\n  "));
    Ok(())
}
