//! Who listens, on what, from where, and to which library.

use rand::distr::weighted::WeightedIndex;
use rand::prelude::Distribution;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use uuid::Uuid;
use wire::{EdgeId, PopId, TrackId};

/// Zipf's exponent of music libraries.
const ZIPF: f64 = 0.85;

const DEVICES: [(&str, &str); 8] = [
    ("iPhone15,4", "iOS 19.1"),
    ("iPhone16,2", "iOS 19.1"),
    ("iPhone17,1", "iOS 19.0"),
    ("SM-S921B", "Android 16"),
    ("Pixel 9", "Android 16"),
    ("Chrome", "Windows 11"),
    ("Safari", "macOS 26"),
    ("Sonos One", "SonosOS 16"),
];
const VERSIONS: [&str; 4] = ["4.2.1", "4.2.0", "4.1.7", "3.9.2"];
const APPS: [&str; 3] = ["ios", "android", "web"];
/// Country, share, and the POP that serves it.
const PLACES: [(&str, u32, &str); 7] = [
    ("DE", 30, "fra"),
    ("PL", 20, "waw"),
    ("US", 20, "nyc"),
    ("GB", 10, "fra"),
    ("FR", 10, "fra"),
    ("CZ", 5, "waw"),
    ("CA", 5, "nyc"),
];
/// Networks of some size in a country.
const NETWORKS: u32 = 6;
const EDGES: u32 = 2;
const LADDER: [u32; 3] = [64, 128, 256];

/// Tracks and how much each is loved.
pub(super) struct Library {
    popularity: WeightedIndex<f64>,
}

impl Library {
    #[allow(clippy::cast_precision_loss, reason = "a library has fewer than 2^52 tracks")]
    pub(super) fn new(tracks: usize) -> Self {
        let weights = (1..=tracks).map(|rank| (rank as f64).powf(-ZIPF));
        Self { popularity: WeightedIndex::new(weights).expect("there is a track and every weight is positive") }
    }

    pub(super) fn choose(&self, random: &mut StdRng) -> (TrackId, u64) {
        let rank = self.popularity.sample(random);
        (track(rank), duration_ms(rank))
    }
}

pub(super) fn track(rank: usize) -> TrackId {
    TrackId::new(format!("trk-{rank:05}")).expect("it is short and printable")
}

/// Two to five minutes; a track is always as long as it is.
fn duration_ms(rank: usize) -> u64 {
    120_000 + (rank as u64).wrapping_mul(7_919_317) % 180_000
}

/// A listener as ingest sees one: the name hashed, the address cut.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) user_id: String,
    pub(super) device: &'static str,
    pub(super) os: &'static str,
    pub(super) app_version: &'static str,
    pub(super) app: &'static str,
    pub(super) country: &'static str,
    pub(super) asn: u32,
    pub(super) client_net: String,
    pub(super) pop: PopId,
    pub(super) edge: EdgeId,
    pub(super) bitrate_kbps: u32,
}

impl Person {
    pub(super) fn new(random: &mut StdRng) -> Self {
        let (device, os) = DEVICES[random.random_range(0..DEVICES.len())];
        let shares = PLACES.map(|(_, share, _)| share);
        let place = WeightedIndex::new(shares).expect("every share is positive").sample(random);
        let (country, _, pop) = PLACES[place];
        let network = random.random_range(0..NETWORKS);
        let edge = format!("{pop}-{}", random.random_range(1..=EDGES));
        Self {
            user_id: hashed(random),
            device,
            os,
            app_version: VERSIONS[random.random_range(0..VERSIONS.len())],
            app: APPS[random.random_range(0..APPS.len())],
            country,
            asn: 3000 + place as u32 * 100 + network,
            client_net: format!("{}.{}.{}.0/24", 80 + place, network, random.random_range(0..=255)),
            pop: PopId::new(pop).expect("it is a slug"),
            edge: EdgeId::new(edge).expect("it is a slug"),
            bitrate_kbps: LADDER[random.random_range(0..LADDER.len())],
        }
    }
}

/// As long and as random as a keyed hash of 256 bits with the version of its key.
fn hashed(random: &mut StdRng) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = (0..43).map(|_| char::from(ALPHABET[random.random_range(0..64)]));
    "1.".chars().chain(digits).collect()
}

/// UUIDv7 of this moment.
pub(super) fn id(now: i64, random: &mut StdRng) -> Uuid {
    let mut chance = [0; 10];
    random.fill_bytes(&mut chance);
    uuid::Builder::from_unix_timestamp_millis(now.unsigned_abs(), &chance).into_uuid()
}
