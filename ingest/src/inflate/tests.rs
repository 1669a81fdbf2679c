use std::io::Write;

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { max_bytes: 1 << 20, max_ratio: 100 };

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::encode_all(body, 3).unwrap()
}

/// The bytes, or the status and kind of the refusal.
fn inflated(encoding: Encoding, compressed: &[u8]) -> Result<Vec<u8>, (u16, &'static str)> {
    inflate(encoding, compressed, LIMITS, |_| Ok(())).map_err(|problem| (problem.status.as_u16(), problem.kind))
}

#[test]
fn members_and_frames_one_after_the_other() {
    let twice = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
    assert_eq!(inflated(Encoding::Gzip, &twice).unwrap(), b"one two");
    let twice = [zstd(b"one "), zstd(b""), zstd(b"two")].concat();
    assert_eq!(inflated(Encoding::Zstd, &twice).unwrap(), b"one two");
}

#[test]
fn what_is_not_whole_is_refused() {
    let body: Vec<u8> = (0..5000_u32).flat_map(u32::to_le_bytes).collect();
    for (encoding, whole) in [(Encoding::Gzip, gzip(&body)), (Encoding::Zstd, zstd(&body))] {
        for cut in [1, 2, whole.len() / 2, whole.len() - 1] {
            assert_eq!(inflated(encoding, &whole[..cut]), Err((400, "body-broken")), "{encoding:?} at {cut}");
        }
        let garbage = [&whole[..], b"and more"].concat();
        assert_eq!(inflated(encoding, &garbage), Err((400, "body-broken")), "{encoding:?}");
        assert_eq!(inflated(encoding, b"{\"event_id\":1}"), Err((400, "body-broken")), "{encoding:?}");
        assert_eq!(inflated(encoding, &whole).unwrap(), body);
    }
    let mut flipped = gzip(&body);
    let checksum = flipped.len() - 6;
    flipped[checksum] ^= 1;
    assert_eq!(inflated(Encoding::Gzip, &flipped), Err((400, "body-broken")));
}

#[test]
fn bombs_end_at_the_ratio_or_the_size() {
    let (small, large) = (vec![b' '; 900 << 10], vec![b' '; 64 << 20]);
    let noise: Vec<u8> = (0..40_000_u64).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    let long = noise.repeat(4);
    for (encoding, pack) in [(Encoding::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Encoding::Zstd, zstd)] {
        assert_eq!(inflated(encoding, &pack(&small)), Err((413, "ratio-too-high")), "{encoding:?}");
        assert_eq!(inflated(encoding, &pack(&large)).unwrap_err().0, 413, "{encoding:?}");
        assert_eq!(inflated(encoding, &pack(&long)), Err((413, "body-too-large")), "{encoding:?}");
        assert_eq!(inflated(encoding, &pack(&vec![b' '; HARMLESS])).unwrap().len(), HARMLESS);
    }
}

#[test]
fn a_window_of_a_hundred_megabytes_is_not_given() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(b"small").unwrap();
    assert_eq!(inflated(Encoding::Zstd, &encoder.finish().unwrap()), Err((400, "body-broken")));
}

#[test]
fn no_room_ends_it_at_the_step_that_has_none() {
    let body: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut admitted = 0;
    let refused = inflate(Encoding::Gzip, &gzip(&body), LIMITS, |n| {
        admitted += n;
        if admitted > 100_000 { Err(Problem::unavailable("full", 1)) } else { Ok(()) }
    });
    assert_eq!(refused.unwrap_err().status, 503);
    assert!(admitted < 140_000, "{admitted}");
}

#[test]
fn encodings() {
    let of = |values: &[&str]| {
        let named = values.iter().map(|value| (header::CONTENT_ENCODING, value.parse().unwrap()));
        Encoding::of(&named.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        }))
    };
    assert_eq!(of(&[]).unwrap(), None);
    assert_eq!(of(&["identity"]).unwrap(), None);
    assert_eq!(of(&["GZip"]).unwrap(), Some(Encoding::Gzip));
    assert_eq!(of(&["zstd"]).unwrap(), Some(Encoding::Zstd));
    for bad in [&["br"][..], &["deflate"], &["gzip, zstd"], &["gzip", "gzip"]] {
        let problem = of(bad).unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (415, Some("Content-Encoding")), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_inflated_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), start in 0..3_usize) {
        // Behind a true beginning, so that more than the first two bytes is looked at.
        let heads: [(Encoding, Vec<u8>); 3] =
            [(Encoding::Gzip, Vec::new()), (Encoding::Gzip, gzip(b"x")[..10].to_vec()), (Encoding::Zstd, zstd(b"x")[..5].to_vec())];
        let (encoding, head) = &heads[start];
        if let Err((status, _)) = inflated(*encoding, &[head, &bytes[..]].concat()) {
            prop_assert!(status == 400 || status == 413, "{}", status);
        }
    }

    #[test]
    fn what_was_packed_comes_out(body in prop::collection::vec(any::<u8>(), 0..5000)) {
        prop_assert_eq!(&inflated(Encoding::Gzip, &gzip(&body)).unwrap(), &body);
        prop_assert_eq!(&inflated(Encoding::Zstd, &zstd(&body)).unwrap(), &body);
    }
}
