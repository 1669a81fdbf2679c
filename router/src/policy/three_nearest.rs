//! `three-nearest`: drop every edge over the load limit, take the 3 with the lowest round trip, pick
//! the one with the least network load, the rest following by network load.
//!
//! Ties go to the lower round trip, then to the lower id. An edge whose round trip is unknown is
//! further than any other. Where every edge that may get listeners is over the limit, the 3 with the
//! lowest load are offered: a crowded edge still beats silence.

use std::cmp::Ordering;

use super::{Choice, EdgeView, Exclusion, Reason, View};

const NEAREST: usize = 3;

pub(super) fn choose(view: &View<'_>) -> Choice {
    let mut choice = Choice::default();
    let (mut eligible, mut full) = (Vec::with_capacity(view.edges.len()), Vec::new());
    for (at, edge) in view.edges.iter().enumerate() {
        match edge.fit {
            Err(unfit) => choice.excluded.push((at, Exclusion::Unfit(unfit))),
            Ok(()) if edge.load > view.load_max => full.push(at),
            Ok(()) => eligible.push(at),
        }
    }
    if eligible.is_empty() {
        fail_open(view, &mut full, &mut choice);
    } else {
        pick(view, &mut eligible, &mut choice);
    }
    exclude_overloaded(view, &full, &mut choice);
    choice.excluded.sort_unstable_by_key(|(at, _)| *at);
    choice
}

fn pick(view: &View<'_>, eligible: &mut Vec<usize>, choice: &mut Choice) {
    let further = keep_first(eligible, view, by_rtt);
    eligible.sort_unstable_by(|a, b| by_network_load(&view.edges[*a], &view.edges[*b]));
    let first = &view.edges[eligible[0]];
    for (i, at) in eligible.iter().enumerate() {
        choice.ranked.push((*at, reason(i + 1, eligible.len(), &view.edges[*at], first)));
    }
    for at in further {
        let rtt_ms = view.edges[at].rtt_ms;
        choice.excluded.push((at, Exclusion::Further { nearest: eligible.len(), rtt_ms }));
    }
}

fn reason(rank: usize, nearest: usize, edge: &EdgeView<'_>, first: &EdgeView<'_>) -> Reason {
    let load = edge.network_load;
    match rank {
        1 if nearest == 1 => Reason::OnlyOne,
        1 => Reason::LowestNetworkLoad { nearest },
        _ if load > first.network_load => Reason::NetworkLoad { rank, load, first: first.network_load },
        _ => Reason::TieByRtt { rank, load, rtt_ms: edge.rtt_ms, first_ms: first.rtt_ms },
    }
}

/// Leaves in `full` those that are not offered.
fn fail_open(view: &View<'_>, full: &mut Vec<usize>, choice: &mut Choice) {
    let rest = keep_first(full, view, by_load);
    full.sort_unstable_by(|a, b| by_load(&view.edges[*a], &view.edges[*b]));
    for (i, at) in full.iter().enumerate() {
        let load = view.edges[*at].load;
        choice.ranked.push((*at, Reason::FailOpen { rank: i + 1, load, max: view.load_max }));
    }
    *full = rest;
}

fn exclude_overloaded(view: &View<'_>, full: &[usize], choice: &mut Choice) {
    for at in full {
        let load = view.edges[*at].load;
        choice.excluded.push((*at, Exclusion::Overloaded { load, max: view.load_max }));
    }
}

type Order = fn(&EdgeView<'_>, &EdgeView<'_>) -> Ordering;

/// Keeps the first [`NEAREST`] by an order, unsorted, and returns the others.
fn keep_first(edges: &mut Vec<usize>, view: &View<'_>, order: Order) -> Vec<usize> {
    if edges.len() <= NEAREST {
        return Vec::new();
    }
    edges.select_nth_unstable_by(NEAREST, |a, b| order(&view.edges[*a], &view.edges[*b]));
    edges.split_off(NEAREST)
}

fn by_rtt(a: &EdgeView<'_>, b: &EdgeView<'_>) -> Ordering {
    a.rtt_or_last().total_cmp(&b.rtt_or_last()).then_with(|| a.edge.cmp(b.edge))
}

fn by_network_load(a: &EdgeView<'_>, b: &EdgeView<'_>) -> Ordering {
    a.network_load.total_cmp(&b.network_load).then_with(|| by_rtt(a, b))
}

fn by_load(a: &EdgeView<'_>, b: &EdgeView<'_>) -> Ordering {
    a.load.total_cmp(&b.load).then_with(|| by_rtt(a, b))
}

#[cfg(test)]
mod tests;
