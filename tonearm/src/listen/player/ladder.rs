//! Which rung of the ladder the network carries.

use std::time::Duration;

use anyhow::Context;
use url::Url;

use super::Player;
use crate::listen::playlist::{self, MediaList, Variant};

/// Share of the measured throughput that a rung may need: the rest is for its swings.
const SAFE: f64 = 0.7;

/// A track's variants at one edge, and the one in use.
#[derive(Debug, Clone)]
pub(super) struct Ladder {
    variants: Vec<Variant>,
    pub(super) rung: usize,
    pub(super) list: MediaList,
    /// Smoothed, in bit/s; none before the first segment.
    throughput: Option<f64>,
}

impl Ladder {
    pub(super) fn variant(&self) -> &Variant {
        &self.variants[self.rung]
    }

    /// Takes a segment's transfer into the estimate, half of it each time.
    #[allow(clippy::cast_precision_loss, reason = "a segment's size needs no more than 52 bits")]
    pub(super) fn measured(&mut self, bytes: usize, total: Duration) {
        let rate = bytes as f64 * 8.0 / total.as_secs_f64().max(1e-6);
        self.throughput = Some(self.throughput.map_or(rate, |known| (known + rate) / 2.0));
    }

    /// The highest rung whose bitrate, at this speed, fits the throughput; the lowest where none does.
    fn wanted(&self, speed: f64) -> usize {
        wanted(self.variants.iter().map(|v| v.bandwidth), self.throughput, speed).unwrap_or(self.rung)
    }
}

#[allow(clippy::cast_precision_loss, reason = "a bitrate needs no more than 52 bits")]
fn wanted(
    bandwidths: impl DoubleEndedIterator<Item = u64> + ExactSizeIterator,
    throughput: Option<f64>,
    speed: f64,
) -> Option<usize> {
    let room = throughput? * SAFE;
    Some(bandwidths.enumerate().rev().find(|(_, needed)| *needed as f64 * speed <= room).map_or(0, |(rung, _)| rung))
}

impl Player<'_> {
    /// The playlists of the candidate in use, at a rung or at the lowest.
    pub(super) async fn open_here(&mut self, rung: Option<usize>) -> anyhow::Result<Ladder> {
        let url = self.candidate().hls_url.clone().context("the track has no HLS rendition")?;
        let fetched = self.fetch(&url).await?;
        let variants = playlist::ladder(&url.parse::<Url>()?, &fetched.body)?;
        let rung = rung.unwrap_or(0).min(variants.len() - 1);
        let list = self.open_variant(&variants[rung]).await?;
        self.report.variant(&variants[rung]);
        Ok(Ladder { variants, rung, list, throughput: None })
    }

    async fn open_variant(&mut self, variant: &Variant) -> anyhow::Result<MediaList> {
        let fetched = self.fetch(variant.url.as_str()).await?;
        let list = playlist::segments(&variant.url, &fetched.body)?;
        if let Some(init) = &list.init {
            self.fetch(init.as_str()).await?;
        }
        Ok(list)
    }

    /// Moves to the rung that the network carries. Where that one cannot be opened, this one plays on.
    pub(super) async fn adapt(&mut self, ladder: Ladder) -> Ladder {
        let rung = ladder.wanted(self.play.speed);
        if rung == ladder.rung {
            return ladder;
        }
        match self.open_variant(&ladder.variants[rung]).await {
            Ok(list) if list.segments.len() == ladder.list.segments.len() => {
                self.report.variant(&ladder.variants[rung]);
                self.report.quality_change(self.candidate(), &self.buffer).await;
                Ladder { rung, list, ..ladder }
            }
            Ok(_) | Err(_) => ladder,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::wanted;

    #[test]
    fn the_highest_that_fits() {
        let ladder = [64_000, 128_000, 256_000];
        let at = |throughput, speed| wanted(ladder.into_iter(), throughput, speed);
        assert_eq!(at(None, 1.0), None);
        assert_eq!(at(Some(1e6), 1.0), Some(2));
        assert_eq!(at(Some(1e6), 4.0), Some(1));
        assert_eq!(at(Some(200_000.0), 1.0), Some(1));
        assert_eq!(at(Some(1_000.0), 1.0), Some(0));
    }
}
