//! What analysts and products ask, in both dialects. Each answer is rows of a text and a number.

use clickhouse::Client;

/// Whom the questions about one are about.
pub(crate) struct Chosen {
    track: String,
    user: String,
    session: String,
}

impl Chosen {
    /// The track that most played, and a listener and a session out of the middle.
    pub(crate) async fn of(client: &Client) -> anyhow::Result<Self> {
        let track = "SELECT toString(track_id) FROM events GROUP BY track_id ORDER BY count() DESC LIMIT 1";
        let one = "SELECT user_id, session_id FROM events WHERE user_id != '' AND _offset = \
                   (SELECT intDiv(max(_offset), 2) FROM events) LIMIT 1";
        let track = client.query(track).fetch_one().await?;
        let (user, session) = client.query(one).fetch_one().await?;
        Ok(Self { track, user, session })
    }

    /// Ids of the traffic hold no quotes.
    pub(crate) fn fill(&self, sql: &str) -> String {
        sql.replace("{track}", &self.track).replace("{user}", &self.user).replace("{session}", &self.session)
    }
}

pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) clickhouse: &'static str,
    pub(crate) postgres: &'static str,
}

pub(crate) const ALL: &[Question] = &[
    Question {
        name: "top 100 tracks of the day",
        clickhouse: "SELECT toString(track_id) AS t, count() AS n FROM events WHERE type = 'play_start' \
                     AND event_ts >= '2026-11-21' AND event_ts < '2026-11-22' GROUP BY t ORDER BY n DESC, t LIMIT 100",
        postgres: "SELECT track_id, count(*) AS n FROM events WHERE type = 'play_start' AND event_ts >= '2026-11-21' \
                   AND event_ts < '2026-11-22' GROUP BY 1 ORDER BY n DESC, track_id COLLATE \"C\" LIMIT 100",
    },
    Question {
        name: "one track by hour",
        clickhouse: "SELECT toString(toUnixTimestamp(toStartOfHour(event_ts))) AS h, count() AS n FROM events \
                     WHERE track_id = '{track}' GROUP BY h",
        postgres: "SELECT (extract(epoch FROM date_trunc('hour', event_ts)))::bigint::text, count(*) FROM events \
                   WHERE track_id = '{track}' GROUP BY 1",
    },
    Question {
        name: "streams (30 s heard) of the top 50 tracks",
        clickhouse: "SELECT t, count() AS n FROM (SELECT toString(any(track_id)) AS t, max(played_ms) AS heard \
                     FROM events GROUP BY session_id, play_id) WHERE heard >= 30000 GROUP BY t ORDER BY n DESC, t LIMIT 50",
        postgres: "SELECT t, count(*) AS n FROM (SELECT max(track_id) AS t, max(played_ms) AS heard FROM events \
                   GROUP BY session_id, play_id) AS p WHERE heard >= 30000 GROUP BY t ORDER BY n DESC, t COLLATE \"C\" LIMIT 50",
    },
    Question {
        name: "different listeners by country",
        clickhouse: "SELECT toString(country) AS c, uniqExact(if(user_id = '', anon_id, user_id)) AS n FROM events GROUP BY c",
        postgres: "SELECT country, count(DISTINCT CASE WHEN user_id = '' THEN anon_id ELSE user_id END) FROM events GROUP BY 1",
    },
    Question {
        name: "stalled time by POP and hour",
        clickhouse: "SELECT concat(pop, ' ', toString(toUnixTimestamp(toStartOfHour(event_ts)))) AS k, \
                     sum(stall_ms) AS n FROM (SELECT pop, event_ts, assumeNotNull(stall_ms) AS stall_ms FROM events \
                     WHERE type = 'stall' AND stall_ms IS NOT NULL) GROUP BY k",
        postgres: "SELECT pop || ' ' || (extract(epoch FROM date_trunc('hour', event_ts)))::bigint, \
                   sum(stall_ms)::bigint FROM events WHERE type = 'stall' AND stall_ms IS NOT NULL GROUP BY 1",
    },
    Question {
        name: "skips by app and device",
        clickhouse: "SELECT concat(app, ' ', device) AS k, count() AS n FROM events WHERE type = 'skip' GROUP BY k",
        postgres: "SELECT app || ' ' || device, count(*) FROM events WHERE type = 'skip' GROUP BY 1",
    },
    Question {
        name: "audible seconds by country and hour",
        clickhouse: "SELECT concat(c, ' ', toString(h)) AS k, toUInt64(intDiv(sum(heard), 1000)) AS n FROM (\
                     SELECT any(country) AS c, toUnixTimestamp(toStartOfHour(min(event_ts))) AS h, \
                     ifNull(max(played_ms), 0) AS heard FROM events GROUP BY session_id, play_id) GROUP BY k",
        postgres: "SELECT c || ' ' || h, div(sum(heard), 1000)::bigint FROM (SELECT max(country) AS c, \
                   (extract(epoch FROM date_trunc('hour', min(event_ts))))::bigint AS h, \
                   coalesce(max(played_ms), 0)::bigint AS heard FROM events GROUP BY session_id, play_id) AS p GROUP BY 1",
    },
    Question {
        name: "one listener's last 1000 events",
        clickhouse: "SELECT toString(event_id) AS k, toUInt64(toUnixTimestamp64Milli(event_ts)) AS n FROM events \
                     WHERE user_id = '{user}' ORDER BY event_ts DESC, k LIMIT 1000",
        postgres: "SELECT event_id::text, (extract(epoch FROM event_ts) * 1000)::bigint FROM events \
                   WHERE user_id = '{user}' ORDER BY event_ts DESC, event_id LIMIT 1000",
    },
    Question {
        name: "one session, event by event",
        clickhouse: "SELECT toString(event_id) AS k, toUInt64(toUnixTimestamp64Milli(event_ts)) AS n FROM events \
                     WHERE session_id = '{session}'",
        postgres: "SELECT event_id::text, (extract(epoch FROM event_ts) * 1000)::bigint FROM events \
                   WHERE session_id = '{session}'",
    },
];
