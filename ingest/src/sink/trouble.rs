//! What keeps inserts from succeeding, all of it at once: one batch that cannot be stored must not be
//! hidden from health by its neighbours that can.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use service::Health;
use service::health::Status;

const COMPONENT: &str = "clickhouse";

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// It passes by itself.
    Passing,
    /// Someone has to put it right.
    Lasting,
}

/// Every insert that fails at the moment; at most one a partition.
#[derive(Debug)]
pub(super) struct Troubles {
    health: Health,
    known: Mutex<BTreeMap<String, (Severity, String)>>,
}

/// One insert's place among them, until it succeeds or is given up.
pub(super) struct Trouble<'a> {
    troubles: &'a Troubles,
    what: String,
    told: bool,
}

impl Troubles {
    pub(super) fn new(health: Health) -> Self {
        Self { health, known: Mutex::default() }
    }

    /// Nothing yet: says something only when it is told.
    pub(super) fn of(&self, what: impl Into<String>) -> Trouble<'_> {
        Trouble { troubles: self, what: what.into(), told: false }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, (Severity, String)>)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        let worst = known.iter().max_by_key(|(_, (severity, _))| *severity);
        let status = match worst {
            None => Status::Ok,
            Some((what, (Severity::Passing, why))) => Status::Degraded(format!("{what}: {why}")),
            Some((what, (Severity::Lasting, why))) => Status::Down(format!("{what}: {why}")),
        };
        self.health.set(COMPONENT, status);
    }
}

impl Trouble<'_> {
    pub(super) fn tell(&mut self, severity: Severity, why: String) {
        self.told = true;
        self.troubles.change(|known| drop(known.insert(self.what.clone(), (severity, why))));
    }

    /// It succeeded: also the first sign that ClickHouse is well.
    pub(super) fn over(mut self) {
        self.told = true;
    }
}

impl Drop for Trouble<'_> {
    fn drop(&mut self) {
        if self.told {
            self.troubles.change(|known| drop(known.remove(&self.what)));
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn one_lasting_trouble_is_not_hidden_by_a_success() {
        let health = Health::new("sink");
        health.ready();
        let troubles = Troubles::new(health.clone());
        let code = || health.brief_response().status();
        let mut passing = troubles.of("a");
        passing.tell(Severity::Passing, "away".into());
        assert_eq!(code(), StatusCode::OK);
        let mut lasting = troubles.of("b");
        lasting.tell(Severity::Lasting, "unreadable".into());
        passing.over();
        troubles.of("c").over();
        assert_eq!(code(), StatusCode::SERVICE_UNAVAILABLE);
        drop(lasting);
        assert_eq!(code(), StatusCode::OK);
    }
}
