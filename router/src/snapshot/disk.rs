//! The last good snapshot on disk: what a router starts from when PostgreSQL is away.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize, Serializer};
use service::health::Status;
use service::{Health, Shutdown};
use wire::fleet::Edge;
use wire::{Timestamp, TrackId};

use super::{Snapshot, Snapshots};
use crate::fleet::Fleet;
use crate::tracks::{Track, Tracks};

/// Counts changes of the file's format; a file of another one is not read.
const FORMAT: u32 = 1;
/// Of the time, writing takes a twentieth at most, however large the catalogue.
const PAUSE_PER_WRITE: u32 = 20;
const PAUSE_AT_LEAST: Duration = Duration::from_millis(200);

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    version: u64,
    confirmed_at: Timestamp,
    #[serde(serialize_with = "edges")]
    edges: &'a Fleet,
    #[serde(serialize_with = "tracks")]
    tracks: &'a Tracks,
}

#[derive(Deserialize)]
struct Read {
    format: u32,
    version: u64,
    confirmed_at: Timestamp,
    edges: Vec<Edge>,
    tracks: Vec<(TrackId, Track)>,
}

fn edges<S: Serializer>(fleet: &&Fleet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(fleet.edges().iter().map(|site| &site.edge))
}

fn tracks<S: Serializer>(tracks: &&Tracks, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(tracks.iter().map(|(id, track)| (id, &**track)))
}

/// The file in the data folder.
#[derive(Debug, Clone)]
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the data folder {}", folder.display()))?;
        Ok(Self(folder.join("snapshot.json")))
    }

    /// The snapshot of the last run; none at the first, or where the file cannot be read, which is logged.
    pub(crate) fn load(&self, tracks_max: usize) -> Option<Snapshot> {
        match self.read(tracks_max) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the snapshot on disk is not used");
                None
            }
        }
    }

    fn read(&self, tracks_max: usize) -> anyhow::Result<Option<Snapshot>> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("cannot open {}", self.0.display())),
        };
        let read: Read = serde_json::from_reader(BufReader::new(file))
            .with_context(|| format!("cannot read {}", self.0.display()))?;
        anyhow::ensure!(read.format == FORMAT, "{} has format {}", self.0.display(), read.format);
        let mut tracks = Tracks::new(tracks_max);
        tracks.replace(read.tracks.into_iter().map(|(id, track)| (id, Arc::new(track))).collect());
        let fleet = Arc::new(Fleet::build(read.edges.into_iter().map(Ok).collect(), &Fleet::default()));
        Ok(Some(Snapshot { version: read.version, confirmed_at: read.confirmed_at, fleet, tracks }))
    }

    /// Written beside and renamed, so that a crash leaves the old file or the new one, whole.
    fn write(&self, snapshot: &Snapshot) -> io::Result<()> {
        let beside = self.0.with_extension("json.new");
        let mut file = BufWriter::new(File::create(&beside)?);
        let written = Written {
            format: FORMAT,
            version: snapshot.version,
            confirmed_at: snapshot.confirmed_at,
            edges: &snapshot.fleet,
            tracks: &snapshot.tracks,
        };
        serde_json::to_writer(&mut file, &written)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&beside, &self.0)?;
        self.0.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    /// Writes every new version, or the newest of several, until `stop`; then a last time, for when
    /// PostgreSQL last confirmed it.
    pub(crate) async fn keep(self, snapshots: Arc<Snapshots>, health: Health, stop: Shutdown) {
        let mut versions = snapshots.versions();
        while unless(&stop, versions.changed()).await {
            let started = Instant::now();
            if !self.save(&snapshots, &health).await {
                versions.mark_changed();
            }
            let pause = (started.elapsed() * PAUSE_PER_WRITE).max(PAUSE_AT_LEAST);
            unless(&stop, tokio::time::sleep(pause)).await;
        }
        if snapshots.current().version > 0 {
            self.save(&snapshots, &health).await;
        }
    }

    /// Writes the current snapshot; says whether it could.
    async fn save(&self, snapshots: &Arc<Snapshots>, health: &Health) -> bool {
        let (disk, snapshot) = (self.clone(), snapshots.current().clone());
        let written = tokio::task::spawn_blocking(move || disk.write(&snapshot)).await;
        let written = written.map_err(io::Error::other).and_then(|result| result);
        let status = match &written {
            Ok(()) => Status::Ok,
            Err(e) => Status::Degraded(format!("cannot be written, a restart would serve an older one: {e}")),
        };
        health.set("snapshot", status);
        written.is_ok()
    }
}

/// Whether this was over before the stop.
async fn unless<T>(stop: &Shutdown, wait: impl Future<Output = T>) -> bool {
    tokio::select! {
        _ = wait => true,
        () = stop.cancelled() => false,
    }
}

#[cfg(test)]
mod tests {
    use wire::ObjectKey;

    use super::*;

    fn snapshot() -> Snapshot {
        let edge = serde_json::from_value(serde_json::json!({
            "edge_id": "fra-1", "pop": "fra", "url": "http://fra-1", "admin_url": "http://fra-1:1",
            "capacity_bps": 1_000_000_000u64, "icmp_host": "192.0.2.1", "state": "drain",
        }));
        let mut snapshot = Snapshot::empty(10);
        snapshot.version = 7;
        snapshot.fleet = Arc::new(Fleet::build(vec![Ok(edge.unwrap())], &Fleet::default()));
        let key = ObjectKey::new("t/ä b.m4a").unwrap();
        let track = Track { version: 3, hls_key: None, progressive_key: Some(key) };
        snapshot.tracks.apply((TrackId::new("t 1").unwrap(), Some(Arc::new(track))));
        snapshot
    }

    #[test]
    fn reads_what_it_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&folder.path().join("made")).unwrap();
        assert!(disk.load(10).is_none());
        let written = snapshot();
        disk.write(&written).unwrap();
        let read = disk.load(10).unwrap();
        assert_eq!((read.version, read.confirmed_at), (7, written.confirmed_at));
        assert!(read.fleet.same_as(&written.fleet));
        let id = TrackId::new("t 1").unwrap();
        assert_eq!(read.tracks.get(&id), written.tracks.get(&id));
    }

    #[test]
    fn a_file_cut_short_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path()).unwrap();
        disk.write(&snapshot()).unwrap();
        let whole = fs::read(&disk.0).unwrap();
        fs::write(&disk.0, &whole[..whole.len() / 2]).unwrap();
        assert!(disk.load(10).is_none());
    }
}
