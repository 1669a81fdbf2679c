//! A time that something of a connection may take, again and again: its heads, its requests.
//!
//! A timer for each would twice lock and rearrange what all timers of the runtime share. One that is only ever moved on
//! costs next to nothing: tokio looks where it has come to when it would have fired. So each use with a duration of
//! its own has a timer of its own.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// A connection's; clones are the same.
#[derive(Debug, Clone)]
pub(super) struct MovedTimer(Arc<Mutex<Pin<Box<tokio::time::Sleep>>>>);

impl MovedTimer {
    /// Call within a runtime.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Box::pin(tokio::time::sleep(Duration::ZERO)))))
    }

    /// One use of it; there must be one at a time.
    pub(super) fn after(&self, duration: Duration) -> MovedSleep {
        MovedSleep { timer: self.clone(), deadline: tokio::time::Instant::now() + duration }
    }
}

/// For hyper, which has one at a time for a connection.
impl Timer for MovedTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(self.after(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(MovedSleep { timer: self.clone(), deadline: deadline.into() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

pub(super) struct MovedSleep {
    timer: MovedTimer,
    deadline: tokio::time::Instant,
}

impl Sleep for MovedSleep {}

impl Future for MovedSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut sleep = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sleep.deadline() != self.deadline {
            sleep.as_mut().reset(self.deadline);
        }
        sleep.as_mut().poll(context)
    }
}
