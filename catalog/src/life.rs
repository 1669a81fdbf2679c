//! The life of a track: which step may follow which. The trigger `tracks_life` of
//! `migrations/postgres` refuses the same steps to whoever writes past this code.
//!
//! ```text
//!             publish              rolled out
//!   ready ---------------> rolling_out -----> live ---> withdrawn --register--> ready
//!                            ^  |  ^-- publish --'         ^
//!                 publish anew  '-------- withdraw --------'
//! ```

use wire::track::TrackState;

/// Where a track stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    pub state: TrackState,
    /// Counts publications; 0 before the first.
    pub version: u32,
}

/// What somebody wants of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is registered again; `changed` when with another specification.
    Register { changed: bool },
    /// It is to be heard; `same` when this very publication was ordered last: same specification, same POPs.
    Publish { same: bool },
    /// All edges of this version are warm, or their deadline has passed.
    RolledOut { version: u32 },
    /// It is no longer to be heard.
    Withdraw,
}

/// Why a step is impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the track is rolling out: its objects are on their way to the edges; wait until it is live, or withdraw it"
    )]
    RollingOut,
    #[error("the track is not published, so it cannot be withdrawn")]
    NotPublished,
    #[error("the track is withdrawn; register it again before it is published")]
    Withdrawn,
    #[error("the rollout is of another version, or over")]
    Superseded,
}

impl Life {
    /// A track that was just registered.
    pub const NEW: Self = Self { state: TrackState::Ready, version: 0 };

    /// Where the step leads; to where the track stands already when the step was taken before.
    ///
    /// # Errors
    /// [`Refusal`] when the step cannot follow.
    pub fn after(self, step: Step) -> Result<Self, Refusal> {
        use TrackState::{Live, Ready, RollingOut, Withdrawn};
        let become_state = |state| Ok(Self { state, ..self });
        match (self.state, step) {
            (RollingOut, Step::Register { changed: true }) => Err(Refusal::RollingOut),
            (Withdrawn, Step::Register { .. }) => become_state(Ready),
            (Ready | RollingOut | Live, Step::Register { .. }) => Ok(self),
            (Withdrawn, Step::Publish { .. }) => Err(Refusal::Withdrawn),
            (RollingOut | Live, Step::Publish { same: true }) => Ok(self),
            (Ready | RollingOut | Live, Step::Publish { .. }) => {
                Ok(Self { state: RollingOut, version: self.version.saturating_add(1) })
            }
            (RollingOut, Step::RolledOut { version }) if version == self.version => become_state(Live),
            (_, Step::RolledOut { .. }) => Err(Refusal::Superseded),
            (Ready, Step::Withdraw) => Err(Refusal::NotPublished),
            (RollingOut | Live | Withdrawn, Step::Withdraw) => become_state(Withdrawn),
        }
    }
}

#[cfg(test)]
mod tests {
    use TrackState::{Live, Ready, RollingOut, Withdrawn};

    use super::*;

    #[test]
    fn every_step_from_every_state() {
        let at = |state| Life { state, version: 3 };
        let next = |state| Ok(Life { state, version: 4 });
        let stays = |state| Ok(at(state));
        let (changed, same_spec) = (Step::Register { changed: true }, Step::Register { changed: false });
        let (publish, again) = (Step::Publish { same: false }, Step::Publish { same: true });
        let (rolled_out, late) = (Step::RolledOut { version: 3 }, Step::RolledOut { version: 2 });
        let table = [
            (Ready, [stays(Ready), stays(Ready), next(RollingOut), next(RollingOut)]),
            (RollingOut, [Err(Refusal::RollingOut), stays(RollingOut), next(RollingOut), stays(RollingOut)]),
            (Live, [stays(Live), stays(Live), next(RollingOut), stays(Live)]),
            (Withdrawn, [stays(Ready), stays(Ready), Err(Refusal::Withdrawn), Err(Refusal::Withdrawn)]),
        ];
        for (state, expected) in table {
            assert_eq!([changed, same_spec, publish, again].map(|step| at(state).after(step)), expected, "{state:?}");
        }
        let table = [
            (Ready, [Err(Refusal::Superseded), Err(Refusal::Superseded), Err(Refusal::NotPublished)]),
            (RollingOut, [stays(Live), Err(Refusal::Superseded), stays(Withdrawn)]),
            (Live, [Err(Refusal::Superseded), Err(Refusal::Superseded), stays(Withdrawn)]),
            (Withdrawn, [Err(Refusal::Superseded), Err(Refusal::Superseded), stays(Withdrawn)]),
        ];
        for (state, expected) in table {
            assert_eq!([rolled_out, late, Step::Withdraw].map(|step| at(state).after(step)), expected, "{state:?}");
        }
    }
}
