//! A head as it lies packed with its object at rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

use http::StatusCode;

use super::{Excuse, Head, NEVER, Seen};
use crate::object::own::Own;
use crate::object::packed::{byte, bytes, number, put_bytes, put_number, put_signed, signed};
use crate::object::shared::Common;

/// What most heads have not is packed only where it is there.
const STATUS: u8 = 1;
const PURGED: u8 = 2;
const EXCUSED: u8 = 4;
const SEEN: u8 = 8;
/// The lifetime is in whole seconds, as origins tell it, and packed as such.
const SECONDS: u8 = 16;

const SECOND: i64 = 1000;

impl Head {
    /// What [`Head::pack`] leaves out.
    pub(in crate::object) fn common_part(&self) -> &Arc<Common> {
        &self.common
    }

    /// Times lie close together: but for one, what lies between them is packed.
    pub(in crate::object) fn pack(&self, out: &mut Vec<u8>) {
        let Self { common: _, own, born, fresh_until, came, purged_at, asked, excused_until, seen, status } = self;
        let (excused, seen) = (excused_until.0.load(Relaxed), seen.0.load(Relaxed));
        let lifetime = fresh_until.wrapping_sub(*born);
        let flag = |flag, is_set| if is_set { flag } else { 0 };
        let flags = flag(STATUS, *status != StatusCode::OK)
            | flag(PURGED, *purged_at != NEVER)
            | flag(EXCUSED, excused != 0)
            | flag(SEEN, seen != 0)
            | flag(SECONDS, lifetime % SECOND == 0);
        out.push(flags);
        if flags & STATUS != 0 {
            put_number(out, status.as_u16().into());
        }
        put_signed(out, *came);
        put_signed(out, born.wrapping_sub(*came));
        put_signed(out, if flags & SECONDS != 0 { lifetime / SECOND } else { lifetime });
        if flags & PURGED != 0 {
            put_signed(out, *purged_at);
        }
        put_number(out, *asked);
        if flags & EXCUSED != 0 {
            put_signed(out, excused);
        }
        if flags & SEEN != 0 {
            put_number(out, seen.into());
        }
        put_bytes(out, own.packed());
    }

    pub(in crate::object) fn unpack(common: Arc<Common>, rest: &mut &[u8]) -> Option<Self> {
        let flags = byte(rest)?;
        let status = if flags & STATUS == 0 { 200 } else { u16::try_from(number(rest)?).ok()? };
        let came = signed(rest)?;
        let born = came.wrapping_add(signed(rest)?);
        let lifetime = signed(rest)?;
        let lifetime = if flags & SECONDS == 0 { lifetime } else { lifetime * SECOND };
        Some(Self {
            common,
            born,
            fresh_until: born.wrapping_add(lifetime),
            came,
            purged_at: if flags & PURGED == 0 { NEVER } else { signed(rest)? },
            asked: number(rest)?,
            excused_until: Excuse(AtomicI64::new(if flags & EXCUSED == 0 { 0 } else { signed(rest)? })),
            seen: Seen(AtomicU32::new(if flags & SEEN == 0 { 0 } else { u32::try_from(number(rest)?).ok()? })),
            own: Own::of_packed(bytes(rest)?),
            status: StatusCode::from_u16(status).ok()?,
        })
    }
}
