//! The purges on disk: synced before their orders are answered, read at the next start.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::records::{Entry, Records};
use crate::cache::framed_log::{self, FramedLog};

/// Targets of one line: far below what one may hold, however long their names.
const TARGETS: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Line {
    /// So many purges there have been, though nothing may be left to do for them.
    Latest(u64),
    Purge(Entry),
}

#[derive(Debug)]
pub struct PurgeLog {
    path: PathBuf,
    log: FramedLog<Line>,
}

/// What the last run left to be done, and its newest purge.
///
/// # Errors
/// When the log cannot be read.
pub fn read(path: &Path) -> io::Result<(Records, u64)> {
    let (mut records, mut latest) = (Records::default(), 0);
    let torn = framed_log::read(path, |line| match line {
        Line::Latest(purge) => latest = latest.max(purge),
        Line::Purge(entry) => {
            latest = latest.max(entry.purge);
            // It was not refused when it was ordered, and those before it are no more now than then.
            let _ = records.add(&entry);
        }
    })?;
    if torn > 0 {
        tracing::warn!(bytes = torn, "the end of the log of purges was torn: that order was never answered");
    }
    Ok((records, latest))
}

impl PurgeLog {
    /// # Errors
    /// When it cannot be written; the one before it is left then.
    pub fn rewrite(path: &Path, latest: u64, records: &Records) -> io::Result<Self> {
        let lines = std::iter::once(Line::Latest(latest)).chain(records.entries().map(Line::Purge));
        Ok(Self { path: path.to_owned(), log: FramedLog::rewrite(path, lines)? })
    }

    /// As [`FramedLog::go_on`].
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn go_on(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), log: FramedLog::go_on(path)? })
    }

    /// # Errors
    /// As [`PurgeLog::rewrite`].
    pub fn replace(&mut self, latest: u64, records: &Records) -> io::Result<()> {
        let path = self.path.clone();
        *self = Self::rewrite(&path, latest, records)?;
        Ok(())
    }

    /// Returns once it is on disk.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn append(&mut self, entry: Entry) -> io::Result<()> {
        for targets in entry.targets.chunks(TARGETS) {
            self.log.append(&Line::Purge(Entry { targets: targets.to_vec(), ..entry }))?;
        }
        self.log.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::{Stamp, Target};
    use super::*;

    #[test]
    fn what_was_appended_is_read_and_what_is_done_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("purge.log");
        let mut log = PurgeLog::rewrite(&path, 6, &Records::default()).unwrap();
        let many = (0..500).map(|n| Target::Key(format!("k{n}").into())).collect();
        log.append(Entry::new(7, false, 0, many)).unwrap();
        log.append(Entry::new(8, true, 90, vec![Target::Tag("t".into()), Target::Prefix("k4".into())])).unwrap();
        let (mut records, latest) = read(&path).unwrap();
        assert_eq!((records.len(), latest), (502, 8));
        let stamp = Stamp { hard: 7, soft: 8, soft_at: 90 };
        assert_eq!(records.find("k499", std::iter::empty()), stamp);
        records.forget_through(7);
        log.replace(8, &records).unwrap();
        let (records, latest) = read(&path).unwrap();
        assert_eq!((records.len(), latest, records.find("k499", std::iter::empty()).hard), (2, 8, 0));
    }
}
