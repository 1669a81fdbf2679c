//! The player's buffer: how much has been heard, and where it ran dry. Pure; time is passed in.

use std::time::Duration;

/// What the listener's ears get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing heard yet.
    Starting,
    Playing,
    /// Ran dry at this moment, in time since the start.
    Stalled(Duration),
    /// All of the track is buffered; running dry is its end.
    Ending,
}

/// Media that was fetched and not heard yet. All of its times are since the listener's start.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// Media seconds heard in a second.
    speed: f64,
    state: State,
    buffered: Duration,
    heard: Duration,
    /// Up to when `buffered` and `heard` are right.
    at: Duration,
    stalls: Vec<Duration>,
}

impl Buffer {
    pub(crate) fn new(speed: f64) -> Self {
        let state = State::Starting;
        Self { speed, state, buffered: Duration::ZERO, heard: Duration::ZERO, at: Duration::ZERO, stalls: Vec::new() }
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        if !matches!(self.state, State::Playing | State::Ending) {
            return;
        }
        let wanted = elapsed.mul_f64(self.speed);
        let got = wanted.min(self.buffered);
        self.heard += got;
        self.buffered -= got;
        if wanted > got && self.state == State::Playing {
            self.state = State::Stalled(now - (wanted - got).div_f64(self.speed));
        }
    }

    /// A segment has arrived. Returns how long playback had stood still for it, where it had.
    pub(crate) fn push(&mut self, media: Duration, now: Duration) -> Option<Duration> {
        self.advance(now);
        self.buffered += media;
        let stalled = match self.state {
            State::Stalled(since) => Some(now - since),
            _ => None,
        };
        self.stalls.extend(stalled);
        if self.state != State::Ending {
            self.state = State::Playing;
        }
        stalled
    }

    /// No more segments will come.
    pub(crate) fn end(&mut self, now: Duration) {
        self.advance(now);
        self.state = State::Ending;
    }

    /// How long until `heard` reaches `media`, at the earliest.
    pub(crate) fn until_heard(&self, media: Duration) -> Duration {
        media.saturating_sub(self.heard).div_f64(self.speed)
    }

    /// How long until no more than `most` is buffered.
    pub(crate) fn until_below(&self, most: Duration) -> Duration {
        self.buffered.saturating_sub(most).div_f64(self.speed)
    }

    /// Up to where the track has been heard or fetched.
    pub(crate) fn reach(&self) -> Duration {
        self.heard + self.buffered
    }

    pub(crate) fn heard(&self) -> Duration {
        self.heard
    }

    pub(crate) fn stalls(&self) -> &[Duration] {
        &self.stalls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn waiting_for_the_first_segment_is_no_stall() {
        let mut buffer = Buffer::new(1.0);
        assert_eq!(buffer.push(ms(6000), ms(900)), None);
        buffer.advance(ms(1900));
        assert_eq!((buffer.heard(), buffer.stalls().len()), (ms(1000), 0));
    }

    #[test]
    fn a_stall_begins_when_the_buffer_is_dry() {
        let mut buffer = Buffer::new(2.0);
        buffer.push(ms(6000), ms(0));
        buffer.advance(ms(3500));
        assert_eq!(buffer.push(ms(6000), ms(4000)), Some(ms(1000)));
        buffer.advance(ms(5000));
        assert_eq!((buffer.heard(), buffer.stalls()), (ms(8000), &[ms(1000)][..]));
    }

    #[test]
    fn the_end_of_the_track_is_no_stall() {
        let mut buffer = Buffer::new(1.0);
        buffer.push(ms(2000), ms(0));
        buffer.end(ms(10));
        buffer.advance(ms(9000));
        assert_eq!((buffer.heard(), buffer.stalls().len()), (ms(2000), 0));
    }
}
