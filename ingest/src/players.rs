//! What players post, from the body to the answer; the same road for every format.

use std::net::IpAddr;

use axum::body::Body;
use axum::response::Response;
use http::HeaderMap;
use service::Problem;
use wire::event::{Event, WireFormat};
use wire::{FieldError, Timestamp};

use crate::accept::{self, Context};
use crate::body;
use crate::formats::{Format, cmcd, essence, unsupported};
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
        let format = Format::of(asked.headers)?;
        let read = |element: &[u8]| format.read(element, asked.headers, asked.key.app());
        self.take(asked, body, format.wire_format(), |body| format.cut(body), read).await
    }

    /// `POST /v1/cmcd`.
    ///
    /// # Errors
    /// As [`Ingest::take_events`].
    pub(crate) async fn take_cmcd(&self, asked: &Asked<'_>, body: Body) -> Result<Response, Problem> {
        // A beacon can only say that it is text.
        if !matches!(essence(asked.headers).as_str(), "application/cmcd" | "text/plain") {
            return Err(unsupported("application/cmcd, or text/plain with the same lines"));
        }
        let read = |line: &[u8]| cmcd::event(line, asked.key.app(), &self.plays);
        self.take(asked, body, WireFormat::Cmcd, body::lines, read).await
    }

    async fn take(
        &self,
        asked: &Asked<'_>,
        body: Body,
        wire_format: WireFormat,
        cut: impl for<'b> Fn(&'b [u8]) -> Result<Vec<&'b [u8]>, Problem>,
        read: impl Fn(&[u8]) -> Result<Event, FieldError>,
    ) -> Result<Response, Problem> {
        let received_at = Timestamp::now();
        // A key that may post nothing for now has no body read.
        asked.key.spend(0)?;
        self.road.check()?;
        let held = self.intake.read(asked.headers, body).await?;
        metrics::EVENTS.bytes.increment(held.received as u64);
        let begun = self.answers.begin(asked.headers, asked.key.app(), asked.path, &held.body)?;
        let publish = async {
            let elements = cut(&held.body)?;
            asked.key.spend(elements.len())?;
            let context = self.context(asked, received_at, wire_format)?;
            let pending = self.listens.send(&elements, |element| accept::event(element, read(element), &context));
            Ok(pending.answer().await)
        };
        begun.answer(publish).await
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
