//! HLS playlists: a ladder of variants, each a list of segments.

use std::time::Duration;

use anyhow::{Context, bail};
use m3u8_rs::Playlist;
use url::Url;

/// One rung of the ladder.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    /// Peak, in bit/s.
    pub(crate) bandwidth: u64,
    pub(crate) codecs: Option<String>,
    pub(crate) url: Url,
}

/// One segment of a variant.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) url: Url,
    pub(crate) media: Duration,
}

/// A variant's segments, with what must be fetched before the first.
#[derive(Debug, Clone)]
pub(crate) struct MediaList {
    pub(crate) init: Option<Url>,
    pub(crate) segments: Vec<Segment>,
}

impl MediaList {
    pub(crate) fn duration(&self) -> Duration {
        self.segments.iter().map(|segment| segment.media).sum()
    }
}

/// Reads a multivariant playlist; the lowest bandwidth comes first.
///
/// # Errors
/// When it is none, or has no variant.
pub(crate) fn ladder(base: &Url, text: &[u8]) -> anyhow::Result<Vec<Variant>> {
    let Ok(Playlist::MasterPlaylist(master)) = m3u8_rs::parse_playlist_res(text) else {
        bail!("{} is no multivariant playlist", base.path());
    };
    let mut variants = master
        .variants
        .into_iter()
        .map(|v| Ok(Variant { bandwidth: v.bandwidth, codecs: v.codecs, url: resolve(base, &v.uri)? }))
        .collect::<anyhow::Result<Vec<_>>>()?;
    anyhow::ensure!(!variants.is_empty(), "{} has no variant", base.path());
    variants.sort_by_key(|variant| variant.bandwidth);
    Ok(variants)
}

/// Reads a media playlist.
///
/// # Errors
/// When it is none, or has no segment.
pub(crate) fn segments(base: &Url, text: &[u8]) -> anyhow::Result<MediaList> {
    let Ok(Playlist::MediaPlaylist(media)) = m3u8_rs::parse_playlist_res(text) else {
        bail!("{} is no media playlist", base.path());
    };
    let map = media.segments.iter().find_map(|segment| segment.map.as_ref());
    let init = map.map(|map| resolve(base, &map.uri)).transpose()?;
    let segments = media
        .segments
        .iter()
        .map(|s| {
            let media = Duration::try_from_secs_f32(s.duration).context("a segment's duration is no time")?;
            Ok(Segment { url: resolve(base, &s.uri)?, media })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    anyhow::ensure!(!segments.is_empty(), "{} has no segment", base.path());
    Ok(MediaList { init, segments })
}

/// The query of a playlist's URL covers what the playlist names: it carries the decision's id.
fn resolve(base: &Url, uri: &str) -> anyhow::Result<Url> {
    let mut url = base.join(uri).with_context(|| format!("{} names a bad URI", base.path()))?;
    if url.query().is_none() {
        url.set_query(base.query());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decision_travels_down_to_the_segments() {
        let base: Url = "http://e/t/1/master.m3u8?decision_id=d".parse().unwrap();
        let text =
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=256000\nhi/i.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=64000\nlo/i.m3u8\n";
        let ladder = ladder(&base, text.as_bytes()).unwrap();
        assert_eq!(ladder[0].url.as_str(), "http://e/t/1/lo/i.m3u8?decision_id=d");
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:6.0,\n0.m4s\n#EXTINF:1.5,\n1.m4s\n#EXT-X-ENDLIST\n";
        let list = segments(&ladder[0].url, text.as_bytes()).unwrap();
        assert_eq!(list.init.as_ref().unwrap().as_str(), "http://e/t/1/lo/init.mp4?decision_id=d");
        assert_eq!(list.segments[1].url.as_str(), "http://e/t/1/lo/1.m4s?decision_id=d");
        assert_eq!(list.duration(), Duration::from_millis(7500));
    }

    #[test]
    fn what_is_no_playlist_is_refused() {
        let base: Url = "http://e/x".parse().unwrap();
        assert!(ladder(&base, b"<html>").is_err() && segments(&base, b"").is_err());
    }
}
