//! The demo library: made once, uploaded to the origin, published through the catalog.

pub mod encode;
pub mod publish;
pub mod synth;
pub mod upload;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt};

use crate::folder::{Lock, check_space};
use crate::progress::say;

/// Changes when what is made changes, so that an old library is made anew.
const EDITION: &str = "1";
/// Minutes on two slow cores.
const MADE_WITHIN: Duration = Duration::from_secs(20 * 60);
/// One encoder a core, of the two that we count on.
const AT_ONCE: usize = 2;

/// One track of the library.
#[derive(Debug, Clone, Copy)]
pub struct Title {
    /// Its number, from 1; the melody's seed as well.
    pub number: u8,
    pub title: &'static str,
    pub artist: &'static str,
    pub seconds: u32,
}

impl Title {
    #[must_use]
    pub fn track_id(&self) -> String {
        format!("trk-{:03}", self.number)
    }
}

const fn title(number: u8, title: &'static str, artist: &'static str, seconds: u32) -> Title {
    Title { number, title, artist, seconds }
}

/// No two are equally long, none is a whole number of segments, each is over a minute.
pub const TITLES: [Title; 12] = [
    title(1, "Low Tide, Long Light", "Harbour Choir", 64),
    title(2, "Paper Satellites", "Mira Vell", 67),
    title(3, "Night Bus to Praga", "The Tram Depot", 70),
    title(4, "Copper Kettle Waltz", "Oskar Lindgren Trio", 73),
    title(5, "Salt in the Circuit", "Nine Volt Orchard", 76),
    title(6, "Main Station, 5 a.m.", "Frankfurter Nebel", 79),
    title(7, "Bridge Lamps", "Dolores Quay", 82),
    title(8, "The Cartographer's Daughter", "Slow Meridian", 85),
    title(9, "Elevator Weather", "Kite Assembly", 65),
    title(10, "Second Star, Third Exit", "Bodega Saints", 68),
    title(11, "Rooftop Tomatoes", "June & the Awnings", 71),
    title(12, "Last Groove, First Light", "Tonearm House Band", 74),
];

/// Makes what is missing below `library`; the folder of each track, in the order of [`TITLES`].
///
/// # Errors
/// When ffmpeg is missing or fails, or the disk is full.
pub async fn make(library: &Path) -> Result<Vec<PathBuf>> {
    let edition = library.join(EDITION);
    std::fs::create_dir_all(&edition).with_context(|| format!("create {}", edition.display()))?;
    let _lock = Lock::wait(&edition.join(".lock"), "makes the library", MADE_WITHIN).await?;
    let missing = TITLES.iter().filter(|title| !edition.join(title.track_id()).is_dir()).count();
    if missing > 0 {
        check_space(&edition, 1)?;
        say(&format!("making {missing} tracks of the demo library, once"));
    }
    let made = TITLES.iter().map(|title| encode::track(title, &edition));
    futures_util::stream::iter(made).buffered(AT_ONCE).try_collect().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_track_has_its_ladder_and_its_file_and_is_made_once() {
        let edition = tempfile::tempdir().unwrap();
        let short = title(1, "Short", "Test", 13);
        let folder = encode::track(&short, edition.path()).await.unwrap();
        let objects = upload::objects(&short, &folder).unwrap();
        let names: Vec<&str> = objects.iter().map(|object| object.key.as_str()).collect();
        for rung in encode::LADDER {
            for name in ["init.mp4", "media.m3u8", "000.m4s", "001.m4s", "002.m4s"] {
                let key = format!("tracks/trk-001/v1/{rung}/{name}");
                assert!(names.contains(&key.as_str()), "{key} is not among {names:?}");
            }
        }
        assert!(objects.iter().all(|object| object.bytes > 0));
        publish::spec(&short, objects).unwrap().check().unwrap();
        let made = folder.join("track.m4a").metadata().unwrap().modified().unwrap();
        encode::track(&short, edition.path()).await.unwrap();
        assert_eq!(folder.join("track.m4a").metadata().unwrap().modified().unwrap(), made);
    }

    #[test]
    fn no_two_titles_are_alike() {
        let numbers: std::collections::HashSet<_> = TITLES.iter().map(|title| title.number).collect();
        let lengths: std::collections::HashSet<_> = TITLES.iter().map(|title| title.seconds).collect();
        assert_eq!((numbers.len(), lengths.len()), (TITLES.len(), TITLES.len()));
        assert!(TITLES.iter().all(|title| title.seconds >= 60));
    }
}
