//! What a start reads: the index log, the logs of purges and warm orders, the spool's records.

use bytes::Bytes;
use http::HeaderMap;
use service::journal::record::{self, Found};
use wire::topic::Topic;

use super::file;
use crate::cache::framed_log::frame_json;
use crate::cache::index_log::{IndexLog, Logged, Record, replay};
use crate::object::{CHUNK, Object};
use crate::{purge, warm};

const MAX_OBJECT: u64 = 1 << 30;

/// Lines as whole records, so that a checksum keeps no content out; the last one as it is, torn.
fn framed(data: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let torn = lines.pop().unwrap_or_default();
    let mut bytes: Vec<u8> = lines.into_iter().flat_map(frame_json).collect();
    bytes.extend_from_slice(torn);
    bytes
}

/// What the index log adds up to points at nothing beyond an object, and is the same when it is written anew.
pub fn index_log(data: &[u8]) {
    for bytes in [data.to_vec(), framed(data)] {
        let log = file(&bytes);
        let told = replay(log.path(), MAX_OBJECT).expect("the file can be read");
        assert!(told.torn <= bytes.len() as u64);
        for (id, logged) in &told.objects {
            assert!(*id < told.next_id || *id == u64::MAX, "an id would be given again");
            within(*id, logged);
        }
        let records = told.objects.iter().flat_map(|(id, logged)| records(*id, logged));
        IndexLog::rewrite(log.path(), records).expect("the log can be written");
        let again = replay(log.path(), MAX_OBJECT).expect("the file can be read");
        assert_eq!((&again.objects, again.torn), (&told.objects, 0));
    }
}

fn within(id: u64, logged: &Logged) {
    let Logged { key, description, life, chunks } = logged.clone();
    if let Some(size) = description.size {
        assert!(size <= MAX_OBJECT && chunks.keys().all(|chunk| u64::from(*chunk) * CHUNK < size));
        let object = Object::new(id, &key.as_ref(), description, life, &HeaderMap::new());
        chunks.iter().for_each(|(chunk, crc)| object.set_on_disk(*chunk, *crc));
        assert!(object.disk_bytes() <= size && chunks.iter().all(|(chunk, crc)| object.on_disk(*chunk) == Some(*crc)));
    }
}

fn records(id: u64, logged: &Logged) -> Vec<Record> {
    let Logged { key, description, life, chunks } = logged.clone();
    let chunks = chunks.into_iter().map(|(chunk, crc)| Record::Chunk { id, chunk, crc });
    std::iter::once(Record::Object { id, key, description, life }).chain(chunks).collect()
}

/// The logs of purges and of warm orders: a bounded number of purges, none newer than the newest; of an order only
/// what it names is left to be done.
pub fn logs(data: &[u8]) {
    for bytes in [data.to_vec(), framed(data)] {
        let log = file(&bytes);
        let (records, latest) = purge::log::read(log.path()).expect("the file can be read");
        assert!(records.len() <= purge::records::MOST);
        assert!(records.entries().all(|entry| entry.purge <= latest));
        let Some(story) = warm::journal::read(log.path()).expect("the file can be read") else { continue };
        assert!(story.left().len() <= story.keys.len());
        warm::journal::write(log.path(), &story).expect("the journal can be written");
        let again = warm::journal::read(log.path()).expect("the file can be read").expect("it was written");
        assert_eq!((again.keys, again.results, again.ended), (story.keys, story.results, story.ended));
    }
}

/// Lines as payloads of the spool, damaged where the first three bytes say: what was not hit is read, in order.
pub fn journal(data: &[u8]) {
    let Some(([at, flip, cut], rest)) = data.split_first_chunk::<3>() else { return };
    let text = String::from_utf8_lossy(rest);
    let (mut bytes, mut ends) = (Vec::new(), vec![0]);
    for payload in text.split('\n').take(50) {
        record::append(&mut bytes, Topic::Deliveries, b"fra-1", payload.as_bytes());
        ends.push(bytes.len());
    }
    let whole = bytes.clone();
    let at = usize::from(*at) * bytes.len() / 256;
    bytes[at] ^= flip;
    bytes.truncate(bytes.len() - usize::from(*cut) * bytes.len() / 256);
    let read = walk(&bytes.clone().into());
    for two in ends.windows(2) {
        let is_whole = two[1] <= bytes.len() && bytes[two[0]..two[1]] == whole[two[0]..two[1]];
        assert_eq!(read.contains(&(two[0], two[1])), is_whole, "{two:?} of {}", bytes.len());
    }
    assert!(read.iter().all(|(start, _)| ends.contains(start)), "a record that nobody wrote");
    walk(&Bytes::copy_from_slice(data));
}

fn walk(bytes: &Bytes) -> Vec<(usize, usize)> {
    let (mut records, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match record::find(bytes, at) {
            Found::Record(_, length) => {
                records.push((at, at + length));
                at += length;
            }
            Found::Damage(length) => at += length,
            Found::Tail => break,
        }
    }
    assert!(at <= bytes.len());
    records
}
