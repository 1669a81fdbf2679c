//! This role's metrics, each declared once.

use service::metrics::Metric;

pub(crate) static DECISIONS: Metric = Metric::new(
    "tonearm_router_decisions_total",
    "answers to players by kind of question (via: route, play) and result (decided, unknown_track, no_edge)",
);
pub(crate) static PROBES: Metric =
    Metric::new("tonearm_router_probes_total", "probes of edges by kind (http, icmp) and result (answered, lost)");
pub(crate) static REPORTS: Metric = Metric::new(
    "tonearm_router_load_reports_total",
    "load reports by result (accepted, late, unknown_edge, malformed)",
);
pub(crate) static MEASUREMENTS: Metric = Metric::new(
    "tonearm_router_measurements_total",
    "what players measured, by result (counted, repeated, too_soon, refused)",
);
pub(crate) static SNAPSHOT_AGE: Metric =
    Metric::new("tonearm_router_snapshot_age_seconds", "seconds since PostgreSQL last confirmed the fleet");
pub(crate) static TRACKS: Metric = Metric::new("tonearm_router_tracks", "live tracks held in memory");
pub(crate) static EDGES: Metric =
    Metric::new("tonearm_router_edges", "edges by whether they may get listeners (fit: yes, no)");
pub(crate) static LOGGED: Metric = Metric::new(
    "tonearm_router_decisions_logged_total",
    "decisions by what became of their record (acknowledged: Kafka has it; dropped: the queue was full; lost: not acknowledged before the stop)",
);
pub(crate) static LOG_WAITING: Metric =
    Metric::new("tonearm_router_decisions_waiting", "decisions that wait for Kafka's acknowledgement");
