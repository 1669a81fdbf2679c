//! `make bench-hit`: warm hits of an edge against Debian's nginx, each on one core, in the same run.

#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use devstack::s3client::S3Client;
use service::client::ApiClient;
use support::bare;
use support::figure::{Figure, median, publish};
use support::process::{Core, Server, free_port, ready};
use support::stack::Stack;
use support::wrk::{self, Load};

const ROUNDS: usize = 3;
const SECONDS: u32 = 4;

/// What is asked for: a name, the object's size, and a range of it.
const SHAPES: [(&str, usize, Option<&str>); 4] = [
    ("16 KiB", 16 << 10, None),
    ("256 KiB", 256 << 10, None),
    ("4 MiB", 4 << 20, None),
    ("64 KiB range of 4 MiB", 4 << 20, Some("Range: bytes=1048576-1114111")),
];

fn main() -> anyhow::Result<()> {
    bare::become_server_if_asked()?;
    tokio::runtime::Runtime::new()?.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let stack = Stack::start(Core::First).await?;
    let files = make_objects(&stack).await?;
    let (edge, edge_url) = start_edge(&stack).await?;
    let (sendfile, sendfile_url) = start_nginx(&stack, &files, "sendfile").await?;
    let (copying, copying_url) = start_nginx(&stack, &files, "copying").await?;
    let mut figures = Vec::new();
    for (name, size, range) in SHAPES {
        let servers = [(&edge, &edge_url), (&sendfile, &sendfile_url), (&copying, &copying_url)];
        figures.extend(measure(name, size, range, servers).await?);
    }
    publish("hit", &figures)
}

/// Rounds alternate between the servers, so that a noisy minute touches all of them.
async fn measure(
    name: &str,
    size: usize,
    range: Option<&str>,
    servers: [(&Server, &String); 3],
) -> anyhow::Result<Vec<Figure>> {
    let headers: Vec<&str> = range.into_iter().collect();
    let mut loads: [Vec<Load>; 3] = Default::default();
    for (_, url) in servers {
        warm(&format!("{url}/{size}.bin"), size).await?;
    }
    for _ in 0..ROUNDS {
        for ((server, url), loads) in servers.iter().zip(&mut loads) {
            loads.push(wrk::run(server, &format!("{url}/{size}.bin"), &headers, SECONDS)?);
        }
    }
    let of = |loads: &Vec<Load>, what: fn(&Load) -> f64| median(loads.iter().map(what).collect());
    let best = |what: fn(&Load) -> f64, better: fn(f64, f64) -> f64| better(of(&loads[1], what), of(&loads[2], what));
    Ok(vec![
        Figure::new(format!("{name}, CPU a request"), of(&loads[0], |l| l.cpu_us), "us")
            .against("nginx", best(|l| l.cpu_us, f64::min))
            .ratio_at_most(1.0),
        Figure::new(format!("{name}, requests/s"), of(&loads[0], |l| l.requests_s), "req/s")
            .against("nginx", best(|l| l.requests_s, f64::max)),
        Figure::new(format!("{name}, p99"), of(&loads[0], |l| l.p99_ms), "ms")
            .against("nginx", best(|l| l.p99_ms, f64::min)),
    ])
}

async fn make_objects(stack: &Stack) -> anyhow::Result<PathBuf> {
    let folder = stack.folder("objects");
    std::fs::create_dir_all(&folder)?;
    let s3 = S3Client::new(&stack.s3)?;
    for size in [16 << 10, 256 << 10, 4 << 20] {
        let body: Vec<u8> = (0..size).map(|i: usize| (i * 31 % 251) as u8).collect();
        std::fs::write(folder.join(format!("{size}.bin")), &body)?;
        s3.put(&format!("{size}.bin"), "application/octet-stream", Bytes::from(body)).await?;
    }
    Ok(folder)
}

/// With delivery records and load reports, as it runs in a fleet; their receivers only say yes.
async fn start_edge(stack: &Stack) -> anyhow::Result<(Server, String)> {
    let yes = bare::answer_all(202, Bytes::from_static(b"{\"accepted\":0,\"errors\":[]}")).await?;
    let cache = stack.folder("cache").display().to_string();
    let routers = format!("[\"{yes}\"]");
    let environment = [
        ("TONEARM_EDGE_ID", "fra-1"),
        ("TONEARM_EDGE_POP", "fra"),
        ("TONEARM_EDGE_CACHE_DIR", cache.as_str()),
        ("TONEARM_EDGE_CACHE_MEMORY", "128MiB"),
        ("TONEARM_EDGE_CACHE_DISK", "1GiB"),
        ("TONEARM_EDGE_ROUTERS", routers.as_str()),
        ("TONEARM_EDGE_INGEST", yes.as_str()),
    ];
    stack.role("edge", &environment).await
}

/// A cache before an origin of its own, one worker: `sendfile` from the cache's files, or `copying` them.
async fn start_nginx(stack: &Stack, files: &Path, way: &str) -> anyhow::Result<(Server, String)> {
    let folder = stack.folder(&format!("nginx-{way}"));
    std::fs::create_dir_all(&folder)?;
    let (port, origin) = (free_port()?, free_port()?);
    let sendfile = if way == "sendfile" { "on" } else { "off" };
    let dir = folder.display();
    let config = format!(
        "user root; daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;
         events {{ worker_connections 4096; }}
         http {{
           access_log off; sendfile {sendfile}; tcp_nodelay on; keepalive_requests 100000000;
           client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f;
           uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
           proxy_cache_path {dir}/cache keys_zone=hits:10m max_size=1g inactive=1h;
           server {{ listen 127.0.0.1:{origin}; root {files}; }}
           server {{ listen 127.0.0.1:{port};
             location / {{ proxy_pass http://127.0.0.1:{origin}; proxy_cache hits; proxy_cache_valid 200 1h;
                          proxy_force_ranges on; }} }}
         }}",
        files = files.display()
    );
    std::fs::write(folder.join("nginx.conf"), config)?;
    let path = folder.join("nginx.conf").display().to_string();
    let server = Server::start(Core::First, "nginx", &["-c", &path], &[]).context("nginx is not installed")?;
    let url = format!("http://127.0.0.1:{port}");
    ready(&format!("{url}/16384.bin")).await?;
    Ok((server, url))
}

/// Asks twice, and looks at what comes: a benchmark of wrong bytes measures nothing.
async fn warm(url: &str, size: usize) -> anyhow::Result<()> {
    let api = ApiClient::new(Duration::from_secs(20));
    for _ in 0..2 {
        let answer = api.get(url).await?.success()?;
        ensure!(answer.body.len() == size, "{url} answered {} of {size} bytes", answer.body.len());
    }
    Ok(())
}
