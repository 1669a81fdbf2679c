//! Which edge of a POP brings an object: rendezvous hashing with bounded load, as pure functions.
//!
//! Every edge ranks the edges of a POP the same way for one object, and one that comes or goes moves only its
//! own objects. An edge that has far more to do than its share is passed over (Mirrokni, Thorup and
//! Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2017).

/// More than its share by so much, in percent, an edge need not take.
const SPREAD_PERCENT: usize = 125;

/// Requests under way that are nobody's burden: below, spreading would only take an object to two edges.
const UNBURDENED: usize = 32;

/// How high an edge stands for an object: the same on every machine and in every version.
#[must_use]
pub fn score(edge: &str, object: &str) -> u64 {
    let both = u64::from(crc32c::crc32c(object.as_bytes())) << 32 | u64::from(crc32c::crc32c(edge.as_bytes()));
    mix(both)
}

/// Of splitmix64: each bit of the input moves about half of the output's.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Whether an edge with so many requests under way may get one more, where all of `edges` have `total`.
#[must_use]
pub fn has_room(load: usize, total: usize, edges: usize) -> bool {
    let share = ((total + 1) * SPREAD_PERCENT).div_ceil(100 * edges.max(1));
    load < share.max(UNBURDENED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best<'a>(edges: &[&'a str], object: &str) -> &'a str {
        edges.iter().max_by_key(|edge| score(edge, object)).unwrap()
    }

    #[test]
    fn objects_spread_evenly_and_stay_where_they_are() {
        let all = ["fra-1", "fra-2", "fra-3", "fra-4"];
        let mut counts = [0; 4];
        for n in 0..8000 {
            let object = format!("trk-{n}/128/seg-{}.m4s", n % 7);
            let at = best(&all, &object);
            counts[all.iter().position(|edge| *edge == at).unwrap()] += 1;
            let without = best(&all[..3], &object);
            assert!(without == at || at == "fra-4", "only what the lost edge had moves");
        }
        assert!(counts.iter().all(|count| (1800..2200).contains(count)), "{counts:?}");
    }

    #[test]
    fn nobody_has_far_more_than_a_share() {
        assert!(has_room(UNBURDENED - 1, UNBURDENED - 1, 4));
        assert!(!has_room(UNBURDENED, UNBURDENED, 4));
        assert!(has_room(124, 399, 4) && !has_room(125, 399, 4));
        assert!(has_room(1_000_000, 1_000_000, 1));
    }
}
