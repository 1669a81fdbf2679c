//! The servers that are compared, each one core and a cache before the origin.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::support::process::{Core, Server, free_port, ready};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Edge,
    /// From its cache's files by sendfile.
    NginxSendfile,
    NginxCopying,
    /// Each MiB of an object by itself.
    NginxSlice,
    Varnish,
    Ats,
}

pub(crate) struct Cache {
    pub(crate) kind: Kind,
    pub(crate) server: Server,
    pub(crate) url: String,
    _folder: tempfile::TempDir,
}

/// What an edge may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) memory: &'static str,
    pub(crate) disk: &'static str,
}

pub(crate) const ROOM: Room = Room { memory: "256MiB", disk: "2GiB" };

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::NginxSendfile => "nginx, sendfile",
            Self::NginxCopying => "nginx",
            Self::NginxSlice => "nginx, slice",
            Self::Varnish => "Varnish",
            Self::Ats => "ATS",
        }
    }
}

/// Starts one with an empty cache, and waits until it serves what the origin has.
pub(crate) async fn start(kind: Kind, origin: &str, room: Room) -> anyhow::Result<Cache> {
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let listen = format!("127.0.0.1:{port}");
    let server = match kind {
        Kind::Edge => edge(folder.path(), &listen, origin, room),
        Kind::NginxSendfile => nginx(folder.path(), &listen, origin, "sendfile on;"),
        Kind::NginxCopying => nginx(folder.path(), &listen, origin, "sendfile off;"),
        Kind::NginxSlice => nginx(folder.path(), &listen, origin, SLICE),
        Kind::Varnish => varnish(folder.path(), &listen, origin),
        Kind::Ats => ats(folder.path(), port, origin),
    };
    let server = server.with_context(|| format!("cannot start {}", kind.name()))?;
    let url = format!("http://{listen}");
    ready(&format!("{url}/1/0/ready")).await.with_context(|| kind.name())?;
    Ok(Cache { kind, server, url, _folder: folder })
}

fn edge(folder: &Path, listen: &str, origin: &str, room: Room) -> anyhow::Result<Server> {
    let cache = folder.display().to_string();
    let args = ["edge", "--public", "--threads", "1", "--listen", listen, "--origin", origin, "--cache-dir", &cache];
    let room = ["--cache-memory", room.memory, "--cache-disk", room.disk];
    let args: Vec<&str> = args.into_iter().chain(room).collect();
    Server::start(Core::First, env!("CARGO_BIN_EXE_tonearm"), &args, &[("TONEARM_LOG_LEVEL", "warn")])
}

const SLICE: &str = "sendfile on; slice 1m; proxy_set_header Range $slice_range;
    proxy_cache_key $uri$slice_range; proxy_cache_valid 206 1h;";

/// One worker. It opens files once and keeps them open, as one tunes it for hits.
fn nginx(folder: &Path, listen: &str, origin: &str, more: &str) -> anyhow::Result<Server> {
    let dir = folder.display();
    let config = format!(
        "user root; daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;
         events {{ worker_connections 4096; }}
         http {{
           access_log off; tcp_nodelay on; keepalive_requests 100000000;
           open_file_cache max=10000 inactive=1h;
           client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f;
           uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
           proxy_cache_path {dir}/cache keys_zone=hits:100m max_size=4g inactive=1h use_temp_path=off;
           upstream origin {{ server {origin}; keepalive 32; }}
           server {{ listen {listen};
             location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection '';
                          proxy_cache hits; proxy_cache_lock on; proxy_cache_lock_timeout 60s;
                          proxy_cache_lock_age 60s; proxy_force_ranges on; {more} }} }}
         }}",
        origin = origin.trim_start_matches("http://"),
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config)?;
    Server::start(Core::First, "nginx", &["-c", &path.display().to_string()], &[])
}

fn varnish(folder: &Path, listen: &str, origin: &str) -> anyhow::Result<Server> {
    let dir = folder.join("varnish").display().to_string();
    let args = ["-F", "-j", "none", "-a", listen, "-b", origin.trim_start_matches("http://"), "-n", &dir];
    let args: Vec<&str> = args.into_iter().chain(["-s", "malloc,1g", "-p", "thread_pools=1", "-T", "none"]).collect();
    Server::start_quietly(Core::First, "varnishd", &args, &[])
}

fn ats(folder: &Path, port: u16, origin: &str) -> anyhow::Result<Server> {
    let dir = folder.display();
    for name in ["etc", "cache", "run", "log"] {
        fs::create_dir(folder.join(name))?;
    }
    let etc = folder.join("etc");
    let layout = format!(
        "prefix: /usr\nexec_prefix: /usr\nbindir: /usr/bin\nsbindir: /usr/sbin\nincludedir: /usr/include\nlibdir: /usr/lib\n\
         libexecdir: /usr/lib/trafficserver/modules\nsysconfdir: {dir}/etc\ndatadir: {dir}/cache\n\
         localstatedir: {dir}/run\nruntimedir: {dir}/run\nlogdir: {dir}/log\ncachedir: {dir}/cache\n"
    );
    fs::write(folder.join("runroot.yaml"), layout)?;
    let records = format!(
        "CONFIG proxy.config.http.server_ports STRING {port}\n\
         CONFIG proxy.config.admin.user_id STRING #-1\n\
         CONFIG proxy.config.exec_thread.autoconfig INT 0\n\
         CONFIG proxy.config.exec_thread.limit INT 1\n\
         CONFIG proxy.config.cache.ram_cache.size INT 1G\n\
         CONFIG proxy.config.cache.enable_read_while_writer INT 1\n\
         CONFIG proxy.config.http.background_fill_active_timeout INT 0\n\
         CONFIG proxy.config.http.background_fill_completed_threshold FLOAT 0.0\n\
         CONFIG proxy.config.log.logging_enabled INT 0\n"
    );
    fs::write(etc.join("records.config"), records)?;
    fs::write(etc.join("remap.config"), format!("map / {origin}/\n"))?;
    fs::write(etc.join("storage.config"), format!("{dir}/cache 2G\n"))?;
    let everyone = "ip_allow:\n  - apply: in\n    ip_addrs: 0/0\n    action: allow\n    methods: ALL\n";
    fs::write(etc.join("ip_allow.yaml"), everyone)?;
    Server::start_quietly(Core::First, "traffic_server", &[&format!("--run-root={dir}")], &[])
}
