use std::io::Write;

use super::*;

fn load(file: &str, environment: &[(&str, &str)]) -> Loader {
    let mut toml = tempfile::NamedTempFile::new().unwrap();
    toml.write_all(file.as_bytes()).unwrap();
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Loader::new(Some(toml.path()), environment).unwrap()
}

#[test]
fn environment_stands_over_file_over_default() {
    let mut loader = load("[kafka]\nbrokers = 'a:1'\npartitions = 3", &[("TONEARM_KAFKA_PARTITIONS", "12")]);
    let kafka: KafkaConfig = loader.section();
    assert_eq!((kafka.brokers.as_str(), kafka.partitions, kafka.topic_prefix.as_str()), ("a:1", 12, "tonearm"));
    loader.finish().unwrap();
}

#[test]
fn every_bad_value_is_reported_at_once() {
    let file = "[http]\nmax_body = 'huge'\nheadr_timeout = '1s'\n[log]\nlevel = 'x=y=z'\n[kafka]\npartitions = 'many'";
    let mut loader = load(file, &[("TONEARM_HTTP_REQUEST_TIMEOUT", "soon"), ("TONEARM_S3", "http://host/")]);
    let _: (HttpConfig, LogConfig, KafkaConfig, AuthConfig) =
        (loader.section(), loader.section(), loader.section(), loader.section());
    let message = loader.finish().unwrap_err().to_string();
    for part in [
        "http.max_body",
        "http.headr_timeout",
        "http.request_timeout (from TONEARM_HTTP_REQUEST_TIMEOUT)",
        "log.level",
        "kafka.partitions",
        "auth.admin_token",
        "s3 (from TONEARM_S3)",
    ] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn own_servers_in_one_variable_each() {
    let mut loader = load(
        "",
        &[
            ("TONEARM_KAFKA", "k1:9092,k2:9092"),
            ("TONEARM_CLICKHOUSE", "https://me:p%2Fw@ch:8443/?database=music"),
            ("TONEARM_S3", "http://AK:s%2Bk@s3:9000/songs?region=eu"),
        ],
    );
    let kafka: KafkaConfig = loader.section();
    let clickhouse: ClickHouseConfig = loader.section();
    let s3: S3Config = loader.section();
    loader.finish().unwrap();
    assert_eq!(kafka.brokers, "k1:9092,k2:9092");
    assert_eq!((clickhouse.url.as_str(), clickhouse.user.as_str()), ("https://ch:8443", "me"));
    assert_eq!((clickhouse.password.expose(), clickhouse.database.as_str()), ("p/w", "music"));
    assert_eq!((s3.endpoint.as_str(), s3.bucket.as_str(), s3.region.as_str()), ("http://s3:9000", "songs", "eu"));
    assert_eq!((s3.access_key.as_str(), s3.secret_key.expose()), ("AK", "s+k"));
}

#[test]
fn numbers_that_are_meant_as_text_stay_text() {
    let mut loader = load("", &[("TONEARM_CLICKHOUSE_PASSWORD", "123456")]);
    let clickhouse: ClickHouseConfig = loader.section();
    loader.finish().unwrap();
    assert_eq!(clickhouse.password.expose(), "123456");
}

#[test]
fn printed_configuration_hides_secrets() {
    let auth = AuthConfig { admin_token: Secret::new("very-secret-token") };
    for text in [toml::to_string(&auth).unwrap(), format!("{auth:?}")] {
        assert!(!text.contains("very-secret"), "{text}");
    }
}
