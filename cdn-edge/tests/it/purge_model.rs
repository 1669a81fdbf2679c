//! Random purges, changes and failures of the origin, and restarts, against a cache of forty lines.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::client::get;
use crate::purge::purge;
use crate::stage::Stage;
use crate::web::{Reply, Web};

const KEYS: [(&str, &str); 6] =
    [("a/1", "x"), ("a/12", "x,y"), ("a/b/1", "y"), ("b/1", "x,z"), ("b/2", ""), ("c", "z")];

#[derive(Debug, Clone)]
enum What {
    Key(usize),
    Prefix(&'static str),
    Tag(&'static str),
}

#[derive(Debug, Clone)]
enum Operation {
    Get(usize),
    /// The origin has another version.
    Change(usize),
    /// The origin answers with an error, or does so no more.
    Fail(usize),
    Purge(What, bool),
    Restart,
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = 0..KEYS.len();
    let what = prop_oneof![
        key.clone().prop_map(What::Key),
        prop::sample::select(vec!["a/", "a/1", "b", "z/"]).prop_map(What::Prefix),
        prop::sample::select(vec!["x", "y", "z", "none"]).prop_map(What::Tag),
    ];
    prop_oneof![
        12 => key.clone().prop_map(Operation::Get),
        6 => key.clone().prop_map(Operation::Change),
        3 => key.prop_map(Operation::Fail),
        6 => (what, any::<bool>()).prop_map(|(what, soft)| Operation::Purge(what, soft)),
        1 => Just(Operation::Restart),
    ]
}

/// What the origin has, and what a cache holds: a version, and whether it must be asked about.
#[derive(Default)]
struct Reference {
    origin: HashMap<usize, u32>,
    held: HashMap<usize, (u32, bool)>,
    failing: HashSet<usize>,
}

impl Reference {
    /// The version that is served, none where the origin's failure is, and whether the origin is asked.
    fn get(&mut self, key: usize) -> (Option<u32>, bool) {
        let newest = self.origin.get(&key).copied().unwrap_or(0);
        match self.held.get(&key) {
            Some((version, false)) => (Some(*version), false),
            // Nothing allows to serve it stale, and it stays what it is.
            _ if self.failing.contains(&key) => (None, true),
            _ => {
                self.held.insert(key, (newest, false));
                (Some(newest), true)
            }
        }
    }

    fn purge(&mut self, what: &What, soft: bool) {
        self.held.retain(|key, (_, stale)| {
            let (name, tags) = KEYS[*key];
            let meant = match what {
                What::Key(at) => at == key,
                What::Prefix(prefix) => name.starts_with(prefix),
                What::Tag(tag) => tags.split(',').any(|named| named == *tag),
            };
            *stale |= meant;
            !meant || soft
        });
    }
}

fn script(web: &Web, reference: &Reference, key: usize) {
    let (name, tags) = KEYS[key];
    if reference.failing.contains(&key) {
        web.put(&format!("/{name}"), [Reply::new(503, &[], "failing")]);
        return;
    }
    let version = reference.origin.get(&key).copied().unwrap_or(0);
    let etag = format!("\"{version}\"");
    let headers = [("Cache-Control", "max-age=600"), ("ETag", &*etag), ("Cache-Tag", tags)];
    web.put(&format!("/{name}"), [Reply::new(200, &headers, format!("{name} {version}"))]);
}

async fn apply(stage: &mut Stage, web: &Web, reference: &mut Reference, operation: Operation) {
    match operation {
        Operation::Get(key) => {
            let asked = web.heard().len();
            let got = get(&stage.at(KEYS[key].0)).await;
            let (version, asks) = reference.get(key);
            match version {
                Some(version) => assert_eq!(got.bytes(), format!("{} {version}", KEYS[key].0).as_bytes()),
                None => assert_eq!(got.status, 503),
            }
            assert_eq!(web.heard().len() > asked, asks, "{}: {:?}", KEYS[key].0, got.headers);
        }
        Operation::Change(key) => {
            *reference.origin.entry(key).or_default() += 1;
            script(web, reference, key);
        }
        Operation::Fail(key) => {
            if !reference.failing.remove(&key) {
                reference.failing.insert(key);
            }
            script(web, reference, key);
        }
        Operation::Purge(what, soft) => {
            let host = stage.url.strip_prefix("http://").unwrap();
            let named = match &what {
                What::Key(key) => format!(r#""keys":["{host}/{}"]"#, KEYS[*key].0),
                What::Prefix(prefix) => format!(r#""prefixes":["{host}/{prefix}"]"#),
                What::Tag(tag) => format!(r#""tags":["{tag}"]"#),
            };
            purge(stage, &format!(r#"{{{named},"soft":{soft}}}"#)).await;
            reference.purge(&what, soft);
        }
        Operation::Restart => {
            // The port is part of the key, so it stays.
            stage.config.edge.listen = stage.url.strip_prefix("http://").unwrap().parse().unwrap();
            stage.restart().await;
        }
    }
}

#[test]
fn purges_are_as_a_reference_has_them() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 8, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&proptest::collection::vec(operation(), 1..60), |operations| {
        runtime.block_on(async {
            let web = Web::start().await;
            let mut reference = Reference::default();
            (0..KEYS.len()).for_each(|key| script(&web, &reference, key));
            let mut stage = Stage::public(&web, |_| ()).await;
            for operation in operations {
                apply(&mut stage, &web, &mut reference, operation).await;
            }
        });
        Ok(())
    });
    outcome.unwrap();
}
