//! What an operator types.

use std::process::{Command, Output};

fn tonearm(args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tonearm")).args(args).envs(environment.iter().copied()).output().unwrap()
}

#[test]
fn every_role_prints_the_configuration_in_force_without_its_secrets() {
    for role in ["router", "ingest", "sink", "edge", "catalog"] {
        let environment = [
            ("TONEARM_AUTH_ADMIN_TOKEN", "a-very-secret-token"),
            ("TONEARM_S3", "http://access:very-secret@127.0.0.1:1/bucket"),
            ("TONEARM_KAFKA", "kafka.example:9092"),
            ("TONEARM_EDGE_ID", "fra-1"),
            ("TONEARM_EDGE_POP", "fra"),
        ];
        let output = tonearm(&[role, "--print-config"], &environment);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{role}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(text.parse::<toml::Table>().unwrap().contains_key(role), "{role}: {text}");
        assert!(!text.contains("very-secret"), "{role}: {text}");
        assert!(role == "edge" || text.contains("kafka.example:9092"), "{role}: {text}");
    }
}

#[test]
fn every_bad_value_is_told_at_once() {
    let environment = [
        ("TONEARM_ROUTER_LISTEN", "nowhere"),
        ("TONEARM_KAFKA_PARTITIONS", "many"),
        ("TONEARM_HTTP_DRAIN_TIMEOUT", "later"),
    ];
    let output = tonearm(&["router"], &environment);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    for key in ["router.listen", "kafka.partitions", "http.drain_timeout", "auth.admin_token"] {
        assert!(text.contains(key), "{key} is not in: {text}");
    }
}

#[test]
fn a_listener_says_what_it_needs() {
    let output = tonearm(&["listen", "--track", "x", "--endpoints", "/nonexistent/endpoints.json"], &[]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("--router is needed"), "{text}");
}

#[test]
fn who_stops_reading_changes_nothing_of_what_a_command_says_by_its_exit_code() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tonearm"));
    let output = command.args(["sink", "--print-config"]).stdout(writer).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && text.is_empty(), "{}: {text}", output.status);
}

#[test]
fn an_audit_of_no_hour_has_judged_nothing() {
    let output = tonearm(&["audit", "--from", "2026-11-20T10:00:00Z", "--to", "2026-11-20T08:00:00Z"], &[]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && text.contains("nothing was judged"), "{}: {text}", output.status);
}
