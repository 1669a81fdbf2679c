//! An object that nobody is asking for: the same in a third of the memory, in one piece.
//!
//! There are as many as the disk holds, and most of them are asked for seldom. Where one is wanted again, an [`Object`]
//! is made of it, and the two are never held at the same time: whoever has an object has the only one of its version.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use wire::EdgeId;

use super::chunks::Chunks;
use super::packed::{byte, number, put_bytes, put_number, text};
use super::shared::{Common, Site};
use super::target::Target;
use super::{CHUNK, Head, Object, Rare};
use crate::key::KeyRef;
use crate::vary::Selectors;

/// Chunks of an object that is put to rest, at most: more would be a long copy under a lock that hits need, and there
/// are few such objects.
const MOST_CHUNKS: u32 = 1024;

const LOGGED: u8 = 1;
const COMBINABLE: u8 = 2;
const IGNORES_RANGES: u8 = 4;
const RARE: u8 = 8;
/// All chunks are on disk.
const WHOLE: u8 = 16;

#[derive(Debug, Clone)]
pub struct Packed<B> {
    site: Arc<Site>,
    common: Arc<Common>,
    /// All else, and what is left of its room.
    bytes: B,
}

/// Rooms of the sizes in which memory is given out, less what it takes to note that: which one it is is told by the
/// pointer's kind, so that it needs neither a length nor a second piece of memory.
macro_rules! rooms {
    ($($room:ident: $bytes:literal,)*) => {
        #[derive(Debug, Clone)]
        pub enum Rest {
            $($room(Box<Packed<[u8; $bytes]>>),)*
            Large(Box<Packed<Box<[u8]>>>),
        }

        impl Rest {
            fn new(site: Arc<Site>, common: Arc<Common>, packed: &[u8]) -> Self {
                $(if packed.len() <= $bytes {
                    let mut bytes = [0; $bytes];
                    bytes[..packed.len()].copy_from_slice(packed);
                    return Self::$room(Box::new(Packed { site, common, bytes }));
                })*
                Self::Large(Box::new(Packed { site, common, bytes: packed.into() }))
            }

            fn parts(&self) -> (&Arc<Site>, &Arc<Common>, &[u8]) {
                match self {
                    $(Self::$room(packed) => (&packed.site, &packed.common, &packed.bytes),)*
                    Self::Large(packed) => (&packed.site, &packed.common, &packed.bytes),
                }
            }
        }
    };
}

rooms! {
    R56: 56,
    R72: 72,
    R88: 88,
    R104: 104,
    R120: 120,
    R136: 136,
    R152: 152,
    R168: 168,
    R184: 184,
    R200: 200,
    R232: 232,
    R264: 264,
    R328: 328,
    R392: 392,
    R520: 520,
}

impl Rest {
    /// Of an object that nobody else has, so that nobody can be changing it; none of one that is being used all the
    /// same, or that has no use any more.
    #[must_use]
    pub fn of(object: &mut Object) -> Option<Self> {
        if !object.may_rest() {
            return None;
        }
        let head = object.head.load();
        let mut out = Vec::with_capacity(512);
        put_bytes(&mut out, object.target.as_str().as_bytes());
        put_number(&mut out, object.id);
        out.push(object.flags());
        put_number(&mut out, object.size.load(Relaxed));
        object.pack_chunks(&mut out);
        object.rare.iter().for_each(|rare| rare.pack(&mut out));
        head.pack(&mut out);
        Some(Self::new(object.site.clone(), head.common_part().clone(), &out))
    }

    #[must_use]
    pub fn key(&self) -> KeyRef<'_> {
        let (site, _, mut packed) = self.parts();
        KeyRef { https: site.https, host: &site.host, target: text(&mut packed).expect("it was packed") }
    }

    #[must_use]
    pub fn id(&self) -> u64 {
        let (_, _, mut packed) = self.parts();
        text(&mut packed).and_then(|_| number(&mut packed)).expect("it was packed")
    }

    /// The object as it was. Whoever keeps it keeps no other of its version.
    #[must_use]
    pub fn object(&self) -> Object {
        let (site, common, packed) = self.parts();
        unpack(site.clone(), common.clone(), packed).expect("it was packed")
    }
}

fn unpack(site: Arc<Site>, common: Arc<Common>, mut packed: &[u8]) -> Option<Object> {
    let rest = &mut packed;
    let (target, id, flags, size) = (Target::new(text(rest)?), number(rest)?, byte(rest)?, number(rest)?);
    let (on_disk, disk_bytes) = unpack_chunks(size, flags & WHOLE != 0, rest)?;
    Some(Object {
        id,
        site,
        target,
        size: AtomicU64::new(size),
        on_disk,
        disk_bytes: AtomicU64::new(disk_bytes),
        fills: Mutex::default(),
        rare: if flags & RARE == 0 { None } else { Some(Box::new(Rare::unpack(rest)?)) },
        head: ArcSwap::from_pointee(Head::unpack(common, rest)?),
        readers: AtomicU32::new(0),
        combinable: flags & COMBINABLE != 0,
        ignores_ranges: AtomicBool::new(flags & IGNORES_RANGES != 0),
        ended: AtomicBool::new(false),
        logged: AtomicBool::new(flags & LOGGED != 0),
    })
}

fn unpack_chunks(size: u64, whole: bool, rest: &mut &[u8]) -> Option<(Chunks, u64)> {
    let count = size.div_ceil(CHUNK);
    let (chunks, mut bytes) = (Chunks::new(Some(count)), 0);
    for chunk in 0..u32::try_from(count).ok()? {
        if whole || byte(rest)? != 0 {
            let (crc, tail) = rest.split_first_chunk()?;
            *rest = tail;
            chunks.set(chunk, u32::from_le_bytes(*crc));
            bytes += CHUNK.min(size - u64::from(chunk) * CHUNK);
        }
    }
    Some((chunks, bytes))
}

impl Object {
    fn may_rest(&mut self) -> bool {
        let is_idle = *self.readers.get_mut() == 0 && self.running_fills().is_empty();
        is_idle && !self.has_ended() && self.size().is_some() && self.chunks() <= MOST_CHUNKS
    }

    fn flags(&self) -> u8 {
        let flag = |flag, is_set| if is_set { flag } else { 0 };
        flag(LOGGED, self.is_logged())
            | flag(COMBINABLE, self.combinable)
            | flag(IGNORES_RANGES, self.ignores_ranges())
            | flag(RARE, self.rare.is_some())
            | flag(WHOLE, self.is_whole())
    }

    fn is_whole(&self) -> bool {
        (0..self.chunks()).all(|chunk| self.on_disk(chunk).is_some())
    }

    /// The checksums of those on disk; where some are not, each behind whether it is there.
    fn pack_chunks(&self, out: &mut Vec<u8>) {
        let whole = self.is_whole();
        for crc in (0..self.chunks()).map(|chunk| self.on_disk(chunk)) {
            if !whole {
                out.push(u8::from(crc.is_some()));
            }
            crc.iter().for_each(|crc| out.extend_from_slice(&crc.to_le_bytes()));
        }
    }
}

impl Rare {
    fn pack(&self, out: &mut Vec<u8>) {
        // No edge's name is empty.
        put_bytes(out, self.filled_by.as_ref().map_or("", EdgeId::as_str).as_bytes());
        put_number(out, self.selectors.len() as u64);
        for (name, value) in &self.selectors {
            put_bytes(out, name.as_bytes());
            out.push(u8::from(value.is_some()));
            value.iter().for_each(|value| put_bytes(out, value.as_bytes()));
        }
    }

    fn unpack(rest: &mut &[u8]) -> Option<Self> {
        let filled_by = EdgeId::new(text(rest)?).ok();
        let count = number(rest)?;
        let mut selectors = Selectors::new();
        for _ in 0..count {
            let name = text(rest)?.to_owned();
            let value = if byte(rest)? == 0 { None } else { Some(text(rest)?.to_owned()) };
            selectors.push((name, value));
        }
        Some(Self { selectors, filled_by })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};
    use proptest::prelude::*;
    use wire::Timestamp;

    use super::*;
    use crate::fill::Fill;
    use crate::freshness::Life;
    use crate::object::Description;

    const NOON: &str = "Fri, 20 Nov 2026 12:00:00 GMT";

    /// Far apart, and as they come.
    fn time() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), 1_795_000_000_000..1_796_000_000_000i64]
    }

    prop_compose! {
        fn life()(
            born in time(), fresh_until in time(), came in time(), purged_at in prop::option::of(time()), asked: u64,
            stale_allowed: bool, while_revalidate in 0i64..9, if_error in prop::option::of(0i64..9), immutable: bool,
        ) -> Life {
            Life { born, fresh_until, stale_allowed, while_revalidate, if_error, immutable, asked, came, purged_at }
        }
    }

    fn headers() -> impl Strategy<Value = HeaderMap> {
        let value = prop_oneof![Just(NOON.to_owned()), "[ -~]{0,40}", "[\u{e0}-\u{ff}]{0,3}"];
        let field = (prop::sample::select(vec!["etag", "date", "last-modified", "vary", "x-amz-meta-a", "age"]), value);
        prop::collection::vec(field, 0..6).prop_map(|fields| {
            let value = |text: &str| HeaderValue::from_bytes(text.trim().as_bytes()).unwrap();
            fields.iter().map(|(name, text)| (name.parse().unwrap(), value(text))).collect()
        })
    }

    prop_compose! {
        fn description()(
            status in 200u16..600, size in 0..6 * CHUNK, headers in headers(), told in any::<bool>(),
            selectors in prop::collection::vec(("[a-z]{1,3}", prop::option::of("[ -~\u{e9}]{0,9}")), 0..3),
        ) -> Description {
            let by = told.then(|| EdgeId::new("fra-1").unwrap());
            Description::new(StatusCode::from_u16(status).unwrap(), Some(size), &headers, selectors).filled_by(by)
        }
    }

    proptest! {
        #[test]
        fn what_was_at_rest_is_as_it_was(
            id: u64, target in "[ -~\u{e9}]{0,300}", https: bool, host in "[a-z.:]{0,9}", told in description(),
            life in life(), crcs in prop::collection::vec(any::<(bool, u32)>(), 6), flags: [bool; 2],
            excused in prop::option::of(0i64..7_000_000_000_000), seen in prop::option::of(any::<u64>()),
        ) {
            let key = KeyRef { https, host: &host, target: &target };
            let mut object = Object::new(id, &key, told, life, &HeaderMap::new());
            for (chunk, (_, crc)) in (0..object.chunks()).zip(&crcs).filter(|(_, (there, _))| *there) {
                object.set_on_disk(chunk, *crc);
            }
            object.set_logged(flags[0]);
            if flags[1] {
                object.found_to_ignore_ranges();
            }
            excused.iter().for_each(|until| object.head().excuse(Timestamp::from_millis(*until).unwrap()));
            seen.iter().for_each(|purge| object.head().saw(*purge));
            let rest = Rest::of(&mut object).unwrap();
            prop_assert_eq!((rest.key(), rest.id()), (key, id));
            let back = rest.object();
            // All that there is of it, down to what it shares with others.
            prop_assert_eq!(format!("{back:?}"), format!("{object:?}"));
            prop_assert!(Arc::ptr_eq(&back.site, &object.site));
            prop_assert!(Arc::ptr_eq(back.head().common_part(), object.head().common_part()));
        }
    }

    fn object(size: Option<u64>) -> Object {
        let told = Description::new(StatusCode::OK, size, &HeaderMap::new(), Vec::new());
        Object::new(7, &KeyRef::object("k"), told, Life::of_age(0), &HeaderMap::new())
    }

    #[test]
    fn what_is_used_or_has_ended_does_not_rest() {
        let mut read = object(Some(1));
        read.begin_reading();
        assert!(Rest::of(&mut read).is_none());
        read.end_reading();
        assert!(Rest::of(&mut read).is_some());
        let fill = Arc::new(Fill::new(0, 1, false));
        read.running_fills().push(fill.clone());
        assert!(Rest::of(&mut read).is_none());
        read.running_fills().remove(&fill);
        assert!(Rest::of(&mut read).is_some() && read.end() && Rest::of(&mut read).is_none());
        assert!(Rest::of(&mut object(None)).is_none(), "its end has not come");
        assert!(Rest::of(&mut object(Some((u64::from(MOST_CHUNKS) + 1) * CHUNK))).is_none());
    }

    #[test]
    fn an_answer_that_came_without_its_length_rests_once_it_is_known() {
        let mut growing = object(None);
        growing.set_on_disk(0, 5);
        growing.set_on_disk(1, 6);
        growing.set_size(CHUNK + 1);
        let back = Rest::of(&mut growing).unwrap().object();
        assert_eq!((back.size(), back.on_disk(0), back.on_disk(1)), (Some(CHUNK + 1), Some(5), Some(6)));
        assert_eq!((back.chunks(), back.disk_bytes()), (2, CHUNK + 1));
    }

    #[test]
    fn a_usual_object_takes_little() {
        let fields = [("etag", "\"0123456789abcdef0123456789abcdef\""), ("date", NOON), ("last-modified", NOON)];
        let headers = fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        let told = Description::new(StatusCode::OK, Some(10_000), &headers.collect(), Vec::new());
        let life = Life { fresh_until: 1_826_536_000_000, came: 1_795_000_000_001, ..Life::of_age(1_795_000_000_000) };
        let key = KeyRef::parse("http://origin:9000/1024/0/n123456");
        let mut object = Object::new(1_000_000, &key, told, life, &HeaderMap::new());
        object.set_on_disk(0, u32::MAX);
        let Some(Rest::R88(packed)) = Rest::of(&mut object) else { panic!("{:?}", Rest::of(&mut object)) };
        assert_eq!(size_of_val(&*packed), 104, "and 8 bytes of the allocator");
    }
}
