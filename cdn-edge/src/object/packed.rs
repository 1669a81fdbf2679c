//! Numbers and pieces of bytes in as little room as they need, one behind the other.

/// Bits of a number that go into one byte (LEB128).
const BITS: u32 = 7;
const MORE: u8 = 1 << BITS;

#[allow(clippy::cast_possible_truncation, reason = "the low bits are meant")]
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= u64::from(MORE) {
        out.push(number as u8 | MORE);
        number >>= BITS;
    }
    out.push(number as u8);
}

/// Numbers about zero are short, whatever their sign.
pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, (number << 1 ^ number >> 63).cast_unsigned());
}

/// Bytes behind their length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (byte, tail) = rest.split_first()?;
    *rest = tail;
    Some(*byte)
}

pub(super) fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(BITS as usize) {
        let byte = byte(rest)?;
        number |= u64::from(byte % MORE) << shift;
        if byte < MORE {
            return Some(number);
        }
    }
    None
}

pub(super) fn signed(rest: &mut &[u8]) -> Option<i64> {
    let number = number(rest)?;
    Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

pub(super) fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(rest)?).ok()?;
    let (bytes, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(bytes)
}

pub(super) fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(bytes(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_is_read(one: u64, other: i64, small in -64i64..64, piece: Vec<u8>, cut in 0usize..40) {
            let mut out = Vec::new();
            put_number(&mut out, one);
            put_signed(&mut out, other);
            put_signed(&mut out, small);
            put_bytes(&mut out, &piece);
            let read = |rest: &mut &[u8]| Some((number(rest)?, signed(rest)?, signed(rest)?, bytes(rest)?.to_vec()));
            let mut rest = &out[..];
            prop_assert_eq!(read(&mut rest), Some((one, other, small, piece)));
            prop_assert!(rest.is_empty());
            prop_assert_eq!(read(&mut &out[..cut.min(out.len() - 1)]), None);
        }
    }

    #[test]
    fn short_numbers_are_short() {
        for (number, length) in [(0, 1), (127, 1), (128, 2), (1 << 41, 6), (u64::MAX, 10)] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(out.len(), length, "{number}");
        }
        assert_eq!(number(&mut &[0xff; 11][..]), None, "more than there can be");
    }
}
