//! Orders that go on behind their answers: found by their ids, and gone on with after a restart.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt, stream};
use serde::Serialize;
use service::Shutdown;
use uuid::Uuid;
use wire::Timestamp;
use wire::track::WarmResult;

use super::journal::{self, Line, Story};
use super::order::{MAX_LISTED, WarmRequest};
use super::pace::Pace;
use super::warm_one;
use crate::cache::framed_log::FramedLog;
use crate::library::Library;

/// Orders that are remembered; the oldest that has ended goes first.
const REMEMBERED: usize = 64;

/// Orders under way.
const RUNNING: usize = 8;

#[derive(Debug)]
pub struct Jobs {
    library: Arc<Library>,
    concurrency: usize,
    dir: PathBuf,
    /// By id, which is by age.
    jobs: Mutex<BTreeMap<Uuid, Arc<Job>>>,
    /// Ends all of them with the edge; the next start goes on with them.
    ended: Shutdown,
}

#[derive(Debug)]
struct Job {
    story: Mutex<Story>,
    /// None once the order has ended.
    journal: Mutex<Option<FramedLog<Line>>>,
    cancelled: Shutdown,
}

/// How far an order is.
#[derive(Debug, Serialize)]
pub struct Progress {
    pub id: Uuid,
    pub state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    pub ordered_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// Why it as a whole has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// None while the bucket is being listed.
    pub keys: Option<usize>,
    pub done: usize,
    /// Of these.
    pub failed: usize,
    /// Held whole now.
    pub bytes: u64,
    /// Of them asked of the origin for this order.
    pub fetched: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<WarmResult>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Running,
    /// Each key has its result.
    Done,
    Cancelled,
    Failed,
}

/// Why an order is not taken.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error("{RUNNING} warm orders are under way")]
    Busy,
    #[error("the order cannot be written to disk: {0}")]
    NotKept(#[from] io::Error),
}

const CANCELLED: &str = "cancelled";

impl Jobs {
    /// With the orders of the last run, of which those that had not ended go on.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(library: Arc<Library>, dir: &Path, concurrency: usize, ended: Shutdown) -> io::Result<Arc<Self>> {
        std::fs::create_dir_all(dir)?;
        let jobs = Arc::new(Self { library, concurrency, dir: dir.to_owned(), jobs: Mutex::default(), ended });
        for file in std::fs::read_dir(dir)? {
            let path = file?.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()?.parse::<Uuid>().ok());
            let (Some(id), true) = (id, path.extension().is_some_and(|extension| extension == "log")) else { continue };
            match journal::read(&path)? {
                Some(story) => jobs.clone().begin(id, story)?,
                None => std::fs::remove_file(&path)?,
            }
        }
        Ok(jobs)
    }

    fn path(&self, id: Uuid) -> PathBuf {
        self.dir.join(format!("{id}.log"))
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<Uuid, Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an order; returns its id once a restart would go on with it.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn order(self: &Arc<Self>, order: WarmRequest) -> Result<Uuid, JobError> {
        if self.jobs().values().filter(|job| job.is_running()).count() >= RUNNING {
            return Err(JobError::Busy);
        }
        let (id, story) = (Uuid::now_v7(), Story::new(order, Timestamp::now()));
        let jobs = self.clone();
        let begun = tokio::task::spawn_blocking(move || jobs.begin(id, story)).await;
        begun.unwrap_or_else(|panic| Err(io::Error::other(panic)))?;
        self.forget_oldest();
        Ok(id)
    }

    /// Writes what is known of an order, and goes on with it where it has not ended.
    fn begin(self: Arc<Self>, id: Uuid, story: Story) -> io::Result<()> {
        let running = story.ended.is_none();
        let journal = match running {
            true => Some(journal::write(&self.path(id), &story)?),
            false => None,
        };
        let job = Arc::new(Job {
            story: Mutex::new(story),
            journal: Mutex::new(journal),
            cancelled: self.ended.child_token(),
        });
        self.jobs().insert(id, job.clone());
        if running {
            let background = self.library.background.clone();
            background.spawn(async move { job.run(&self).await });
        }
        Ok(())
    }

    fn forget_oldest(&self) {
        let mut jobs = self.jobs();
        while jobs.len() > REMEMBERED {
            let oldest = jobs.iter().find(|(_, job)| !job.is_running()).map(|(id, _)| *id);
            let Some(oldest) = oldest else { return };
            jobs.remove(&oldest);
            // One that cannot be removed comes back with the next start, and goes again.
            let _ = std::fs::remove_file(self.path(oldest));
        }
    }

    /// How far an order is, with some of its results, in the order in which they came.
    #[must_use]
    pub fn progress(&self, id: Uuid, offset: usize, limit: usize) -> Option<Progress> {
        let job = self.jobs().get(&id)?.clone();
        Some(job.progress(id, offset, limit))
    }

    /// All orders, the newest first, without their results.
    #[must_use]
    pub fn list(&self) -> Vec<Progress> {
        self.jobs().iter().rev().map(|(id, job)| job.progress(*id, 0, 0)).collect()
    }

    /// Ends an order; false where there is none.
    #[must_use]
    pub fn cancel(&self, id: Uuid) -> bool {
        let Some(job) = self.jobs().get(&id).cloned() else { return false };
        if job.is_running() {
            job.end(Some(CANCELLED.to_owned()));
            job.cancelled.cancel();
        }
        true
    }
}

impl Job {
    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_running(&self) -> bool {
        self.story().ended.is_none()
    }

    async fn run(self: Arc<Self>, jobs: &Jobs) {
        // Cancelled by an operator it has ended; by the edge's end it goes on with the next start.
        tokio::select! {
            () = self.cancelled.cancelled() => {}
            outcome = self.fetch_all(jobs) => self.end(outcome.err()),
        }
    }

    async fn fetch_all(&self, jobs: &Jobs) -> Result<(), String> {
        self.list(&jobs.library).await?;
        let (left, order) = {
            let story = self.story();
            (story.left(), story.order.clone())
        };
        let pace = Pace::new(order.bytes_per_s.unwrap_or(0));
        let fetched = stream::iter(left).map(|key| warm_one(&jobs.library, key, &pace));
        let mut fetched = std::pin::pin!(fetched.buffer_unordered(jobs.concurrency));
        while let Some(result) = fetched.next().await {
            self.note(Line::Result(result.clone()));
            self.story().results.push(result);
        }
        Ok(())
    }

    async fn list(&self, library: &Library) -> Result<(), String> {
        let prefix = match &*self.story() {
            story if story.listed => return Ok(()),
            story => story.order.prefix.clone().unwrap_or_default(),
        };
        let listed = library.origin.origin.list(&prefix, MAX_LISTED).await.map_err(|error| error.to_string())?;
        let listed = listed.ok_or("the origin is no bucket and cannot be listed")?;
        if listed.len() > MAX_LISTED {
            return Err(format!("more than {MAX_LISTED} keys begin so: give longer prefixes"));
        }
        // A folder's marker is nobody's to listen to.
        let keys: Vec<String> = listed.into_iter().filter(|key| !key.ends_with('/')).collect();
        let mut story = self.story();
        (story.keys, story.listed) = (keys, true);
        for keys in story.keys.chunks(500) {
            self.note(Line::Keys(keys.to_vec()));
        }
        self.note(Line::Listed);
        Ok(())
    }

    /// Not synced: after a loss of power a few keys are looked at again.
    fn note(&self, line: Line) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = journal.as_mut()
            && let Err(error) = log.append(&line)
        {
            tracing::warn!(%error, "a warm order's progress cannot be written; a restart repeats it");
        }
    }

    fn end(&self, error: Option<String>) {
        let at = Timestamp::now();
        let mut story = self.story();
        if story.ended.is_none() {
            story.ended = Some((at, error.clone()));
            self.note(Line::Ended { at, error });
            self.journal.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    fn progress(&self, id: Uuid, offset: usize, limit: usize) -> Progress {
        let story = self.story();
        let results = &story.results;
        let state = match &story.ended {
            None => State::Running,
            Some((_, None)) => State::Done,
            Some((_, Some(reason))) if reason == CANCELLED => State::Cancelled,
            Some(_) => State::Failed,
        };
        Progress {
            id,
            state,
            prefix: story.order.prefix.clone(),
            ordered_at: story.ordered_at,
            ended_at: story.ended.as_ref().map(|(at, _)| *at),
            error: story.ended.as_ref().and_then(|(_, error)| error.clone()),
            keys: story.listed.then_some(story.keys.len()),
            done: results.len(),
            failed: results.iter().filter(|result| result.error.is_some()).count(),
            bytes: results.iter().filter_map(|result| result.bytes).sum(),
            fetched: results.iter().map(|result| result.fetched).sum(),
            results: results.iter().skip(offset).take(limit).cloned().collect(),
        }
    }
}
