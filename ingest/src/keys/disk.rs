//! The last snapshot on disk: what ingest starts from when PostgreSQL is away.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use service::health::Status;
use service::{Health, Shutdown};
use wire::Timestamp;

use super::snapshot::{Entries, Key, Snapshot, Snapshots, whole};
use crate::privacy::{PrivacyKey, Pseudonyms};

/// Counts changes of the file's format; a file of another one is not read.
const FORMAT: u32 = 1;
/// Of the time, writing takes a twentieth at most, however many keys there are.
const PAUSE_PER_WRITE: u32 = 20;
const PAUSE_AT_LEAST: Duration = Duration::from_millis(200);

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    confirmed_at: Timestamp,
    keys: Vec<&'a Key>,
    privacy: &'a [PrivacyKey],
}

#[derive(Deserialize)]
struct Read {
    format: u32,
    confirmed_at: Timestamp,
    keys: Vec<Key>,
    privacy: Vec<PrivacyKey>,
}

#[derive(Debug, Clone)]
pub(super) struct Disk(PathBuf);

impl Disk {
    /// # Errors
    /// When the folder cannot be made.
    pub(super) fn open(file: &Path) -> anyhow::Result<Self> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        Ok(Self(file.to_path_buf()))
    }

    /// The snapshot of the last run; none at the first, or where the file cannot be read, which is logged.
    pub(super) fn load(&self) -> Option<Snapshot> {
        match self.read() {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the keys on disk are not used");
                None
            }
        }
    }

    fn read(&self) -> anyhow::Result<Option<Snapshot>> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("cannot open {}", self.0.display())),
        };
        let read: Read = serde_json::from_reader(BufReader::new(file))
            .with_context(|| format!("cannot read {}", self.0.display()))?;
        anyhow::ensure!(read.format == FORMAT, "{} has format {}", self.0.display(), read.format);
        let entries = Arc::new(whole(read.keys, &Entries::new()));
        let pseudonyms = Pseudonyms::new(read.privacy).context("it has no privacy key")?;
        Ok(Some(Snapshot { confirmed_at: Some(read.confirmed_at), entries, pseudonyms: Some(pseudonyms.into()) }))
    }

    /// Written beside and renamed, so that a crash leaves the old file or the new one, whole.
    fn write(&self, snapshot: &Snapshot) -> io::Result<()> {
        // Nothing was read yet, so there is nothing to keep.
        let (Some(confirmed_at), Some(pseudonyms)) = (snapshot.confirmed_at, &snapshot.pseudonyms) else {
            return Ok(());
        };
        let beside = self.0.with_extension("new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let mut file = BufWriter::new(file);
        let keys = snapshot.entries.values().map(|entry| &entry.key).collect();
        serde_json::to_writer(&mut file, &Written { format: FORMAT, confirmed_at, keys, privacy: pseudonyms.keys() })?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&beside, &self.0)?;
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Writes every new snapshot, or the newest of several, until `stop`; then a last time, for when
    /// PostgreSQL last confirmed it.
    pub(super) async fn keep(self, snapshots: Arc<Snapshots>, health: Health, stop: Shutdown) {
        let mut versions = snapshots.versions();
        // What was read before this began has not been written either.
        versions.mark_changed();
        while unless(&stop, versions.changed()).await {
            let started = Instant::now();
            if !self.save(&snapshots, &health).await {
                versions.mark_changed();
            }
            let pause = (started.elapsed() * PAUSE_PER_WRITE).max(PAUSE_AT_LEAST);
            unless(&stop, tokio::time::sleep(pause)).await;
        }
        self.save(&snapshots, &health).await;
    }

    /// Writes the current snapshot; says whether it could.
    async fn save(&self, snapshots: &Snapshots, health: &Health) -> bool {
        let (disk, snapshot) = (self.clone(), snapshots.current().clone());
        let written = tokio::task::spawn_blocking(move || disk.write(&snapshot)).await;
        let written = written.map_err(io::Error::other).and_then(|result| result);
        let status = match &written {
            Ok(()) => Status::Ok,
            Err(e) => Status::Degraded(format!("cannot be written, a restart would serve older keys: {e}")),
        };
        health.set("keys_snapshot", status);
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
    use std::os::unix::fs::PermissionsExt;

    use super::super::snapshot::tests::key;
    use super::*;

    fn snapshot() -> Snapshot {
        let entries = whole(vec![key("a secret", "web"), key("another", "ios")], &Entries::new());
        let pseudonyms = Some(Arc::new(crate::privacy::pseudonyms(&[1, 2])));
        Snapshot { confirmed_at: Some(Timestamp::now()), entries: Arc::new(entries), pseudonyms }
    }

    #[test]
    fn reads_what_it_wrote_and_nobody_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("made/keys.json");
        let disk = Disk::open(&file).unwrap();
        assert!(disk.load().is_none());
        let written = snapshot();
        disk.write(&written).unwrap();
        let read = disk.load().unwrap();
        assert_eq!((read.confirmed_at, read.entries.len()), (written.confirmed_at, 2));
        assert_eq!(read.pseudonyms.as_ref().unwrap().keys(), written.pseudonyms.as_ref().unwrap().keys());
        assert_eq!(read.find("a secret").unwrap().key, written.find("a secret").unwrap().key);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&file).unwrap().contains("a secret"));
    }

    #[test]
    fn a_file_cut_short_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&folder.path().join("keys.json")).unwrap();
        disk.write(&snapshot()).unwrap();
        let whole = fs::read(&disk.0).unwrap();
        fs::write(&disk.0, &whole[..whole.len() / 2]).unwrap();
        assert!(disk.load().is_none());
    }

    #[test]
    fn nothing_read_is_nothing_written() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&folder.path().join("keys.json")).unwrap();
        disk.write(&Snapshot::empty()).unwrap();
        assert!(!disk.0.exists());
    }
}
