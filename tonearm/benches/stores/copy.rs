//! Events as PostgreSQL's COPY reads them, in its text format.

use std::fmt::{Display, Write};
use std::time::{Duration, Instant};

use sqlx::PgConnection;
use wire::event::{AcceptedEvent, Consent, Extra};

pub(crate) async fn into(postgres: &mut PgConnection, table: &str, text: &str) -> anyhow::Result<Duration> {
    let since = Instant::now();
    let mut copy = postgres.copy_in_raw(&format!("COPY {table} FROM STDIN")).await?;
    copy.send(text.as_bytes()).await?;
    copy.finish().await?;
    Ok(since.elapsed())
}

/// The columns in the order of the table.
pub(crate) fn line(accepted: &AcceptedEvent, partition: usize, offset: i64, text: &mut String) {
    let event = &accepted.event;
    let mut line = Line { text, first: true };
    line.is(event.event_id).is(accepted.event_ts).is(accepted.received_at).is(accepted.skew_ms);
    line.is(event.event_type.as_str()).is(&accepted.app).is(event.session_id.as_str());
    line.or_empty(event.play_id.as_ref().map(|id| id.as_str())).or_null(event.seq);
    line.or_empty(event.user_id.as_deref()).or_empty(event.anon_id.as_deref()).is(event.track_id.as_str());
    for ms in [event.position_ms, event.duration_ms, event.played_ms, event.stall_ms] {
        line.or_null(ms);
    }
    line.or_null(event.bitrate_kbps);
    for field in [&event.codec, &event.device, &event.os, &event.app_version] {
        line.or_empty(field.as_deref());
    }
    line.or_empty(event.pop.as_ref().map(|id| id.as_str())).or_empty(event.edge_id.as_ref().map(|id| id.as_str()));
    line.or_null(event.decision_id.map(|id| id.0));
    line.or_empty(event.cache_status.as_deref()).or_empty(event.error_code.as_deref());
    line.or_empty(event.consent.map(Consent::as_str)).is(event.schema_version.unwrap_or(1));
    line.or_empty(event.extra.as_ref().map(Extra::as_str)).is(accepted.wire_format.as_str());
    line.or_empty(accepted.country.as_deref()).is(accepted.asn).is(&accepted.client_net);
    line.is(&accepted.ingest_id).is(accepted.ingest_seq).is(partition).is(offset);
    text.push('\n');
}

struct Line<'a> {
    text: &'a mut String,
    first: bool,
}

impl Line<'_> {
    /// The traffic's texts hold no tab and no line's end, but JSON may hold a backslash.
    fn is(&mut self, value: impl Display) -> &mut Self {
        let tab = if std::mem::take(&mut self.first) { "" } else { "\t" };
        let value = value.to_string().replace('\\', "\\\\");
        write!(self.text, "{tab}{value}").expect("writing to a String cannot fail");
        self
    }

    fn or_empty(&mut self, value: Option<&str>) -> &mut Self {
        self.is(value.unwrap_or(""))
    }

    fn or_null(&mut self, value: Option<impl Display>) -> &mut Self {
        if let Some(value) = value {
            return self.is(value);
        }
        let tab = if std::mem::take(&mut self.first) { "" } else { "\t" };
        self.text.push_str(tab);
        self.text.push_str("\\N");
        self
    }
}
