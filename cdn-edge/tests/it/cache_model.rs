//! Random requests, purges, changes and failures of the origin, restarts and kills, on an edge in a process of its
//! own, against a reference cache.
//!
//! `ROUNDS` asks for more, `SEED` for one round again; a failure shows its seed and what was done last.

mod reference;
mod site;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Method, StatusCode};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::admin::post;
use crate::client::{self, send};
use crate::killed::{Process, spawn_public};
use crate::stage::TOKEN;
use reference::{Ask, Got, Reference, Seen, Told};
use site::{History, KINDS, Mood, Now, Rule, Site, bytes, etag};

/// Operations of a round.
const OPERATIONS: usize = 120;

/// What was done and answered last, as far as it helps to find what led to a failure.
const SHOWN: usize = 80;

#[derive(Debug, Clone, Copy)]
enum Want {
    Whole,
    /// In this form, from one byte on to another.
    Part(usize, usize, usize),
}

#[derive(Debug, Clone)]
enum Operation {
    Read { key: usize, lang: usize, method: Method, want: Want, told: Told, known: Option<u32> },
    Crowd(usize),
    Change(usize, Rule),
    Mood(usize, Mood),
    Purge(String, Vec<usize>, bool),
    Restart,
    Kill,
}

struct Round {
    site: Site,
    dir: tempfile::TempDir,
    edge: Option<Process>,
    url: String,
    reference: Reference,
    /// Questions that have been accounted for.
    counted: [usize; KINDS.len()],
    /// By key and version, from 1.
    rules: Vec<Vec<Rule>>,
    random: StdRng,
}

impl Round {
    async fn new(seed: u64) -> Self {
        let (site, dir) = (Site::start().await, tempfile::tempdir().unwrap());
        let (edge, url) = spawn_public(dir.path(), &site.url, "127.0.0.1:0").await;
        let rules = KINDS.iter().map(|_| vec![Rule::Fresh]).collect();
        let (reference, counted) = (Reference::default(), [0; KINDS.len()]);
        Self { site, dir, edge: Some(edge), url, reference, counted, rules, random: StdRng::seed_from_u64(seed) }
    }

    fn host(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    fn operation(&mut self) -> Operation {
        let key = self.random.random_range(0..KINDS.len());
        match self.random.random_range(0..100) {
            0..64 => self.read(key),
            64..70 => Operation::Crowd(key),
            70..79 => Operation::Change(key, *Rule::ALL.choose(&mut self.random).unwrap()),
            79..88 => Operation::Mood(key, self.mood(key)),
            88..96 => self.purge(key),
            96..98 => Operation::Restart,
            _ => Operation::Kill,
        }
    }

    /// What has failed is mended by the next order, mostly; a stall takes its time, so it is rare.
    fn mood(&mut self, key: usize) -> Mood {
        if self.site.now(key).mood != Mood::Well {
            return Mood::Well;
        }
        match self.random.random_range(0..20) {
            0 => Mood::Stall,
            1..8 => Mood::Error,
            8..14 => Mood::Reset,
            _ => Mood::Cut,
        }
    }

    fn read(&mut self, key: usize) -> Operation {
        let random = &mut self.random;
        let size = KINDS[key].size;
        let (one, two) = (random.random_range(0..size), random.random_range(0..size));
        let told = match random.random_range(0..20) {
            0..2 => Told::NoCache,
            2 => Told::OnlyIfCached,
            3 => Told::MaxStale,
            _ => Told::Nothing,
        };
        let method = if random.random_range(0..8) == 0 { Method::HEAD } else { Method::GET };
        let want = match random.random_range(0..9) {
            form @ 0..3 if method == Method::GET => Want::Part(form, one.min(two), one.max(two)),
            _ => Want::Whole,
        };
        let newest = self.site.now(key).version;
        let known =
            (random.random_range(0..5) == 0).then(|| random.random_range(newest.saturating_sub(1).max(1)..=newest));
        let lang = if KINDS[key].varies { random.random_range(0..2) } else { 0 };
        Operation::Read { key, lang, method, want, told, known }
    }

    fn purge(&mut self, key: usize) -> Operation {
        let soft = self.random.random();
        let host = self.host().to_owned();
        let meant = |is: &dyn Fn(&site::Kind) -> bool| (0..KINDS.len()).filter(|key| is(&KINDS[*key])).collect();
        match self.random.random_range(0..3) {
            0 => Operation::Purge(format!(r#""keys":["{host}/{}"]"#, KINDS[key].name), vec![key], soft),
            1 => {
                let prefix = *["a/", "a/1", "b", "z/"].choose(&mut self.random).unwrap();
                let meant = meant(&|kind| kind.name.starts_with(prefix));
                Operation::Purge(format!(r#""prefixes":["{host}/{prefix}"]"#), meant, soft)
            }
            _ => {
                let tag = *["x", "y", "z"].choose(&mut self.random).unwrap();
                let meant = meant(&|kind| kind.tags.split(',').any(|named| named == tag));
                Operation::Purge(format!(r#""tags":["{tag}"]"#), meant, soft)
            }
        }
    }

    async fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Read { key, lang, method, want, told, known } => {
                let sent = request(key, lang, want, told, known);
                let ask = Ask { head: method == Method::HEAD, part: matches!(want, Want::Part(..)), told, known };
                let got = send(method, &format!("{}/{}", self.url, KINDS[key].name), &pairs(&sent)).await;
                let shown = [got.header("etag"), got.header("age"), got.header("cache-status")];
                self.site.history.note(format!("   {}, {shown:?}", got.status));
                if got.status == StatusCode::PARTIAL_CONTENT {
                    assert_eq!(
                        got.header("content-range"),
                        content_range(want, KINDS[key].size),
                        "another part than was asked for"
                    );
                }
                let seen = self.seen(key, lang, &got, ask.head);
                let asks = self.asks(key);
                self.observe(key, lang, ask, Seen { asks: Some(asks), ..seen });
            }
            Operation::Crowd(key) => self.crowd(key).await,
            Operation::Change(key, rule) => {
                self.rules[key].push(rule);
                self.change(key, |now| (now.version, now.rule) = (now.version + 1, rule));
            }
            Operation::Mood(key, mood) => self.change(key, |now| now.mood = mood),
            Operation::Purge(named, meant, soft) => {
                let admin = std::fs::read_to_string(self.dir.path().join("admin")).unwrap();
                let got = post(&format!("{admin}/v1/purge"), TOKEN, &format!(r#"{{{named},"soft":{soft}}}"#)).await;
                assert_eq!(got.status, 200, "{got:?}");
                self.reference.purge(|key| meant.contains(&key), soft);
            }
            Operation::Restart => {
                self.edge.take().unwrap().stop().await;
                self.reference.restarted();
                self.start().await;
            }
            Operation::Kill => {
                drop(self.edge.take());
                self.reference.killed();
                self.start().await;
            }
        }
    }

    fn change(&mut self, key: usize, change: impl FnOnce(&mut Now)) {
        self.site.change(key, change);
        self.reference.changed(key, self.site.now(key));
    }

    /// On the same port, which is a part of every key.
    async fn start(&mut self) {
        let (edge, url) = spawn_public(self.dir.path(), &self.site.url, self.host()).await;
        (self.edge, self.url) = (Some(edge), url);
        (0..KINDS.len()).for_each(|key| self.counted[key] = self.site.asked(key));
    }

    async fn crowd(&mut self, key: usize) {
        let most = self.reference.most_for_a_crowd((key, 0), self.site.now(key));
        let sent = request(key, 0, Want::Whole, Told::Nothing, None);
        let (url, fields) = (format!("{}/{}", self.url, KINDS[key].name), pairs(&sent));
        let crowd = join_all((0..8).map(|_| send(Method::GET, &url, &fields))).await;
        let asks = self.asks(key);
        assert!(most.is_none_or(|most| asks <= most), "a crowd cost {asks} requests");
        let ask = Ask { head: false, part: false, told: Told::Nothing, known: None };
        let mut seen: Vec<Seen> = crowd.iter().map(|got| self.seen(key, 0, got, false)).collect();
        // In the order in which the edge can have answered: nobody goes back to an older version.
        seen.sort_by_key(|seen| seen.got.version());
        for seen in seen {
            self.observe(key, 0, ask, Seen { asks: None, ..seen });
        }
    }

    /// Questions about a key since it was last looked at.
    fn asks(&mut self, key: usize) -> usize {
        let before = std::mem::replace(&mut self.counted[key], self.site.asked(key));
        self.counted[key] - before
    }

    fn observe(&mut self, key: usize, lang: usize, ask: Ask, seen: Seen) {
        let now = self.site.now(key);
        self.reference.observe((key, lang), ask, now, seen).unwrap_or_else(|why| panic!("{why}"));
    }

    /// What an answer is, once each of its bytes has been looked at.
    fn seen(&self, key: usize, lang: usize, got: &client::Got, head: bool) -> Seen {
        let status = got.header("cache-status");
        // Who comes while the last bytes of a fill are being put away is told that it joined it.
        let told = (!status.contains("; collapsed")).then(|| status.contains("; hit"));
        if !matches!(got.status.as_u16(), 200 | 206 | 304) {
            return Seen { got: Got::Failed(got.status.as_u16()), asks: None, hit: told };
        }
        let tag = got.header("etag");
        let version = (1..=self.site.now(key).version).find(|version| etag(key, lang, *version) == tag);
        let version = version.unwrap_or_else(|| panic!("{tag} is no version of {}", KINDS[key].name));
        let age: u64 = got.header("age").parse().unwrap_or(0);
        let rule = self.rules[key][version as usize - 1];
        assert_eq!(age >= 700, rule.is_old(), "age {age} of what is {rule:?}");
        let wanted = wanted(got.status, &got.headers, &bytes(key, lang, version));
        let broken = match &got.body {
            Ok(body) if head || got.status == StatusCode::NOT_MODIFIED => !body.is_empty(),
            Ok(body) => {
                assert!(*body == wanted, "other bytes than those of version {version}");
                false
            }
            Err(came) => {
                assert!(wanted.starts_with(came), "other bytes than those of version {version}");
                true
            }
        };
        Seen { got: if broken { Got::Broken(version) } else { Got::Version(version) }, asks: None, hit: told }
    }
}

/// The bytes that a head promises.
fn wanted(status: StatusCode, headers: &HeaderMap, bytes: &Bytes) -> Bytes {
    if status != StatusCode::PARTIAL_CONTENT {
        return bytes.clone();
    }
    let told = headers["content-range"].to_str().unwrap();
    let (range, size) = told.strip_prefix("bytes ").unwrap().split_once('/').unwrap();
    let (first, last) = range.split_once('-').unwrap();
    assert_eq!(size, bytes.len().to_string());
    bytes.slice(first.parse::<usize>().unwrap()..=last.parse::<usize>().unwrap())
}

/// `Content-Range` of what is wanted.
fn content_range(want: Want, size: usize) -> String {
    match want {
        Want::Whole => String::new(),
        Want::Part(0, first, last) => format!("bytes {first}-{last}/{size}"),
        Want::Part(_, first, _) => format!("bytes {first}-{}/{size}", size - 1),
    }
}

type Fields = Vec<(&'static str, String)>;

fn request(key: usize, lang: usize, want: Want, told: Told, known: Option<u32>) -> Fields {
    let mut fields = vec![("accept-language", ["en", "de"][lang].to_owned())];
    let size = KINDS[key].size;
    match want {
        Want::Whole => {}
        Want::Part(0, first, last) => fields.push(("range", format!("bytes={first}-{last}"))),
        Want::Part(1, first, _) => fields.push(("range", format!("bytes={first}-"))),
        Want::Part(_, first, _) => fields.push(("range", format!("bytes=-{}", size - first))),
    }
    match told {
        Told::Nothing => {}
        Told::NoCache => fields.push(("cache-control", "no-cache".into())),
        Told::OnlyIfCached => fields.push(("cache-control", "only-if-cached".into())),
        Told::MaxStale => fields.push(("cache-control", "max-stale".into())),
    }
    fields.extend(known.map(|version| ("if-none-match", etag(key, lang, version))));
    fields
}

fn pairs(fields: &Fields) -> Vec<(&'static str, &str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

struct ShownOnFailure {
    seed: u64,
    history: History,
}

impl Drop for ShownOnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("SEED={}, the newest last:\n{}", self.seed, self.history.last(SHOWN).join("\n"));
        }
    }
}

fn asked_for(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[tokio::test]
async fn an_edge_is_as_a_reference_has_it() {
    let seed = asked_for("SEED");
    let rounds = if seed.is_some() { 1 } else { asked_for("ROUNDS").unwrap_or(3) };
    for _ in 0..rounds {
        let seed = seed.unwrap_or_else(|| rand::random::<u32>().into());
        let mut round = Round::new(seed).await;
        let history = round.site.history.clone();
        let _shown = ShownOnFailure { seed, history: history.clone() };
        for number in 0..OPERATIONS {
            let operation = round.operation();
            history.note(format!("{number}: {operation:?}"));
            round.apply(operation).await;
        }
    }
}
