//! The plain part of JSON, token by token. None says that the next one is of another kind, or wrong.

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::Timestamp;

/// A text of JSON, and how far it is read.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Something since the last [`Scanner::begin`] is not written as we write it.
    otherwise: bool,
}

/// Bytes that stand for themselves in a text: visible ASCII and the space, without quote and backslash.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ' as usize;
    while byte < 0x7f {
        plain[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    plain
};

/// How many bytes stand for themselves before the first that does not; none where all do.
fn plain_length(bytes: &[u8]) -> Option<usize> {
    let (eights, rest) = bytes.as_chunks::<8>();
    for (nth, eight) in eights.iter().enumerate() {
        let others = others(u64::from_le_bytes(*eight));
        if others != 0 {
            return Some(nth * 8 + others.trailing_zeros() as usize / 8);
        }
    }
    let length = rest.iter().position(|byte| !PLAIN[usize::from(*byte)])?;
    Some(bytes.len() - rest.len() + length)
}

/// Eight bytes looked at as one number: the lowest bit that is set lies in the first that is not plain. Above that one
/// a borrow may set others.
fn others(eight: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let below = |number: u64, least: u8| number.wrapping_sub(ONES * u64::from(least)) & !number;
    let is = |byte: u8| below(eight ^ (ONES * u64::from(byte)), 1);
    (eight | below(eight, b' ') | is(b'"') | is(b'\\') | is(0x7f)) & TOPS
}

impl<'a> Scanner<'a> {
    /// None where the bytes are no UTF-8.
    pub(super) fn of(json: &'a [u8]) -> Option<Self> {
        Some(Self { text: std::str::from_utf8(json).ok()?, at: 0, otherwise: false })
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.as_bytes().get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => {
                    self.at += 1;
                    self.otherwise = true;
                }
                byte => return Some(byte),
            }
        }
    }

    /// Where the next value begins.
    pub(super) fn begin(&mut self) -> Option<usize> {
        self.peek()?;
        self.otherwise = false;
        Some(self.at)
    }

    /// What was read since `begin`, where all of it is written as we write it: without white space, instants and ids in
    /// their one form.
    pub(super) fn as_we_write(&self, begin: usize) -> Option<&'a str> {
        self.text.get(begin..self.at).filter(|_| !self.otherwise)
    }

    pub(super) fn mark(&mut self, mark: u8) -> Option<()> {
        (self.peek()? == mark).then(|| self.at += 1)
    }

    /// Only white space is left.
    pub(super) fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// An object of one member or more; `member` reads the value of each.
    pub(super) fn object(&mut self, mut member: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.mark(b'{')?;
        loop {
            let name = self.text()?;
            self.mark(b':')?;
            member(self, name)?;
            if self.mark(b',').is_none() {
                return self.mark(b'}');
            }
        }
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        self.mark(b'"')?;
        let length = plain_length(self.rest())?;
        let text = self.text.get(self.at..self.at + length)?;
        self.at += length;
        // Not after white space, of which a tab is no plain byte.
        (self.rest().first() == Some(&b'"')).then(|| self.at += 1)?;
        Some(text)
    }

    /// A number of digits alone.
    pub(super) fn whole(&mut self) -> Option<u64> {
        let first = self.peek()?;
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        // JSON has no leading zeros; what follows the digits is looked at by whoever reads on.
        if digits == 0 || (digits > 1 && first == b'0') {
            return None;
        }
        let add = |number: u64, digit: &u8| number.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
        let number = self.rest()[..digits].iter().try_fold(0, add)?;
        self.at += digits;
        Some(number)
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        if self.mark(b'-').is_none() {
            return self.whole()?.try_into().ok();
        }
        // Directly after the sign; -0 is a float to serde.
        let negative = self.rest().first().is_some_and(|byte| matches!(byte, b'1'..=b'9'));
        negative.then(|| self.whole()).flatten().and_then(|number| 0_i64.checked_sub_unsigned(number))
    }

    /// RFC 3339, or epoch milliseconds.
    pub(super) fn time(&mut self) -> Option<Timestamp> {
        if self.peek()? == b'"' {
            let text = self.text()?;
            return Timestamp::from_our_text(text).or_else(|| {
                self.otherwise = true;
                Timestamp::from_text(text)
            });
        }
        self.otherwise = true;
        Timestamp::from_millis(self.signed()?)
    }

    /// In any of its forms.
    pub(super) fn uuid(&mut self) -> Option<Uuid> {
        let text = self.text()?;
        self.otherwise |= text.len() != Hyphenated::LENGTH || text.bytes().any(|byte| byte.is_ascii_uppercase());
        Uuid::try_parse(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn eight_at_a_time_end_where_one_at_a_time_do(
            plain in "[ !#-\\[\\]-~]{0,40}",
            rest in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let bytes = [plain.as_bytes(), &rest].concat();
            prop_assert_eq!(plain_length(&bytes), bytes.iter().position(|byte| !PLAIN[usize::from(*byte)]));
        }
    }
}
