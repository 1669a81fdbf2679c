//! What players post, from the body to the answer; the same road for every format.

use std::net::IpAddr;

use axum::body::Body;
use axum::response::Response;
use http::HeaderMap;
use service::Problem;
use wire::Timestamp;
use wire::event::WireFormat;

use crate::accept::{self, Context};
use crate::formats::Format;
use crate::keys::Keyed;
use crate::metrics;
use crate::server::Ingest;

/// Who posts, and how.
pub(crate) struct Asked<'a> {
    pub(crate) key: &'a Keyed,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) peer: IpAddr,
}

impl Ingest {
    /// `POST /v1/events`.
    ///
    /// # Errors
    /// 4xx for what cannot be read as events, 429, 503.
    pub(crate) async fn take_events(&self, asked: &Asked<'_>, body: Body) -> Result<Response, Problem> {
        let received_at = Timestamp::now();
        let format = Format::of(asked.headers)?;
        // A key that may post nothing for now has no body read.
        asked.key.spend(0)?;
        self.watch.check()?;
        let held = self.intake.read(asked.headers, body).await?;
        metrics::EVENTS.bytes.increment(held.received as u64);
        let begun = self.answers.begin(asked.headers, asked.key.app(), asked.path, &held.body)?;
        begun.answer(self.publish(asked, format, received_at, &held.body)).await
    }

    async fn publish(
        &self,
        asked: &Asked<'_>,
        format: Format,
        received_at: Timestamp,
        body: &[u8],
    ) -> Result<Response, Problem> {
        let elements = format.cut(body)?;
        asked.key.spend(elements.len())?;
        let context = self.context(asked, received_at, format.wire_format())?;
        let pending = self.listens.send(&elements, |element| {
            let event = format.read(element, asked.headers, context.app);
            accept::event(element, event, &context, || self.next_seq())
        });
        Ok(pending.answer().await)
    }

    /// # Errors
    /// 503 before any key of pseudonyms is known.
    pub(crate) fn context<'a>(
        &'a self,
        asked: &Asked<'a>,
        received_at: Timestamp,
        wire_format: WireFormat,
    ) -> Result<Context<'a>, Problem> {
        Ok(Context {
            app: asked.key.app(),
            ingest_id: &self.id,
            received_at,
            wire_format,
            place: self.geo.place(self.addresses.listener(asked.peer, asked.headers)),
            pseudonyms: self.keys.pseudonyms()?,
        })
    }
}
