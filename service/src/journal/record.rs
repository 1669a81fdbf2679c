//! One record: a marker, its length and CRC-32C, then topic, key and payload.
//!
//! Numbers are little-endian. Keys and payloads are UTF-8, in which the marker's first byte does not
//! occur: nothing that a client sends can look like a record where a damaged one is searched past.

use bytes::Bytes;
use wire::topic::Topic;

const MARKER: [u8; 4] = [0xff, b't', b'n', 0xff];
/// Marker, length, checksum.
const HEAD: usize = 12;
/// Topic and the key's length.
const PREFIX: usize = 3;
/// What a record is longer than its key and payload.
pub const OVERHEAD: usize = HEAD + PREFIX;
/// Far above what Kafka takes; a length beyond it is damage.
const MAX_BODY: usize = 64 << 20;

/// A message of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub topic: Topic,
    pub key: Bytes,
    pub payload: Bytes,
}

/// What lies at a place in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A record, and how many bytes it takes.
    Record(Record, usize),
    /// So many bytes that are none, and a record after them.
    Damage(usize),
    /// No whole record to the end: torn, damaged, or cut off by who reads.
    Tail,
}

/// Topics as records name them. A number is never given anew.
const TOPICS: [(Topic, u8); 5] =
    [(Topic::Listens, 1), (Topic::Deliveries, 2), (Topic::Tallies, 3), (Topic::Decisions, 4), (Topic::Content, 5)];

pub fn append(out: &mut Vec<u8>, topic: Topic, key: &[u8], payload: &[u8]) {
    let length = u32::try_from(PREFIX + key.len() + payload.len()).expect("kafka takes no message near 4 GiB");
    let code = TOPICS.iter().find(|(known, _)| *known == topic).expect("every topic has a number").1;
    // Sessions and edges are named by 128 bytes at most.
    let key_length = u16::try_from(key.len()).expect("keys are short");
    let start = out.len();
    out.reserve(HEAD + length as usize);
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.push(code);
    out.extend_from_slice(&key_length.to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(payload);
    let sum = checksum(length, &out[start + HEAD..]);
    out[start + 8..start + HEAD].copy_from_slice(&sum.to_le_bytes());
}

/// The length is under the checksum too: a flipped bit in it would lead anywhere.
fn checksum(length: u32, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), body)
}

/// What lies at `at`.
pub fn find(bytes: &Bytes, at: usize) -> Found {
    if let Some((record, length)) = parse(bytes, at) {
        return Found::Record(record, length);
    }
    let mut next = at + 1;
    while let Some(step) = bytes.get(next..).and_then(|rest| rest.iter().position(|byte| *byte == MARKER[0])) {
        next += step;
        if parse(bytes, next).is_some() {
            return Found::Damage(next - at);
        }
        next += 1;
    }
    Found::Tail
}

fn parse(bytes: &Bytes, at: usize) -> Option<(Record, usize)> {
    let head = bytes.get(at..at + HEAD)?;
    let (marker, numbers) = head.split_first_chunk::<4>()?;
    let (length, sum) = numbers.split_first_chunk::<4>()?;
    let (length, sum) = (u32::from_le_bytes(*length), u32::from_le_bytes(sum.try_into().ok()?));
    let end = at + HEAD + length as usize;
    if *marker != MARKER || length as usize > MAX_BODY || (length as usize) < PREFIX {
        return None;
    }
    let body = bytes.get(at + HEAD..end)?;
    if checksum(length, body) != sum {
        return None;
    }
    let topic = TOPICS.iter().find(|(_, code)| *code == body[0])?.0;
    let key_end = at + OVERHEAD + usize::from(u16::from_le_bytes([body[1], body[2]]));
    if key_end > end {
        return None;
    }
    let record = Record { topic, key: bytes.slice(at + OVERHEAD..key_end), payload: bytes.slice(key_end..end) };
    Some((record, end - at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn three() -> (Vec<u8>, [usize; 4]) {
        let mut bytes = Vec::new();
        let mut ends = [0; 4];
        for (i, payload) in ["{}", "{\"a\":\"\u{ff}\"}", ""].iter().enumerate() {
            append(&mut bytes, Topic::Listens, b"session", payload.as_bytes());
            ends[i + 1] = bytes.len();
        }
        (bytes, ends)
    }

    fn walk(bytes: &Bytes) -> (Vec<usize>, usize) {
        let (mut records, mut damaged, mut at) = (Vec::new(), 0, 0);
        while at < bytes.len() {
            match find(bytes, at) {
                Found::Record(_, length) => {
                    records.push(at);
                    at += length;
                }
                Found::Damage(length) => {
                    damaged += length;
                    at += length;
                }
                Found::Tail => break,
            }
        }
        (records, damaged)
    }

    #[test]
    fn comes_back() {
        for topic in Topic::ALL {
            let mut bytes = Vec::new();
            append(&mut bytes, topic, b"key", b"payload");
            let (key, payload) = (Bytes::from_static(b"key"), Bytes::from_static(b"payload"));
            let length = bytes.len();
            assert_eq!(length, OVERHEAD + 10);
            assert_eq!(find(&bytes.into(), 0), Found::Record(Record { topic, key, payload }, length));
        }
    }

    proptest! {
        #[test]
        fn damage_hurts_the_record_it_hits_and_no_other(at in 0usize..80, flip in 1u8..=255) {
            let (mut bytes, ends) = three();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let hit = ends.iter().rposition(|end| *end <= at).unwrap();
            let expected: Vec<usize> = (0..3).filter(|i| *i != hit).map(|i| ends[i]).collect();
            let (records, damaged) = walk(&bytes.into());
            prop_assert_eq!(records, expected);
            prop_assert_eq!(damaged, if hit == 2 { 0 } else { ends[hit + 1] - ends[hit] });
        }

        #[test]
        fn a_cut_leaves_the_whole_records_before_it(cut in 0usize..80) {
            let (mut bytes, ends) = three();
            bytes.truncate(cut);
            let whole = ends.iter().skip(1).filter(|end| **end <= bytes.len()).count();
            prop_assert_eq!(walk(&bytes.into()), (ends[..whole].to_vec(), 0));
        }

        #[test]
        fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            walk(&bytes.into());
        }
    }
}
