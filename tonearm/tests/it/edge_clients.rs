//! Clients that others wrote, reading through an edge what boto3 has uploaded: curl, ffmpeg and ffprobe, hls.js in
//! Chromium, h2load.
//!
//! `make check-edge-clients` runs this: it needs packages from PyPI and npm, and Chromium, so nothing else does.

mod page;

use std::path::{Path, PathBuf};
use std::process::Command;

use devstack::s3client::S3Client;

use crate::clients::{python, repository, run};
use crate::support::process::{Core, Server};
use crate::support::stack::Stack;

const BOTO3: &str = "boto3==1.44.5";
const HLS_JS: &str = "hls.js@1.7.4";

/// Of the tone that is played.
const SECONDS: f64 = 14.0;

/// A folder of a release as a service would upload it, and an edge before it, twice: plain and with TLS.
struct Shelf {
    folder: PathBuf,
    keys: Vec<String>,
    plain: String,
    tls: String,
    certificate: PathBuf,
    _edges: [Server; 2],
}

impl Shelf {
    fn local(&self, key: &str) -> PathBuf {
        self.folder.join(key)
    }

    fn bytes(&self, key: &str) -> Vec<u8> {
        std::fs::read(self.local(key)).unwrap()
    }

    fn curl(&self, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail-with-body", "--cacert"]).arg(&self.certificate).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PyPI, npm, curl, ffmpeg, h2load and Chromium: make check-edge-clients"]
async fn each_reads_through_an_edge() {
    let stack = Stack::start(Core::Any).await.unwrap();
    let shelf = shelf(&stack).await;
    curl_reads_every_object(&shelf);
    curl_asks_for_parts_and_conditions(&shelf);
    ffmpeg_decodes_the_same(&shelf);
    page::hls_js_plays(&shelf.plain).await;
    h2load_sees_no_failure(&shelf);
}

async fn shelf(stack: &Stack) -> Shelf {
    let folder = stack.folder("release");
    encode(&folder.join("album"));
    // Large enough for boto3 to send it in parts.
    let noise: Vec<u8> = (0..9_u64 << 20).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as u8).collect();
    std::fs::write(folder.join("album/master.wav"), noise).unwrap();
    let mut command = Command::new(python(&[BOTO3]));
    command
        .arg(repository().join("scripts/clients/upload.py"))
        .args([&stack.s3.endpoint, &stack.s3.bucket])
        .arg(&folder);
    command.env("ACCESS_KEY", &stack.s3.access_key).env("SECRET_KEY", &stack.s3.secret_key);
    let keys: Vec<String> = run(&mut command).lines().map(str::to_owned).collect();
    let listed = S3Client::new(&stack.s3).unwrap().list("album/").await.unwrap();
    assert_eq!(listed.len(), keys.len());
    println!("boto3: {} objects", keys.len());

    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (stack.folder("edge.crt"), stack.folder("edge.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (certificate_name, key_name) = (certificate.display().to_string(), key.display().to_string());
    let tls = [("TONEARM_EDGE_TLS_CERTIFICATE", &*certificate_name), ("TONEARM_EDGE_TLS_KEY", &*key_name)];
    let (one, plain) = edge(stack, "fra-1", &[]).await;
    let (two, secure) = edge(stack, "fra-2", &tls).await;
    let tls = secure.replace("http://127.0.0.1", "https://localhost");
    Shelf { folder, keys, plain, tls, certificate, _edges: [one, two] }
}

async fn edge(stack: &Stack, name: &str, more: &[(&str, &str)]) -> (Server, String) {
    let cache = stack.folder(name).display().to_string();
    let mut environment =
        vec![("TONEARM_EDGE_ID", name), ("TONEARM_EDGE_POP", "fra"), ("TONEARM_EDGE_CACHE_DIR", &*cache)];
    environment.extend(more);
    stack.role("edge", &environment).await.unwrap()
}

/// A tone as HLS in fragments and as one progressive file.
fn encode(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let tone = format!("sine=frequency=440:duration={SECONDS}");
    let input = ["-nostdin", "-v", "error", "-f", "lavfi", "-i", &tone, "-c:a", "aac", "-b:a", "128k"];
    let hls = ["-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4"];
    let names = ["-hls_segment_filename", "seg-%d.m4s", "media.m3u8"];
    run(Command::new("ffmpeg").args(input).args(hls).args(names).current_dir(folder));
    run(Command::new("ffmpeg").args(input).args(["-movflags", "+faststart", "track.m4a"]).current_dir(folder));
}

/// Byte for byte, from a cold and from a warm cache, over both versions of HTTP.
fn curl_reads_every_object(shelf: &Shelf) {
    for round in ["cold", "warm"] {
        for key in &shelf.keys {
            for (version, base) in [("--http1.1", &shelf.plain), ("--http2", &shelf.tls)] {
                let got =
                    shelf.curl(&[version, "--compressed", "-w", "%{stderr}%{http_version}", &format!("{base}/{key}")]);
                assert!(got == shelf.bytes(key), "{round} {version} {key}: other bytes");
            }
        }
    }
    let told = |base: &str, version: &str| {
        let url = format!("{base}/{}", shelf.keys[0]);
        String::from_utf8(shelf.curl(&[version, "-o", "/dev/null", "-w", "%{http_version} %{http_code}", &url]))
            .unwrap()
    };
    assert_eq!((told(&shelf.plain, "--http1.1").as_str(), told(&shelf.tls, "--http2").as_str()), ("1.1 200", "2 200"));
    println!("curl: {} objects, each twice over HTTP/1.1 and HTTP/2, byte for byte", shelf.keys.len());
}

fn curl_asks_for_parts_and_conditions(shelf: &Shelf) {
    let key = "album/master.wav";
    let bytes = shelf.bytes(key);
    for (version, base) in [("--http1.1", &shelf.plain), ("--http2", &shelf.tls)] {
        let url = format!("{base}/{key}");
        for (range, wanted) in [
            ("0-0", &bytes[..1]),
            ("262140-262150", &bytes[262_140..=262_150]),
            ("-500", &bytes[bytes.len() - 500..]),
            ("9000000-", &bytes[9_000_000..]),
        ] {
            assert!(shelf.curl(&[version, "-r", range, &url]) == wanted, "{version} {range}");
        }
        let several = shelf.curl(&[version, "-i", "-r", "0-9,5000000-5000009", &url]);
        let shown = String::from_utf8_lossy(&several);
        assert!(shown.contains("206") && shown.contains("multipart/byteranges; boundary="), "{shown}");
        assert!(several.windows(10).any(|some| *some == bytes[5_000_000..5_000_010]), "{version}: the second part");
        let code = |more: &[&str]| {
            let quiet = [version, "-o", "/dev/null", "-w", "%{http_code}", &url];
            String::from_utf8(shelf.curl(&[&quiet[..], more].concat())).unwrap()
        };
        let etag = shelf.folder.join("etag");
        let etag = etag.to_str().unwrap();
        assert_eq!(code(&["--etag-save", etag]), "200");
        assert_eq!((code(&["--etag-compare", etag]).as_str(), code(&["-z", etag]).as_str()), ("304", "304"));
        let part = shelf.folder.join("part");
        std::fs::write(&part, &bytes[..1_000_000]).unwrap();
        shelf.curl(&[version, "-C", "-", "-o", part.to_str().unwrap(), &url]);
        assert!(std::fs::read(part).unwrap() == bytes, "{version}: a transfer that is taken up again");
    }
    println!("curl: ranges, several ranges, validators, a transfer taken up again");
}

fn ffmpeg_decodes_the_same(shelf: &Shelf) {
    for key in ["album/media.m3u8", "album/track.m4a"] {
        let (through, local) = (format!("{}/{key}", shelf.plain), shelf.local(key).display().to_string());
        let mut probe = Command::new("ffprobe");
        probe.args(["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", &through]);
        let duration: f64 = run(&mut probe).trim().parse().unwrap();
        assert!((duration - SECONDS).abs() < 0.2, "{key} lasts {duration} s");
        for seek in [&[][..], &["-ss", "9"]] {
            let decoded = |from: &str| {
                let mut command = Command::new("ffmpeg");
                command.args(["-nostdin", "-v", "error"]).args(seek).args(["-i", from, "-f", "md5", "-"]);
                run(&mut command)
            };
            let sum = decoded(&through);
            assert!(sum.starts_with("MD5=") && sum == decoded(&local), "{key} {seek:?}: other samples");
        }
        println!("ffprobe, ffmpeg: {key}, {duration:.1} s, the same samples, also after a seek");
    }
}

fn h2load_sees_no_failure(shelf: &Shelf) {
    for (key, requests) in [("album/seg-1.m4s", "4000"), ("album/master.wav", "40")] {
        // Over TLS it speaks HTTP/2 by itself.
        for (more, protocol, base) in [(&["--h1"][..], "http/1.1", &shelf.plain), (&[], "h2", &shelf.tls)] {
            let url = format!("{base}/{key}");
            let said = run(Command::new("h2load").args(more).args(["-n", requests, "-c", "20", "-m", "10", &url]));
            assert!(said.contains(&format!("Application protocol: {protocol}")), "{said}");
            let line = said.lines().find(|line| line.starts_with("requests: ")).unwrap_or_else(|| panic!("{said}"));
            let wanted = format!("{requests} done, {requests} succeeded, 0 failed, 0 errored, 0 timeout");
            assert!(line.ends_with(&wanted), "{protocol} {key}: {said}");
            println!("h2load {protocol} {key}: {line}");
        }
    }
}
