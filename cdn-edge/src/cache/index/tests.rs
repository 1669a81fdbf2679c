use std::collections::{HashMap, HashSet};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use proptest::prelude::*;
use wire::Timestamp;

use super::*;
use crate::cache::fifo::STEP;
use crate::freshness::Life;
use crate::object::Description;
use crate::vary::Selectors;

type Ended = Arc<Mutex<Vec<Arc<Object>>>>;

/// Puts everything to rest that it can.
fn index(pages: u64) -> (Index, Ended) {
    let ended = Ended::default();
    let told = ended.clone();
    let index = Index::new(pages * PAGE, 0, move |object| told.lock().unwrap().push(object));
    (Index { most_awake: 0, ..index }, ended)
}

fn version(id: u64, key: &str, bytes: u64, selectors: Selectors) -> Arc<Object> {
    let headers = HeaderMap::from_iter([(header::ETAG, HeaderValue::try_from(format!("\"{id}\"")).unwrap())]);
    let told = Description::new(StatusCode::OK, Some(bytes), &headers, selectors);
    Arc::new(Object::new(id, &KeyRef::object(key), told, Life::of_age(0), &HeaderMap::new()))
}

#[derive(Debug, Clone)]
enum Step {
    Put {
        key: u8,
        pages: u64,
        variant: bool,
    },
    /// And keep what is found.
    Get(u8),
    LetGo(usize),
    TakeOut(usize),
    /// Of what is kept, something changes.
    Store(usize),
    Excuse(usize, i64),
    Purge(usize, i64),
    Rest,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0u8..8;
    let kept = || 0usize..8;
    prop_oneof![
        3 => (key(), 0u64..12, prop::bool::weighted(0.2))
            .prop_map(|(key, pages, variant)| Step::Put { key, pages, variant }),
        4 => key().prop_map(Step::Get),
        6 => kept().prop_map(Step::LetGo),
        1 => kept().prop_map(Step::TakeOut),
        2 => kept().prop_map(Step::Store),
        1 => (kept(), 1i64..9).prop_map(|(kept, until)| Step::Excuse(kept, until)),
        1 => (kept(), 1i64..9).prop_map(|(kept, at)| Step::Purge(kept, at)),
        4 => Just(Step::Rest),
    ]
}

/// What should be held: of each version its key and all that is known of it.
#[derive(Default)]
struct Model {
    held: HashMap<u64, (String, String)>,
    ended: HashSet<u64>,
    kept: Vec<Arc<Object>>,
}

impl Model {
    fn kept(&self, at: usize) -> Option<&Arc<Object>> {
        self.kept.get(at % self.kept.len().max(1))
    }

    fn is_as(&mut self, object: &Object) {
        if let Some((_, known)) = self.held.get_mut(&object.id) {
            *known = format!("{object:?}");
        }
    }

    fn end(&mut self, object: &Arc<Object>) {
        assert!(self.held.remove(&object.id).is_some() && self.ended.insert(object.id), "it ends once");
        assert!(object.has_ended());
    }
}

fn take(step: Step, id: u64, index: &Index, model: &mut Model) {
    match step {
        Step::Put { key, pages, variant } => {
            let selectors = if variant { vec![("a".into(), Some("b".into()))] } else { Vec::new() };
            let object = version(id, &format!("k{key}"), pages * PAGE, selectors);
            model.held.insert(id, (format!("k{key}"), format!("{object:?}")));
            index.put(&object).iter().for_each(|before| model.end(before));
            model.kept.push(object);
        }
        Step::Get(key) => {
            let key = format!("k{key}");
            let found = index.get(&KeyRef::object(&key));
            let found = found.as_ref().map_or(&[][..], |found| found.as_slice());
            let ids: HashSet<u64> = found.iter().map(|object| object.id).collect();
            let wanted = model.held.iter().filter(|(_, (of, _))| *of == key).map(|(id, _)| *id).collect();
            assert_eq!(ids, wanted);
            model.kept.extend(found.iter().cloned());
        }
        Step::LetGo(at) if !model.kept.is_empty() => drop(model.kept.swap_remove(at % model.kept.len())),
        Step::TakeOut(at) => {
            let Some(object) = model.kept(at).cloned() else { return };
            assert_eq!(index.take_out(&object), model.held.contains_key(&object.id));
            if object.end() {
                model.end(&object);
            }
        }
        Step::Store(at) => {
            let Some(object) = model.kept(at).cloned().filter(|object| object.chunks() > 0) else { return };
            object.set_on_disk(0, 7);
            model.is_as(&object);
            index.weigh_again(&object);
        }
        Step::Excuse(at, until) => {
            let Some(object) = model.kept(at).cloned() else { return };
            object.head().excuse(Timestamp::from_millis(until).unwrap());
            object.set_logged(true);
            model.is_as(&object);
        }
        Step::Purge(at, when) => {
            let Some(object) = model.kept(at).cloned() else { return };
            let purged = object.head().purged(when);
            purged.saw(when.unsigned_abs());
            object.refresh(purged);
            model.is_as(&object);
        }
        Step::Rest => index.put_to_rest(),
        Step::LetGo(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn rest_is_seen_by_nobody(steps in prop::collection::vec(step(), 0..120)) {
        let ((index, ended), mut model) = (index(30), Model::default());
        for (id, step) in (1u64..).zip(steps) {
            take(step.clone(), id, &index, &mut model);
            std::mem::take(&mut *ended.lock().unwrap()).iter().for_each(|object| model.end(object));
            // Those that are kept are the only ones of their versions.
            let mut only = HashMap::new();
            for object in &model.kept {
                let known = only.entry(object.id).or_insert_with(|| object.clone());
                prop_assert!(Arc::ptr_eq(known, object), "two of one version");
                prop_assert_eq!(object.has_ended(), model.ended.contains(&object.id));
            }
            let mut held = HashMap::new();
            let (mut awake, mut pages) = (0, 0);
            for of_key in index.iter() {
                of_key.each(|object| {
                    held.insert(object.id, (object.key().target.to_owned(), format!("{object:?}")));
                    pages += 1 + object.disk_bytes() / PAGE;
                });
                awake += usize::from(of_key.is_one());
            }
            prop_assert_eq!(&held, &model.held, "after {:?}", step);
            prop_assert_eq!((index.awake(), index.disk_bytes()), (awake, pages * PAGE));
        }
        // Once nobody has them and nobody has asked for them for a round, all rest that are alone under their key.
        model.kept.clear();
        index.put_to_rest();
        index.put_to_rest();
        prop_assert_eq!(index.awake(), 0);
    }
}

/// Which versions somebody has, where they lie, and how many have them.
#[derive(Default)]
struct Had(Mutex<HashMap<u64, (usize, usize)>>);

impl Had {
    fn take(&self, object: &Arc<Object>) {
        let mut had = self.0.lock().unwrap();
        let (place, count) = had.entry(object.id).or_default();
        let here = Arc::as_ptr(object).addr();
        assert!(*count == 0 || *place == here, "two of one version");
        (*place, *count) = (here, *count + 1);
    }

    fn leave(&self, object: &Object) {
        if let Some((_, count)) = self.0.lock().unwrap().get_mut(&object.id) {
            *count -= 1;
        }
    }
}

#[test]
fn many_who_ask_at_once_get_the_same() {
    let ((index, ended), had) = (index(30), Had::default());
    let (put, gone) = (AtomicUsize::new(0), Mutex::new(HashSet::new()));
    let end = |object: &Object| assert!(gone.lock().unwrap().insert(object.id), "it ends once");
    std::thread::scope(|scope| {
        for seed in 0..3usize {
            let (index, had, put, gone, end) = (&index, &had, &put, &gone, &end);
            scope.spawn(move || {
                for n in 0..6000usize {
                    let key = format!("k{}", n.wrapping_mul(2 * seed + 3) % 7);
                    if n % 50 == 0 {
                        let id = put.fetch_add(1, Relaxed) as u64;
                        let object = version(id, &key, 3, Vec::new());
                        had.take(&object);
                        index.put(&object).iter().for_each(|before| end(before));
                        object.set_on_disk(0, 1);
                        index.weigh_again(&object);
                        had.leave(&object);
                    }
                    if n % 5 == seed {
                        index.put_to_rest();
                    }
                    let known = if n % 16 == 0 { gone.lock().unwrap().clone() } else { HashSet::new() };
                    let Some(Variants::One(object)) = index.get(&KeyRef::object(&key)) else { continue };
                    assert!(!known.contains(&object.id), "it had ended");
                    had.take(&object);
                    object.head().excuse(Timestamp::from_millis(n as i64).unwrap());
                    if n % 333 == 0 && index.take_out(&object) && object.end() {
                        end(&object);
                    }
                    had.leave(&object);
                }
            });
        }
    });
    ended.lock().unwrap().iter().for_each(|object| end(object));
    let held: HashSet<u64> = index.iter().flat_map(|held| held.each(|object| object.id)).collect();
    let gone = gone.into_inner().unwrap();
    assert_eq!((held.len() + gone.len(), held.is_disjoint(&gone)), (put.into_inner(), true), "none is lost");
    index.put_to_rest();
    index.put_to_rest();
    assert_eq!(index.awake(), 0);
}

#[test]
fn a_few_stay_awake_and_of_many_those_that_are_asked_for() {
    let (index, _ended) = index(1 << 20);
    let index = Index { most_awake: 100, ..index };
    let keys: Vec<String> = (0..1000).map(|n| format!("k{n}")).collect();
    let ask = |from: usize| keys[from..].iter().filter(|key| index.get(&KeyRef::object(key)).is_some()).count();
    for (id, key) in (1..).zip(&keys[..100]) {
        index.put(&version(id, key, 1, Vec::new()));
    }
    index.put_to_rest();
    assert_eq!(index.awake(), 100, "they are few");
    for (id, key) in (101..).zip(&keys[100..]) {
        index.put(&version(id, key, 1, Vec::new()));
    }
    index.put_to_rest();
    assert!((100 - STEP..=100).contains(&index.awake()));
    assert_eq!((ask(0), index.awake()), (1000, 1000));
    index.put_to_rest();
    assert_eq!((index.awake(), ask(500)), (1000, 500), "all have just been asked for");
    index.put_to_rest();
    assert!((500..600).contains(&index.awake()), "{} of 500 that are asked for", index.awake());
}

/// What an object takes in all, at rest but for those that may be awake:
/// `cargo test -p cdn-edge --lib -- --ignored --nocapture bytes_of`.
#[test]
#[ignore = "measures the whole process"]
fn bytes_of_an_object_at_rest() {
    const OBJECTS: u64 = 1_000_000;
    let index = Index::new(1 << 40, 144 << 20, |_| {});
    let resident = || procfs::process::Process::myself().unwrap().statm().unwrap().resident * PAGE;
    let before = resident();
    for id in 1..=OBJECTS {
        let fields = [
            ("etag", format!("\"{id:032x}\"")),
            ("date", "Fri, 20 Nov 2026 12:00:00 GMT".to_owned()),
            ("last-modified", "Fri, 20 Nov 2026 11:00:00 GMT".to_owned()),
            ("content-type", "application/octet-stream".to_owned()),
            ("cache-control", "max-age=31536000".to_owned()),
        ];
        let fields = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let told = Description::new(StatusCode::OK, Some(10_000), &fields.collect(), Vec::new());
        let life = Life { fresh_until: 1_826_536_000_000, ..Life::of_age(1_795_000_000_000) };
        let target = format!("http://127.0.0.1:9000/1024/0/n{id}");
        let object = Object::new(id, &KeyRef::parse(&target), told, life, &HeaderMap::new());
        object.set_on_disk(0, 7);
        object.set_logged(true);
        index.put(&Arc::new(object));
        if id % 5000 == 0 {
            index.put_to_rest();
        }
    }
    let bytes = (resident() - before) / OBJECTS;
    println!("{bytes} bytes an object, {} awake", index.awake());
    assert!(bytes <= 220);
}

#[test]
fn long_names_are_bounded_by_the_disks_budget() {
    let (index, ended) = index(4096);
    for nth in 0..1000 {
        index.put(&version(nth, &format!("{nth}{}", "a".repeat(16 << 10)), 1, Selectors::new()));
    }
    let names: u64 = index.iter().flat_map(|held| held.each(Object::name_bytes)).sum();
    assert!(names > 0 && names < 2 * 4096 * PAGE / 64, "{names} bytes of names");
    assert_eq!(index.len() + ended.lock().unwrap().len(), 1000);
}
