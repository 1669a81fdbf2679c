//! One listener's turns: session after session, play after play, event after event.

use rand::RngExt;
use rand::rngs::StdRng;
use uuid::Uuid;
use wire::event::{AcceptedEvent, Consent, Event, EventType, WireFormat};
use wire::{DecisionId, PlayId, SessionId, Timestamp, TrackId};

use super::people::{self, Library, Person};

/// A player reports this often.
const STEP_MS: u64 = 30_000;
/// Plays that are skipped, of 100, and how far at most such a one gets.
const SKIPPED: u32 = 25;
const SKIPPED_WITHIN_MS: u64 = 60_000;

pub(super) struct Listener {
    person: Person,
    session: SessionId,
    /// The player's clock less the true one.
    clock_ms: i64,
    plays_left: u32,
    /// Which ingest process its connection leads to.
    pub(super) ingest: usize,
    play: Option<Play>,
}

struct Play {
    id: PlayId,
    decision: DecisionId,
    track: TrackId,
    duration_ms: u64,
    /// How much will be heard before it ends.
    until_ms: u64,
    played_ms: u64,
    /// Position less what was played: what seeks made of it.
    moved_ms: u64,
    seq: u32,
    bitrate_kbps: u32,
    /// Something happened between two reports; the report comes after so long.
    resumes: Option<u64>,
}

/// What happens, and how long until the next.
struct Step {
    what: EventType,
    stall_ms: Option<u64>,
    next_ms: u64,
}

impl Listener {
    pub(super) fn new(random: &mut StdRng) -> Self {
        let person = Person::new(random);
        let session = SessionId::new(Uuid::nil().to_string()).expect("a UUID is printable");
        Self { person, session, clock_ms: 0, plays_left: 0, ingest: 0, play: None }
    }

    /// The event of this moment, and the moment of the next.
    pub(super) fn turn(&mut self, now: i64, library: &Library, random: &mut StdRng) -> (AcceptedEvent, i64) {
        let mut play = match self.play.take() {
            Some(play) => play,
            None => self.begin(now, library, random),
        };
        let step = play.step(random);
        let event = self.event(now, &play, &step, random);
        play.seq += 1;
        if !matches!(step.what, EventType::Complete | EventType::Skip) {
            self.play = Some(play);
        }
        (event, now + step.next_ms as i64 + random.random_range(0..40))
    }

    fn begin(&mut self, now: i64, library: &Library, random: &mut StdRng) -> Play {
        if self.plays_left == 0 {
            // A third of them come again, the others are somebody else.
            if random.random_range(0..3) > 0 {
                self.person = Person::new(random);
            }
            self.session = SessionId::new(people::id(now, random).to_string()).expect("a UUID is printable");
            self.clock_ms = random.random_range(-1500..1500);
            self.plays_left = random.random_range(4..17);
            self.ingest = random.random_range(0..super::INGESTS);
        }
        self.plays_left -= 1;
        // A connection is kept alive from one report to the next, mostly.
        if random.random_range(0..4) == 0 {
            self.ingest = random.random_range(0..super::INGESTS);
        }
        Play::new(now, self.person.bitrate_kbps, library, random)
    }

    fn event(&self, now: i64, play: &Play, step: &Step, random: &mut StdRng) -> AcceptedEvent {
        let client_ts = moment(now + self.clock_ms);
        let sent_at = client_ts.saturating_add_millis(random.random_range(1..12));
        let received_at = moment(now + random.random_range(15..120));
        let skew_ms = received_at.millis_since(sent_at);
        AcceptedEvent {
            event: self.posted(client_ts, sent_at, play, step, random),
            app: self.person.app.into(),
            ingest_id: String::new(),
            ingest_seq: 0,
            received_at,
            event_ts: client_ts.saturating_add_millis(skew_ms),
            skew_ms,
            wire_format: WireFormat::Json,
            country: Some(self.person.country.into()),
            asn: self.person.asn,
            client_net: self.person.client_net.clone(),
        }
    }

    fn posted(&self, client_ts: Timestamp, sent_at: Timestamp, play: &Play, step: &Step, random: &mut StdRng) -> Event {
        Event {
            event_id: people::id(client_ts.as_millis(), random),
            event_type: step.what,
            session_id: self.session.clone(),
            track_id: play.track.clone(),
            client_ts,
            sent_at: Some(sent_at),
            play_id: Some(play.id.clone()),
            seq: Some(play.seq),
            user_id: Some(self.person.user_id.clone()),
            anon_id: None,
            position_ms: Some(play.played_ms + play.moved_ms),
            duration_ms: Some(play.duration_ms),
            played_ms: Some(play.played_ms),
            stall_ms: step.stall_ms,
            bitrate_kbps: Some(play.bitrate_kbps),
            codec: Some("mp4a.40.2".into()),
            device: Some(self.person.device.into()),
            os: Some(self.person.os.into()),
            app_version: Some(self.person.app_version.into()),
            pop: Some(self.person.pop.clone()),
            edge_id: Some(self.person.edge.clone()),
            decision_id: Some(play.decision),
            cache_status: Some(if random.random_range(0..10) > 0 { "hit" } else { "miss" }.into()),
            error_code: None,
            consent: Some(Consent::Granted),
            schema_version: None,
            extra: None,
        }
    }
}

impl Play {
    fn new(now: i64, bitrate_kbps: u32, library: &Library, random: &mut StdRng) -> Self {
        let (track, duration_ms) = library.choose(random);
        let skips = random.random_range(0..100) < SKIPPED;
        let until_ms = if skips { random.random_range(1000..SKIPPED_WITHIN_MS) } else { duration_ms };
        Self {
            id: PlayId::new(people::id(now, random).to_string()).expect("a UUID is printable"),
            decision: DecisionId(people::id(now, random)),
            track,
            duration_ms,
            until_ms,
            played_ms: 0,
            moved_ms: 0,
            seq: 0,
            bitrate_kbps,
            resumes: None,
        }
    }

    fn step(&mut self, random: &mut StdRng) -> Step {
        if self.seq == 0 {
            let waited = Some(random.random_range(40..900));
            return Step { stall_ms: waited, ..self.goes_on(EventType::PlayStart, random) };
        }
        if let Some(rest) = self.resumes.take() {
            return Step { what: EventType::Resume, stall_ms: None, next_ms: rest };
        }
        // Timers of players are late, audio is heard as it is.
        let heard = (STEP_MS + random.random_range(0..40) - 20).min(self.until_ms - self.played_ms);
        self.played_ms += heard;
        if self.played_ms == self.until_ms {
            let what = if self.until_ms == self.duration_ms { EventType::Complete } else { EventType::Skip };
            return Step { what, stall_ms: None, next_ms: random.random_range(200..2000) };
        }
        match random.random_range(0..100) {
            0..2 => self.stalls(random),
            2..4 => self.pauses(random),
            4 => self.goes_on(EventType::Seek, random),
            5 => {
                self.bitrate_kbps = if self.bitrate_kbps == 128 { 256 } else { 128 };
                self.goes_on(EventType::QualityChange, random)
            }
            _ => self.goes_on(EventType::Progress, random),
        }
    }

    fn goes_on(&mut self, what: EventType, random: &mut StdRng) -> Step {
        if matches!(what, EventType::Seek) {
            self.moved_ms += random.random_range(1000..20_000);
        }
        Step { what, stall_ms: None, next_ms: STEP_MS.min(self.until_ms - self.played_ms) }
    }

    fn stalls(&mut self, random: &mut StdRng) -> Step {
        let stall_ms = random.random_range(150..3000);
        let rest = self.goes_on(EventType::Stall, random).next_ms;
        Step { what: EventType::Stall, stall_ms: Some(stall_ms), next_ms: rest + stall_ms }
    }

    fn pauses(&mut self, random: &mut StdRng) -> Step {
        self.resumes = Some(self.goes_on(EventType::Resume, random).next_ms);
        Step { what: EventType::Pause, stall_ms: None, next_ms: random.random_range(2000..120_000) }
    }
}

fn moment(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms).expect("traffic is of our century")
}
