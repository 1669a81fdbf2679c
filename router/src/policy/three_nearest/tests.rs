use proptest::prelude::*;
use wire::decision::RttSource;
use wire::{EdgeId, PopId};

use super::*;
use crate::policy::Unfit;

/// One edge's inputs, without the ids that a view borrows.
#[derive(Debug, Clone, Copy)]
struct Inputs {
    fit: Result<(), Unfit>,
    rtt_ms: Option<f64>,
    load: f64,
    network_load: f64,
}

fn fit(rtt_ms: f64, load: f64, network_load: f64) -> Inputs {
    Inputs { fit: Ok(()), rtt_ms: Some(rtt_ms), load, network_load }
}

fn choose_among(inputs: &[Inputs]) -> Choice {
    let pop = PopId::new("pop").unwrap();
    let ids: Vec<EdgeId> = (0..inputs.len()).map(|i| EdgeId::new(format!("e{i:03}")).unwrap()).collect();
    let edges: Vec<EdgeView<'_>> = inputs.iter().zip(&ids).map(|(input, id)| view_of(input, id, &pop)).collect();
    choose(&View { edges: &edges, load_max: 0.80 })
}

fn view_of<'a>(input: &Inputs, edge: &'a EdgeId, pop: &'a PopId) -> EdgeView<'a> {
    EdgeView {
        edge,
        pop,
        fit: input.fit,
        rtt_ms: input.rtt_ms,
        rtt_source: RttSource::Probe,
        jitter_ms: 0.0,
        loss: 0.0,
        load: input.load,
        network_load: input.network_load,
    }
}

fn ranked(inputs: &[Inputs]) -> Vec<usize> {
    choose_among(inputs).ranked.into_iter().map(|(at, _)| at).collect()
}

#[test]
fn picks_the_least_network_load_of_the_three_nearest() {
    let edges =
        [fit(10.0, 0.5, 0.5), fit(20.0, 0.5, 0.1), fit(30.0, 0.5, 0.3), fit(40.0, 0.5, 0.0), fit(5.0, 0.86, 0.0)];
    let choice = choose_among(&edges);
    assert_eq!(
        choice.ranked,
        [
            (1, Reason::LowestNetworkLoad { nearest: 3 }),
            (2, Reason::NetworkLoad { rank: 2, load: 0.3, first: 0.1 }),
            (0, Reason::NetworkLoad { rank: 3, load: 0.5, first: 0.1 }),
        ]
    );
    assert_eq!(
        choice.excluded,
        [
            (3, Exclusion::Further { nearest: 3, rtt_ms: Some(40.0) }),
            (4, Exclusion::Overloaded { load: 0.86, max: 0.80 }),
        ]
    );
}

#[test]
fn exactly_at_the_limit_is_not_over_it() {
    assert_eq!(ranked(&[fit(1.0, 0.80, 0.2), fit(2.0, 0.8001, 0.1)]), [0]);
}

#[test]
fn ties_go_by_round_trip_then_id() {
    assert_eq!(ranked(&[fit(9.0, 0.1, 0.2), fit(3.0, 0.1, 0.2), fit(3.0, 0.1, 0.2)]), [1, 2, 0]);
}

#[test]
fn what_was_never_measured_is_furthest() {
    let unknown = Inputs { rtt_ms: None, ..fit(0.0, 0.1, 0.0) };
    let four = [unknown, fit(300.0, 0.1, 0.3), fit(200.0, 0.1, 0.2), fit(100.0, 0.1, 0.1)];
    assert_eq!(ranked(&four), [3, 2, 1]);
    assert_eq!(ranked(&four[..3]), [0, 2, 1]);
}

#[test]
fn all_overloaded_fails_open_to_the_lowest_loads() {
    let edges = [fit(1.0, 0.99, 0.0), fit(9.0, 0.85, 0.9), fit(8.0, 0.90, 0.1), fit(7.0, 0.95, 0.1)];
    let choice = choose_among(&edges);
    assert_eq!(choice.ranked.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(choice.ranked[0].1, Reason::FailOpen { rank: 1, load: 0.85, max: 0.80 });
    assert_eq!(choice.excluded, [(0, Exclusion::Overloaded { load: 0.99, max: 0.80 })]);
}

#[test]
fn no_edge_no_answer() {
    assert_eq!(choose_among(&[]), Choice::default());
    let down = Inputs { fit: Err(Unfit::Down { failed: 3 }), ..fit(1.0, 0.1, 0.1) };
    let choice = choose_among(&[down]);
    assert!(choice.ranked.is_empty());
    assert_eq!(choice.excluded, [(0, Exclusion::Unfit(Unfit::Down { failed: 3 }))]);
}

/// The policy as the issue words it, by sorting whole lists.
fn reference(inputs: &[Inputs]) -> Vec<usize> {
    let fit = || (0..inputs.len()).filter(|i| inputs[*i].fit.is_ok());
    let rtt = |i: usize| inputs[i].rtt_ms.unwrap_or(f64::MAX);
    let mut near: Vec<usize> = fit().filter(|i| inputs[*i].load <= 0.80).collect();
    if near.is_empty() {
        let mut all: Vec<usize> = fit().collect();
        all.sort_by(|a, b| (inputs[*a].load, rtt(*a)).partial_cmp(&(inputs[*b].load, rtt(*b))).unwrap());
        all.truncate(3);
        return all;
    }
    near.sort_by(|a, b| rtt(*a).partial_cmp(&rtt(*b)).unwrap());
    near.truncate(3);
    near.sort_by(|a, b| inputs[*a].network_load.partial_cmp(&inputs[*b].network_load).unwrap());
    near
}

prop_compose! {
    // Few distinct values, so that ties are common.
    fn inputs()(out in 0u8..4, rtt in 0u8..6, load in 60u8..100, network in 0u8..5, full in prop::bool::ANY) -> Inputs {
        Inputs {
            fit: if out == 0 { Err(Unfit::NeverReported) } else { Ok(()) },
            rtt_ms: (rtt > 0).then(|| f64::from(rtt) * 10.0),
            load: if full { 0.81 + f64::from(load) / 1000.0 } else { f64::from(load) / 100.0 },
            network_load: f64::from(network) / 5.0,
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_the_reference(edges in prop::collection::vec(inputs(), 0..40)) {
        prop_assert_eq!(ranked(&edges), reference(&edges));
    }

    #[test]
    fn every_edge_is_accounted_for_once(edges in prop::collection::vec(inputs(), 0..40)) {
        let choice = choose_among(&edges);
        let mut seen: Vec<usize> = choice.ranked.iter().map(|(at, _)| *at).collect();
        seen.extend(choice.excluded.iter().map(|(at, _)| *at));
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..edges.len()).collect::<Vec<_>>());
    }
}
