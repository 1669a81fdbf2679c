//! Interim answers (1xx) of the origin, passed on to the client whose request it was asked for (RFC 9110, section 15.2).
//!
//! Whoever waits for an answer that another request asks for gets none: hints are about what comes, and it comes to them
//! too. Nor does who speaks HTTP/2 or does more than read, for hyper's server sends no interim answer but the 100 of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, StatusCode};
use service::http::field::line;
use tokio::sync::Notify;

use crate::forward::end_to_end;

/// Heads that wait for their client at most; what finds no room is left out, for none of them is owed.
const QUEUE: usize = 4;

/// Bytes of a head that is passed on, at most.
const MOST: usize = 8 << 10;

/// One connection's heads, for the request that is being answered.
#[derive(Debug, Default)]
pub struct Interims(Arc<Waiting>);

/// Goes with a request to the origin.
#[derive(Debug, Clone)]
pub struct Interim {
    waiting: Arc<Waiting>,
    request: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    heads: Mutex<Heads>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Heads {
    /// Of the connection's requests, the one that is being answered.
    request: u64,
    /// As they go out.
    queue: VecDeque<Vec<u8>>,
}

impl Waiting {
    fn heads(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interims {
    /// The next request: what is there for the one before it, or still comes, goes nowhere.
    pub fn begin(&self) {
        let mut heads = self.0.heads();
        heads.request += 1;
        heads.queue.clear();
    }

    /// For what is asked on behalf of the request.
    #[must_use]
    pub fn of_request(&self) -> Interim {
        Interim { waiting: self.0.clone(), request: self.0.heads().request }
    }

    /// A head for the request that is being answered, where there is one.
    pub fn take(&self) -> Option<Vec<u8>> {
        self.0.heads().queue.pop_front()
    }

    /// The next head for the request that is being answered.
    pub async fn next(&self) -> Vec<u8> {
        loop {
            match self.take() {
                Some(head) => return head,
                None => self.0.came.notified().await,
            }
        }
    }
}

impl Interim {
    /// 100 and 101 are about the connection to the origin, and are not passed on.
    pub fn pass(&self, status: StatusCode, headers: &HeaderMap) {
        let of_the_connection = matches!(status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS);
        if of_the_connection || !status.is_informational() {
            return;
        }
        let mut headers = headers.clone();
        end_to_end(&mut headers);
        let reason = status.canonical_reason().unwrap_or_default();
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
        headers.iter().for_each(|(name, value)| line(&mut head, name.as_str(), value.as_bytes()));
        head.extend_from_slice(b"\r\n");
        let mut heads = self.waiting.heads();
        if head.len() <= MOST && heads.request == self.request && heads.queue.len() < QUEUE {
            heads.queue.push_back(head);
            self.waiting.came.notify_one();
        }
    }
}
