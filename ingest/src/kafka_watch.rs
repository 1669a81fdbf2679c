//! Whether Kafka is there, as the road must know it: events go to Kafka only while it takes them, for one
//! that is handed to a broker that is away keeps its client waiting for [`crate::producer::ACK_WITHIN`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// What is known of Kafka.
#[derive(Debug)]
pub(crate) struct KafkaWatch {
    /// It answers, and has the topics.
    answers: watch::Sender<bool>,
    /// It takes messages, too: what the hot path reads.
    takes: AtomicBool,
    /// Not before the first probe.
    asked: AtomicBool,
    why: Mutex<String>,
}

/// How Kafka stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has not been asked yet.
    Unknown,
    Takes,
    /// It does not answer, or has not what we need.
    Away(String),
    /// It answers, and did not acknowledge a message in time.
    Failing(String),
}

impl KafkaWatch {
    pub(crate) fn new() -> Self {
        let (answers, _) = watch::channel(false);
        let (takes, asked) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { answers, takes, asked, why: Mutex::default() }
    }

    /// Whether new events should go to Kafka.
    pub(crate) fn takes(&self) -> bool {
        self.takes.load(Ordering::Relaxed)
    }

    /// It does not answer, as far as is known.
    pub(crate) fn is_away(&self) -> bool {
        !*self.answers.borrow()
    }

    pub(crate) fn standing(&self) -> Standing {
        let why = || self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if self.takes() {
            Standing::Takes
        } else if !self.asked.load(Ordering::Relaxed) {
            Standing::Unknown
        } else if self.is_away() {
            Standing::Away(why())
        } else {
            Standing::Failing(why())
        }
    }

    /// Waits until a probe finds Kafka there.
    pub(crate) async fn answers(&self) {
        // The sender lives in self, so the wait cannot fail.
        let _ = self.answers.subscribe().wait_for(|answers| *answers).await;
    }

    /// A probe found it. After a message was not acknowledged that says little: what was rescued into
    /// the spool is sent first, and tells.
    pub(crate) fn found(&self, something_waits: bool) {
        self.asked.store(true, Ordering::Relaxed);
        let was_away = !self.answers.send_replace(true);
        if was_away || !something_waits {
            self.acknowledged();
        }
    }

    /// A probe did not find it.
    pub(crate) fn missed(&self, why: String) {
        self.tell(why);
        self.asked.store(true, Ordering::Relaxed);
        self.answers.send_replace(false);
    }

    /// Kafka acknowledged what it did not before.
    pub(crate) fn acknowledged(&self) {
        self.takes.store(true, Ordering::Relaxed);
    }

    /// Kafka did not acknowledge a message.
    pub(crate) fn failed(&self, why: &dyn std::fmt::Display) {
        if self.takes() {
            self.tell(format!("a message was not acknowledged: {why}"));
        }
    }

    fn tell(&self, why: String) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
        self.takes.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_events_from_the_first_answer_until_it_fails() {
        let kafka = KafkaWatch::new();
        assert_eq!(kafka.standing(), Standing::Unknown);
        kafka.found(true);
        assert_eq!(kafka.standing(), Standing::Takes);
        kafka.missed("gone".into());
        assert_eq!(kafka.standing(), Standing::Away("gone".into()));
        kafka.found(true);
        assert_eq!(kafka.standing(), Standing::Takes);
    }

    #[test]
    fn after_a_message_failed_an_answer_is_not_enough_while_something_waits() {
        let kafka = KafkaWatch::new();
        kafka.found(false);
        kafka.failed(&"timed out");
        let failing = Standing::Failing("a message was not acknowledged: timed out".into());
        kafka.found(true);
        assert_eq!(kafka.standing(), failing);
        kafka.acknowledged();
        assert_eq!(kafka.standing(), Standing::Takes);
        kafka.failed(&"timed out");
        kafka.found(false);
        assert_eq!(kafka.standing(), Standing::Takes);
    }
}
