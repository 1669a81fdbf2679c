//! `tonearm edge`: its arguments, each of which stands over the environment and the file.

use clap::Args;

use crate::cli::RoleArgs;

#[derive(Debug, Args)]
pub(crate) struct EdgeArgs {
    #[command(flatten)]
    pub(crate) role: RoleArgs,
    /// Where clients are served
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// What is cached: http://HOST, https://HOST or s3://BUCKET
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
    /// Be a plain caching proxy for anyone: the origin's headers alone decide, no other server is needed
    #[arg(long)]
    public: bool,
    /// Folder of the disk tier
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<String>,
    /// Memory for objects, such as 512MiB
    #[arg(long, value_name = "SIZE")]
    cache_memory: Option<String>,
    /// Disk for objects, such as 20GiB
    #[arg(long, value_name = "SIZE")]
    cache_disk: Option<String>,
    /// Serving threads; 0 is one a core
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// Certificate chain in PEM: clients are served over TLS, HTTP/2 or HTTP/1.1
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<String>,
    /// The certificate's key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<String>,
    /// Where operators are served, who show TONEARM_AUTH_ADMIN_TOKEN
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Of an s3:// origin; its keys are TONEARM_S3_ACCESS_KEY and TONEARM_S3_SECRET_KEY or AWS's own variables
    #[arg(long, value_name = "URL")]
    s3_endpoint: Option<String>,
}

/// AWS's names for what we name otherwise; ours stand over them.
const AWS: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "TONEARM_S3_ACCESS_KEY"),
    ("AWS_SECRET_ACCESS_KEY", "TONEARM_S3_SECRET_KEY"),
    ("AWS_REGION", "TONEARM_S3_REGION"),
    ("AWS_ENDPOINT_URL", "TONEARM_S3_ENDPOINT"),
];

impl EdgeArgs {
    /// The environment as it is with these arguments.
    pub(crate) fn environment(&self, given: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
        let mut variables: Vec<(String, String)> = given.collect();
        if self.origin.as_deref().is_some_and(|origin| origin.starts_with("s3://")) {
            for (theirs, ours) in AWS {
                let known = variables.iter().any(|(name, _)| name == ours);
                let value = variables.iter().find(|(name, _)| name == theirs).map(|(_, value)| value.clone());
                variables.extend(value.filter(|_| !known).map(|value| (ours.to_owned(), value)));
            }
        }
        for (name, value) in self.told() {
            variables.retain(|(known, _)| known != name);
            variables.push((name.to_owned(), value));
        }
        variables
    }

    fn told(&self) -> Vec<(&'static str, String)> {
        let mut told = Vec::new();
        let mut tell = |name, value: &Option<String>| told.extend(value.clone().map(|value| (name, value)));
        tell("TONEARM_EDGE_LISTEN", &self.listen);
        tell("TONEARM_EDGE_CACHE_DIR", &self.cache_dir);
        tell("TONEARM_EDGE_CACHE_MEMORY", &self.cache_memory);
        tell("TONEARM_EDGE_CACHE_DISK", &self.cache_disk);
        tell("TONEARM_EDGE_THREADS", &self.threads);
        tell("TONEARM_EDGE_ADMIN_LISTEN", &self.admin);
        tell("TONEARM_EDGE_TLS_CERTIFICATE", &self.tls_cert);
        tell("TONEARM_EDGE_TLS_KEY", &self.tls_key);
        tell("TONEARM_S3_ENDPOINT", &self.s3_endpoint);
        if self.public {
            told.push(("TONEARM_EDGE_PUBLIC", "true".into()));
        }
        if let Some(origin) = &self.origin {
            let bucket = origin.strip_prefix("s3://").map(|bucket| bucket.trim_end_matches('/'));
            told.push(("TONEARM_EDGE_ORIGIN", bucket.map_or(origin.trim_end_matches('/'), |_| "").to_owned()));
            told.extend(bucket.map(|bucket| ("TONEARM_S3_BUCKET", bucket.to_owned())));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    fn environment(arguments: &[&str], given: &[(&str, &str)]) -> Vec<(String, String)> {
        let cli = Cli::try_parse_from([&["tonearm", "edge"], arguments].concat()).unwrap();
        let Command::Edge(args) = cli.command else { panic!("the edge") };
        let mut told = args.environment(given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        told.sort();
        told
    }

    #[test]
    fn arguments_stand_over_the_environment() {
        let given = [("TONEARM_EDGE_LISTEN", "127.0.0.1:1"), ("TONEARM_EDGE_THREADS", "7")];
        let told = environment(&["--listen", "0.0.0.0:80", "--origin", "https://x/", "--public"], &given);
        let wanted = [
            ("TONEARM_EDGE_LISTEN", "0.0.0.0:80"),
            ("TONEARM_EDGE_ORIGIN", "https://x"),
            ("TONEARM_EDGE_PUBLIC", "true"),
            ("TONEARM_EDGE_THREADS", "7"),
        ];
        assert_eq!(told, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_bucket_takes_its_keys_from_either_name() {
        let given =
            [("AWS_ACCESS_KEY_ID", "theirs"), ("AWS_SECRET_ACCESS_KEY", "s"), ("TONEARM_S3_SECRET_KEY", "ours")];
        let told = environment(&["--origin", "s3://songs", "--s3-endpoint", "http://s3:9000"], &given);
        for (name, value) in [
            ("TONEARM_S3_BUCKET", "songs"),
            ("TONEARM_S3_ENDPOINT", "http://s3:9000"),
            ("TONEARM_S3_ACCESS_KEY", "theirs"),
            ("TONEARM_S3_SECRET_KEY", "ours"),
            ("TONEARM_EDGE_ORIGIN", ""),
        ] {
            assert!(told.contains(&(name.to_owned(), value.to_owned())), "{name}: {told:?}");
        }
        assert!(
            !environment(&["--origin", "http://x"], &given).iter().any(|(name, _)| name == "TONEARM_S3_ACCESS_KEY")
        );
    }
}
