//! An order on disk, with what has come of it: a restart goes on where the last run ended.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use wire::Timestamp;
use wire::track::WarmResult;

use super::order::WarmRequest;
use crate::cache::framed_log::{self, FramedLog};

/// Keys of one line: far below what one may hold.
const KEYS: usize = 500;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Line {
    Ordered {
        order: WarmRequest,
        at: Timestamp,
    },
    /// Some of what is to be fetched.
    Keys(Vec<String>),
    /// These were all.
    Listed,
    Result(WarmResult),
    /// With the reason where the order as a whole has failed.
    Ended {
        at: Timestamp,
        error: Option<String>,
    },
}

/// What a journal adds up to.
#[derive(Debug, Clone)]
pub struct Story {
    pub order: WarmRequest,
    pub ordered_at: Timestamp,
    pub keys: Vec<String>,
    pub listed: bool,
    pub results: Vec<WarmResult>,
    pub ended: Option<(Timestamp, Option<String>)>,
}

impl Story {
    #[must_use]
    pub fn new(order: WarmRequest, ordered_at: Timestamp) -> Self {
        // Keys that were named are all there are.
        let (keys, listed) = (order.keys.clone(), order.prefix.is_none());
        Self {
            order: WarmRequest { keys: Vec::new(), ..order },
            ordered_at,
            keys,
            listed,
            results: Vec::new(),
            ended: None,
        }
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Ordered { .. } => {}
            Line::Keys(keys) => self.keys.extend(keys),
            Line::Listed => self.listed = true,
            Line::Result(result) => self.results.push(result),
            Line::Ended { at, error } => self.ended = Some((at, error)),
        }
    }

    fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        let ordered = Line::Ordered { order: self.order.clone(), at: self.ordered_at };
        let keys = self.keys.chunks(KEYS).map(|keys| Line::Keys(keys.to_vec()));
        let results = self.results.iter().cloned().map(Line::Result);
        let ended = self.ended.clone().map(|(at, error)| Line::Ended { at, error });
        std::iter::once(ordered).chain(keys).chain(self.listed.then_some(Line::Listed)).chain(results).chain(ended)
    }

    /// What is left to be fetched, in the order of the keys.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let done: std::collections::HashSet<&String> = self.results.iter().map(|result| &result.key).collect();
        self.keys.iter().filter(|key| !done.contains(key)).cloned().collect()
    }
}

/// A journal as it was left; none where not even the order is whole.
///
/// # Errors
/// When the file cannot be read.
pub fn read(path: &Path) -> io::Result<Option<Story>> {
    let mut story = None;
    framed_log::read(path, |line| match (line, &mut story) {
        (Line::Ordered { order, at }, None) => {
            story = Some(Story { listed: false, ..Story::new(order, at) });
        }
        (line, Some(story)) => story.take(line),
        (_, None) => {}
    })?;
    // Half a list is none.
    Ok(story.map(|story: Story| if story.listed { story } else { Story { keys: Vec::new(), ..story } }))
}

/// Writes a journal anew, and on from there.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, story: &Story) -> io::Result<FramedLog<Line>> {
    FramedLog::rewrite(path, story.lines())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("order.log");
        let order = WarmRequest { keys: (0..1200).map(|n| format!("k{n}")).collect(), ..WarmRequest::default() };
        let mut log = write(&path, &Story::new(order, Timestamp::now())).unwrap();
        let result = WarmResult { key: "k7".into(), bytes: Some(1), fetched: 1, error: None };
        log.append(&Line::Result(result.clone())).unwrap();
        let story = read(&path).unwrap().unwrap();
        assert_eq!((story.keys.len(), story.left().len(), story.listed), (1200, 1199, true));
        assert_eq!((story.results, story.ended), (vec![result], None));
        let listing = WarmRequest { prefix: Some("k".into()), ..WarmRequest::default() };
        let mut log = write(&path, &Story::new(listing, Timestamp::now())).unwrap();
        log.append(&Line::Keys(vec!["k1".into()])).unwrap();
        let story = read(&path).unwrap().unwrap();
        assert!(!story.listed && story.keys.is_empty(), "what is not listed to its end is listed again");
        std::fs::write(&path, "no journal").unwrap();
        assert!(read(&path).unwrap().is_none());
    }
}
