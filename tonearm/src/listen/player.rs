//! One player: from a decision to the last second that was heard.

mod ladder;
mod report;

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio::time::Instant;
use wire::decision::{RouteAnswer, RouteCandidate};
use wire::{EdgeId, PopId};

use super::buffer::Buffer;
use super::candidates::millis;
use super::fetch::{Fetched, Fetcher, without_query};
use super::playlist::Segment;
use super::reporter::Reporter;
use ladder::Ladder;
use report::Report;

/// How far a player fetches ahead.
const AHEAD: Duration = Duration::from_secs(30);

/// What one player is to do.
#[derive(Debug, Clone)]
pub(crate) struct Play {
    pub(crate) track: String,
    /// Stop after so much media; none plays the whole track.
    pub(crate) most: Option<Duration>,
    /// Media seconds heard in a second.
    pub(crate) speed: f64,
}

/// One media object as an edge served it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Served {
    pub(crate) edge: EdgeId,
    pub(crate) pop: PopId,
    pub(crate) object: String,
    pub(crate) bytes: usize,
    pub(crate) ttfb_ms: f64,
    pub(crate) cache_status: Option<String>,
}

impl Served {
    /// Whether the edge had it, by its own `Cache-Status`.
    pub(crate) fn was_hit(&self) -> bool {
        self.cache_status.as_deref().is_some_and(|status| status.split(';').any(|part| part.trim() == "hit"))
    }
}

/// How it went.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Played {
    pub(crate) heard_ms: u64,
    pub(crate) startup_ms: f64,
    pub(crate) stalls_ms: Vec<u64>,
    pub(crate) completed: bool,
    pub(crate) bitrate_kbps: u64,
    pub(crate) served: Vec<Served>,
}

/// A player with its decision, its buffer and what it tells ingest.
pub(crate) struct Player<'a> {
    play: &'a Play,
    answer: &'a RouteAnswer,
    /// The candidate in use.
    at: usize,
    fetcher: &'a Fetcher,
    start: Instant,
    buffer: Buffer,
    report: Report<'a>,
    served: Vec<Served>,
}

impl<'a> Player<'a> {
    pub(crate) fn new(play: &'a Play, answer: &'a RouteAnswer, fetcher: &'a Fetcher, reporter: &'a Reporter) -> Self {
        let report = Report::new(play, answer.decision_id, reporter);
        let (start, buffer) = (Instant::now(), Buffer::new(play.speed));
        Self { play, answer, at: 0, fetcher, start, buffer, report, served: Vec::new() }
    }

    /// Plays until the track's end or the wanted time, whichever is first.
    ///
    /// # Errors
    /// When no candidate serves the track.
    pub(crate) async fn run(mut self) -> anyhow::Result<Played> {
        let mut ladder = self.open().await?;
        self.report.duration(ladder.list.duration());
        let end = self.play.most.map_or(ladder.list.duration(), |most| most.min(ladder.list.duration()));
        let mut startup = None;
        for index in 0..ladder.list.segments.len() {
            self.wait_for_room(end).await;
            if self.buffer.reach() >= end {
                break;
            }
            let media = ladder.list.segments[index].media;
            ladder = self.fetch_segment(ladder, index).await?;
            let stalled = self.buffer.push(media, self.start.elapsed());
            if startup.is_none() {
                let waited = self.start.elapsed();
                startup = Some(waited);
                self.report.start(self.candidate(), &self.buffer, waited).await;
            }
            if let Some(stall) = stalled {
                self.report.stall(self.candidate(), &self.buffer, stall).await;
            }
            ladder = self.adapt(ladder).await;
        }
        self.buffer.end(self.start.elapsed());
        self.listen_for(self.buffer.until_heard(end)).await;
        let completed = end == ladder.list.duration();
        self.report.end(self.candidate(), &self.buffer, completed).await;
        Ok(self.played(startup.unwrap_or_default(), completed, &ladder))
    }

    fn played(self, startup: Duration, completed: bool, ladder: &Ladder) -> Played {
        Played {
            heard_ms: whole_millis(self.buffer.heard()),
            startup_ms: millis(startup),
            stalls_ms: self.buffer.stalls().iter().copied().map(whole_millis).collect(),
            completed,
            bitrate_kbps: ladder.variant().bandwidth / 1000,
            served: self.served,
        }
    }

    fn candidate(&self) -> &'a RouteCandidate {
        &self.answer.candidates[self.at]
    }

    /// Listens until there is room for another segment, or what is buffered reaches the end.
    async fn wait_for_room(&mut self, end: Duration) {
        self.buffer.advance(self.start.elapsed());
        if self.buffer.reach() < end {
            self.listen_for(self.buffer.until_below(AHEAD)).await;
        }
    }

    /// Lets time pass, and tells ingest of it where a progress is due.
    async fn listen_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let due = Instant::now() + self.buffer.until_heard(self.report.next_progress());
            tokio::time::sleep_until(due.min(until)).await;
            self.buffer.advance(self.start.elapsed());
            self.report.progress_if_due(self.candidate(), &self.buffer).await;
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// Fetches while the listener goes on listening.
    async fn fetch(&mut self, url: &str) -> anyhow::Result<Fetched> {
        let fetcher = self.fetcher;
        let fetch = fetcher.get(url);
        tokio::pin!(fetch);
        let fetched = loop {
            let due = self.buffer.until_heard(self.report.next_progress()).max(Duration::from_millis(20));
            tokio::select! {
                fetched = &mut fetch => break fetched?,
                () = tokio::time::sleep(due) => {
                    self.buffer.advance(self.start.elapsed());
                    self.report.progress_if_due(self.candidate(), &self.buffer).await;
                }
            }
        };
        self.note(url, &fetched);
        Ok(fetched)
    }

    fn note(&mut self, url: &str, fetched: &Fetched) {
        let inputs = &self.candidate().inputs;
        let path = without_query(url);
        let name: Vec<&str> = path.rsplitn(3, '/').take(2).collect();
        let object = name.into_iter().rev().collect::<Vec<_>>().join("/");
        let cache_status = fetched.cache_status().map(str::to_owned);
        self.report.cache_status(cache_status.as_deref());
        self.served.push(Served {
            edge: inputs.edge.clone(),
            pop: inputs.pop.clone(),
            object,
            bytes: fetched.body.len(),
            ttfb_ms: millis(fetched.ttfb),
            cache_status,
        });
    }

    /// The candidates in their order, until one has the track's playlists.
    async fn open(&mut self) -> anyhow::Result<Ladder> {
        loop {
            match self.open_here(None).await {
                Ok(ladder) => return Ok(ladder),
                Err(error) => self.next_candidate(error)?,
            }
        }
    }

    /// The same segment from the next candidate, when this one fails.
    async fn fetch_segment(&mut self, mut ladder: Ladder, index: usize) -> anyhow::Result<Ladder> {
        loop {
            let Segment { url, .. } = ladder.list.segments.get(index).context("the candidates' playlists differ")?;
            let url = url.to_string();
            match self.fetch(&url).await {
                Ok(fetched) => {
                    ladder.measured(fetched.body.len(), fetched.total);
                    return Ok(ladder);
                }
                Err(error) => {
                    self.report.error(self.candidate(), &self.buffer).await;
                    self.next_candidate(error)?;
                    ladder = self.reopen(ladder).await?;
                }
            }
        }
    }

    async fn reopen(&mut self, old: Ladder) -> anyhow::Result<Ladder> {
        loop {
            match self.open_here(Some(old.rung)).await {
                Ok(ladder) => return Ok(ladder),
                Err(error) => self.next_candidate(error)?,
            }
        }
    }

    fn next_candidate(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        let failed = &self.candidate().inputs.edge;
        if self.at + 1 == self.answer.candidates.len() {
            return Err(error.context(format!("{failed} failed and was the last candidate")));
        }
        tracing::warn!(edge.id = %failed, error = format!("{error:#}"), "going on to the next candidate");
        self.at += 1;
        Ok(())
    }
}

pub(crate) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
