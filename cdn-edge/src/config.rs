//! `[edge]`: what one edge is, where it listens, what it may use, whom it tells.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use service::config::{AuthConfig, HttpConfig, Loader, Problems, S3Config, Section, Span};
use wire::{EdgeId, PopId};

/// `[edge]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeConfig {
    pub id: EdgeId,
    pub pop: PopId,
    /// Where listeners are served.
    pub listen: SocketAddr,
    /// Where operators and the catalog are served; by default 127.0.0.1:7201, and nowhere where `public`.
    pub admin_listen: Option<SocketAddr>,
    /// `http://host[:port]` or `https://…` of any web server; empty is the bucket of `[s3]`.
    pub origin: String,
    /// Certificates, in PEM, of authorities that an https origin may be signed by beside the public ones.
    pub origin_ca: Option<PathBuf>,
    /// The origin gets the client's `Host` rather than its own name.
    pub preserve_host: bool,
    /// A plain shared cache for anyone, as RFC 9111 has it: no lifetime but the origin's own, and clients'
    /// `Cache-Control` is obeyed. Off in a fleet.
    pub public: bool,
    /// Scripts of any site may read the answers: `Access-Control-Allow-Origin`, `Timing-Allow-Origin` and
    /// their kin are put to those of a web origin, too, where it does not send them itself.
    pub cors: bool,
    /// Answers tell in `Server-Timing` how long they took up to their heads, and where they come from.
    pub server_timing: bool,
    /// Players that tell of themselves (CMCD) are told in turn (CMSD): what kind of object it is, and the
    /// throughput and round trip that TCP measures to them.
    pub cmsd: bool,
    /// The listeners' certificate chain and its key, in PEM; with them they are served over TLS, HTTP/2 or
    /// HTTP/1.1, and the files are read again when they change.
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// JWK Set of the keys that tokens of URLs are signed with; with it, only signed URLs are served. It is read
    /// again when it changes.
    pub url_keys: Option<PathBuf>,
    /// The disk tier; one process at a time.
    pub cache_dir: PathBuf,
    /// Bytes of chunks in memory. The index takes some 200 bytes an object beyond them, and up to a tenth of this for
    /// those in use.
    pub cache_memory: ByteSize,
    /// Bytes of chunks on disk; at most one object per 4 KiB of it is known at a time.
    pub cache_disk: ByteSize,
    /// Larger objects are not held: of a bucket they are refused with 502, of a web origin they pass through.
    pub max_object: ByteSize,
    /// How long an object is fresh whose origin says nothing of it; of no effect where `public`.
    pub default_ttl: Span,
    /// How long a missing object is remembered as missing where the origin says nothing of it.
    pub negative_ttl: Span,
    /// Requests to the origin at a time; further ones wait for `origin_first_byte_timeout`, then 503.
    pub origin_concurrency: usize,
    pub origin_connect_timeout: Span,
    /// For TLS with the origin, once connected.
    pub origin_tls_timeout: Span,
    /// From a request to the origin to its answer's head.
    pub origin_first_byte_timeout: Span,
    /// Between two pieces of the origin's body.
    pub origin_idle_timeout: Span,
    /// A connection whose client takes nothing for so long is closed.
    pub write_timeout: Span,
    /// What may wait for the origin at a time, in units: who waits for what somebody else has asked for takes one,
    /// a question 16 and one more each MiB that it is for. What finds no room gets 503 at once.
    pub miss_units: u32,
    /// Answers under way at a time on HTTP/2 connections; on HTTP/1 it is one a connection.
    pub max_streams: usize,
    /// Requests a second of one client, an IPv4 address or an IPv6 /64; 0 is no limit, as in the next two.
    /// Behind one address there may be a whole mobile network.
    pub client_requests_per_s: u32,
    /// Connections at a time of one client.
    pub client_connections: u32,
    /// Bits a second to one client, over all its connections.
    pub client_bps: u64,
    /// Networks without these limits: load balancers, routers' probes, edges that have us as their parent.
    pub client_exempt: Vec<IpNet>,
    /// What the uplink carries, in bits a second.
    pub capacity_bps: u64,
    /// What the disk sustains, in bytes a second; 0 where nobody knows.
    pub disk_capacity_bytes_s: u64,
    /// Serving threads, one runtime each; 0 is one a core.
    pub threads: usize,
    /// Base URLs of the routers that get load reports.
    pub routers: Vec<String>,
    /// Base URL of the ingest that gets delivery records; empty keeps none.
    pub ingest: String,
    /// Where delivery records wait for ingest; by default `deliveries` in `cache_dir`. One process at a time.
    pub spool_dir: Option<PathBuf>,
    /// What may wait there; of a record beyond it only its loss is counted.
    pub spool_max: ByteSize,
    pub report_interval: Span,
    /// The edges of our POP, by id, with their base URLs; we may be among them. Of these one brings an
    /// object, and the others ask it.
    pub peers: BTreeMap<EdgeId, String>,
    /// The edges of the POP that is asked before the origin.
    pub parents: BTreeMap<EdgeId, String>,
    /// Objects fetched at a time for warm orders.
    pub warm_concurrency: usize,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            id: EdgeId::new("edge-1").expect("the text is a slug"),
            pop: PopId::new("local").expect("the text is a slug"),
            listen: SocketAddr::from(([127, 0, 0, 1], 7200)),
            admin_listen: None,
            origin: String::new(),
            origin_ca: None,
            preserve_host: false,
            public: false,
            cors: false,
            server_timing: false,
            cmsd: false,
            tls_certificate: None,
            tls_key: None,
            url_keys: None,
            cache_dir: PathBuf::from("edge-cache"),
            cache_memory: ByteSize::mib(512),
            cache_disk: ByteSize::gib(20),
            max_object: ByteSize::gib(16),
            default_ttl: Span::from_secs(3600),
            negative_ttl: Span::from_secs(3),
            origin_concurrency: 256,
            origin_connect_timeout: Span::from_secs(3),
            origin_tls_timeout: Span::from_secs(5),
            origin_first_byte_timeout: Span::from_secs(10),
            origin_idle_timeout: Span::from_secs(10),
            write_timeout: Span::from_secs(60),
            miss_units: 8192,
            max_streams: 20_000,
            client_requests_per_s: 0,
            client_connections: 0,
            client_bps: 0,
            client_exempt: Vec::new(),
            capacity_bps: 1_000_000_000,
            disk_capacity_bytes_s: 0,
            threads: 0,
            routers: Vec::new(),
            ingest: String::new(),
            spool_dir: None,
            spool_max: ByteSize::gib(1),
            report_interval: Span::from_secs(1),
            peers: BTreeMap::new(),
            parents: BTreeMap::new(),
            warm_concurrency: 4,
        }
    }
}

impl EdgeConfig {
    /// Where delivery records wait.
    #[must_use]
    pub fn spool_dir(&self) -> PathBuf {
        self.spool_dir.clone().unwrap_or_else(|| self.cache_dir.join("deliveries"))
    }

    /// Where operators are served, if anywhere.
    #[must_use]
    pub fn admin_listen(&self) -> Option<SocketAddr> {
        let own = (!self.public).then(|| SocketAddr::from(([127, 0, 0, 1], 7201)));
        self.admin_listen.or(own)
    }
}

impl Section for EdgeConfig {
    const NAME: &'static str = "edge";

    fn check(&self, problems: &mut Problems<'_>) {
        if !self.origin.is_empty() {
            check_url("origin", &self.origin, problems);
            let bare = self.origin.parse::<http::Uri>().is_ok_and(|uri| uri.path() == "/" && uri.query().is_none());
            if !bare || self.origin.contains('@') {
                problems.add("origin", "must be a scheme, a host and perhaps a port");
            }
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            problems.add("tls_certificate", "tls_certificate and tls_key must be given together");
        }
        for router in &self.routers {
            check_url("routers", router, problems);
        }
        for (key, edges) in [("peers", &self.peers), ("parents", &self.parents)] {
            edges.values().for_each(|url| check_url(key, url, problems));
            if self.public && !edges.is_empty() {
                problems.add(key, "is for an edge of a fleet, which is not public");
            }
        }
        if self.parents.contains_key(&self.id) {
            problems.add("parents", "must not have the edge itself");
        }
        if !self.ingest.is_empty() {
            check_url("ingest", &self.ingest, problems);
        }
        if !(1_000_000..=10_000_000_000_000).contains(&self.capacity_bps) {
            problems.add("capacity_bps", "must be between 1 Mbit/s and 10 Tbit/s");
        }
        if self.report_interval.0 < std::time::Duration::from_millis(50) {
            problems.add("report_interval", "must be at least 50ms");
        }
        for (key, value) in
            [("origin_concurrency", self.origin_concurrency), ("warm_concurrency", self.warm_concurrency)]
        {
            if !(1..=10_000).contains(&value) {
                problems.add(key, "must be 1 to 10000");
            }
        }
        if self.miss_units < 64 {
            problems.add("miss_units", "must be at least 64, or nothing large could ever be asked for");
        }
        if !(1..=1_000_000).contains(&self.max_streams) {
            problems.add("max_streams", "must be 1 to 1000000");
        }
        if self.client_bps > 0 && self.client_bps < 8_000 {
            problems.add("client_bps", "must be 0 or at least 8000");
        }
        if self.spool_max < ByteSize::mib(1) {
            problems.add("spool_max", "must be at least 1 MiB");
        }
        if self.max_object > ByteSize::tib(1) {
            problems.add("max_object", "must be at most 1 TiB");
        }
        if self.threads > 1024 {
            problems.add("threads", "must be at most 1024");
        }
    }
}

fn check_url(key: &str, url: &str, problems: &mut Problems<'_>) {
    let http = url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if !http || url.ends_with('/') {
        problems.add(key, format!("must be http or https URLs without a trailing slash, not {url:?}"));
    }
}

/// All that an edge reads.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    pub edge: EdgeConfig,
    pub http: HttpConfig,
    pub s3: S3Config,
    pub auth: AuthConfig,
}

impl Config {
    /// Bad values are told by [`Loader::finish`]. Of a section that this edge has no use for nothing is asked.
    pub fn read(loader: &mut Loader) -> Self {
        let edge: EdgeConfig = loader.section();
        let s3 = if edge.origin.is_empty() { loader.section() } else { S3Config::default() };
        let speaks = edge.admin_listen().is_some() || !edge.routers.is_empty() || !edge.ingest.is_empty();
        let auth = if speaks { loader.section() } else { AuthConfig::default() };
        Self { edge, http: loader.section(), s3, auth }
    }
}
