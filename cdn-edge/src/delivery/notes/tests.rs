use proptest::prelude::*;

use super::*;

fn names() -> (EdgeId, PopId) {
    (EdgeId::new("fra-1").unwrap(), PopId::new("fra").unwrap())
}

fn told(bytes_sent: u64) -> Told<'static> {
    Told {
        id: Uuid::now_v7(),
        key: KeyRef { https: true, host: "x", target: "/a%20b?c" },
        object_bytes: Some(70_000),
        decision_id: Some(DecisionId::generate()),
        head: false,
        status: 206,
        range_start: 3,
        started_at: Timestamp::from_millis(1_790_000_000_123).unwrap(),
        client: ClientNet::of("192.0.2.77".parse().unwrap()),
        cmcd: Some("br=128,sid=\"s-1\""),
        progress: Progress {
            bytes_sent,
            ttfb_us: 17,
            duration_us: 19,
            cache_status: CacheStatus::Collapsed,
            complete: true,
            tcp: Some(TcpNote { rtt_us: 5, retransmits: 7 }),
        },
    }
}

/// The next process on the folder, as a kill leaves it.
fn next(dir: &Path, boot: u128) -> (Arc<Notes>, Vec<Note>) {
    Notes::of_boot(dir, Uuid::from_u128(boot)).unwrap()
}

fn ids(left: &[Note]) -> Vec<Uuid> {
    let (edge, pop) = names();
    left.iter().map(|note| note.delivery(&edge, &pop).unwrap().delivery_id).collect()
}

#[test]
fn what_is_noted_is_left_to_the_next_process_until_it_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let (notes, left) = next(dir.path(), 1);
    assert!(left.is_empty());
    let all: Vec<Told<'_>> = (0..5).map(told).collect();
    let mut held: Vec<Note> = all.iter().map(|told| notes.note(told).unwrap()).collect();
    drop(held.remove(1));
    held[0].progress(&Progress { bytes_sent: 99, complete: false, ..all[0].progress });

    // As after a kill the mapping is there still, and nothing was dropped.
    let (_, left) = next(dir.path(), 1);
    let mut wanted: Vec<Uuid> = [0, 2, 3, 4].map(|nth| all[nth].id).to_vec();
    let (edge, pop) = names();
    let first = left[0].delivery(&edge, &pop).unwrap();
    assert_eq!((first.bytes_sent, first.complete, first.key.as_str()), (99, false, "a b"));
    assert_eq!(left[1].delivery(&edge, &pop), all[2].clone().into_delivery(&edge, &pop));
    // Killed while a write was under way.
    let sent = |note: &Note| note.delivery(&edge, &pop).map(|told| (told.bytes_sent, told.complete)).unwrap();
    for (intended, is_all, told) in [(150, false, (150, false)), (150, true, (150, true)), (0, false, (99, false))] {
        left[0].intend(intended, is_all);
        assert_eq!(sent(&left[0]), told);
    }
    left[0].intend(150, true);
    left[0].progress(&Progress { bytes_sent: 120, complete: false, ..all[0].progress });
    assert_eq!(sent(&left[0]), (120, false));
    assert_eq!(ids(&left), wanted);

    // Killed again before all of them are on disk, and while others are under way.
    let (notes, mut left) = next(dir.path(), 1);
    left.drain(..2);
    let new = told(6);
    let under_way = notes.note(&new).unwrap();
    let (_, left) = next(dir.path(), 1);
    wanted.drain(..2);
    wanted.insert(0, new.id);
    assert_eq!(ids(&left), wanted);
    drop(under_way);
}

#[test]
fn what_was_noted_under_another_boot_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let (notes, _) = next(dir.path(), 1);
    let _held = notes.note(&told(1)).unwrap();
    assert!(next(dir.path(), 2).1.is_empty());
    assert!(next(dir.path(), 2).1.is_empty());
    std::fs::write(dir.path().join(FILE), b"notes").unwrap();
    assert!(next(dir.path(), 2).1.is_empty());
}

#[test]
fn places_end_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (notes, _) = next(dir.path(), 1);
    let mut held: Vec<Note> = std::iter::from_fn(|| notes.note(&told(1))).collect();
    assert_eq!(held.len(), PLACES as usize);
    held.clear();
    assert!(notes.note(&told(1)).is_some());
    let (long, longer) = ("k".repeat(1900), "k".repeat(2000));
    let key = |target| Told { key: KeyRef::object(target), ..told(1) };
    assert!(notes.note(&key(&longer)).is_none());
    let note = notes.note(&key(&long)).unwrap();
    assert!(note.notes.note(&told(1)).is_some());
}

proptest! {
    #[test]
    fn any_texts_come_back(host in "[a-z]{0,40}", target in "/[ -~é]{1,1500}", cmcd in "\\PC{0,400}", cut in 0..20u8) {
        let dir = tempfile::tempdir().unwrap();
        let (notes, _) = next(dir.path(), 1);
        let client = ClientNet::of(if cut < 10 { "2001:db8:1:2::3" } else { "10.1.2.3" }.parse().unwrap());
        let told = Told { key: KeyRef { https: false, host: &host, target: &target }, cmcd: Some(&cmcd), client, ..told(3) };
        let Some(note) = notes.note(&told) else { return Ok(()) };
        let (edge, pop) = names();
        let (read, whole) = (note.delivery(&edge, &pop), told.clone().into_delivery(&edge, &pop));
        let fits = [&host, &target, &cmcd].iter().map(|text| words_of(text.len())).sum::<usize>() <= WORDS - TEXT;
        let without = Told { cmcd: None, ..told }.into_delivery(&edge, &pop);
        prop_assert_eq!(read, if fits { whole } else { without });
    }

    #[test]
    fn any_bytes_are_read(words in prop::collection::vec(any::<u64>(), WORDS), lengths in any::<[u8; 6]>()) {
        let dir = tempfile::tempdir().unwrap();
        let (notes, _) = next(dir.path(), 1);
        let note = notes.note(&told(1)).unwrap();
        for (at, word) in words.into_iter().enumerate() {
            note.words()[at].store(word, Relaxed);
        }
        let (edge, pop) = names();
        let _ = note.delivery(&edge, &pop);
        let [a, b, c, d, e, f] = lengths;
        note.words()[LENGTHS].store(u64::from_le_bytes([a, b % 8, c, d % 8, e, f % 8, 0, 0]), Relaxed);
        let _ = note.delivery(&edge, &pop);
    }
}
