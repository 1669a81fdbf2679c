//! From samples to what players fetch: an HLS ladder in CMAF and one progressive file, by one ffmpeg run.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Title, synth};
use crate::progress::say;

/// In kbit/s.
pub const LADDER: [u32; 3] = [64, 128, 256];
pub const PROGRESSIVE_KBPS: u32 = 192;
pub const CODEC: &str = "mp4a.40.2";
const SEGMENT_SECONDS: &str = "6";
const ENCODE_WITHIN: Duration = Duration::from_secs(300);

/// Makes a track below `edition`, unless it is there; gives its folder.
pub(super) async fn track(title: &Title, edition: &Path) -> Result<PathBuf> {
    let ready = edition.join(title.track_id());
    if ready.is_dir() {
        return Ok(ready);
    }
    let began = Instant::now();
    let partial = edition.join(format!(".{}.partial", title.track_id()));
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    for rung in LADDER {
        fs::create_dir_all(partial.join(rung.to_string()))?;
    }
    let (number, seconds) = (title.number, title.seconds);
    let pcm = tokio::task::spawn_blocking(move || synth::render(number, seconds)).await?;
    tokio::time::timeout(ENCODE_WITHIN, encode(pcm, title, &partial)).await.context("encode in time")??;
    fs::write(partial.join("master.m3u8"), master())?;
    fs::rename(&partial, &ready).with_context(|| format!("put {} in place", ready.display()))?;
    say(&format!(
        "  {} {} by {} ({:.1} s)",
        title.track_id(),
        title.title,
        title.artist,
        began.elapsed().as_secs_f32()
    ));
    Ok(ready)
}

async fn encode(pcm: Vec<u8>, title: &Title, into: &Path) -> Result<()> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-f", "s16le", "-ar"]).arg(synth::RATE.to_string());
    command.args(["-ac", "2", "-i", "pipe:0"]).args(outputs(title)).current_dir(into);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut ffmpeg = command.spawn().context("run ffmpeg; scripts/prerequisites installs it")?;
    let mut input = ffmpeg.stdin.take().context("ffmpeg's stdin")?;
    let feed = async move {
        // Where ffmpeg gives up early, its status and words say why.
        let _ = input.write_all(&pcm).await;
    };
    let (output, ()) = tokio::join!(ffmpeg.wait_with_output(), feed);
    let output = output?;
    if !output.status.success() {
        bail!("ffmpeg for {}: {}: {}", title.track_id(), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn outputs(title: &Title) -> Vec<String> {
    let ladder = LADDER.into_iter().flat_map(rung);
    let bitrate = format!("{PROGRESSIVE_KBPS}k");
    // Bit-exact: no time of making in the file, so the same track has the same bytes everywhere.
    let file = ["-map", "0:a", "-c:a", "aac", "-b:a", &bitrate, "-movflags", "+faststart", "-fflags", "+bitexact"];
    let tags = [format!("title={}", title.title), format!("artist={}", title.artist)];
    let tags = tags.into_iter().flat_map(|tag| ["-metadata".to_owned(), tag]);
    ladder.chain(file.map(str::to_owned)).chain(tags).chain(["track.m4a".to_owned()]).collect()
}

fn rung(kbps: u32) -> Vec<String> {
    let encoder = format!("-map 0:a -c:a aac -b:a {kbps}k -fflags +bitexact -f hls");
    let playlist = format!("-hls_time {SEGMENT_SECONDS} -hls_playlist_type vod -hls_flags independent_segments");
    let segments =
        format!("-hls_segment_type fmp4 -hls_fmp4_init_filename init.mp4 -hls_segment_filename {kbps}/%03d.m4s");
    format!("{encoder} {playlist} {segments} {kbps}/media.m3u8").split(' ').map(str::to_owned).collect()
}

fn master() -> String {
    let mut text = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n".to_owned();
    for kbps in LADDER {
        // An encoder at a constant rate still varies a little; containers add some.
        let (peak, average) = (kbps * 1100, kbps * 1000);
        writeln!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"{CODEC}\"\n{kbps}/media.m3u8"
        )
        .expect("a String takes what is written");
    }
    text
}
