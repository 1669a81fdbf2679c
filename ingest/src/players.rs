//! What players post, from the body to the answer; the same road for every format.

use std::net::IpAddr;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use service::Problem;
use wire::Timestamp;
use wire::event::WireFormat;

use crate::accept::{self, Context, Refusal};
use crate::body;
use crate::formats::{Format, cmcd, essence, unsupported};
use crate::keys::Keyed;
use crate::message::EventMessage;
use crate::metrics;
use crate::privacy::Hasher;
use crate::publish::Pending;
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
    pub(crate) async fn take_events<B>(&self, asked: &Asked<'_>, body: B) -> Result<Response, Problem>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<axum::BoxError>,
    {
        let format = Format::of(asked.headers)?;
        self.take(asked, body, format.wire_format(), |body, context| {
            if format == Format::Json
                && let Some(messages) = accept::plain(body, context)
            {
                return self.hand_over(asked, messages.into_iter().map(Ok));
            }
            let read = |element| match format.wire_format() {
                WireFormat::Json => accept::json(element, context),
                _ => accept::event(element, format.read(element, asked.headers, context.app), context),
            };
            self.hand_over(asked, format.cut(body)?.into_iter().map(read))
        })
        .await
    }

    /// `POST /v1/cmcd`.
    ///
    /// # Errors
    /// As [`Ingest::take_events`].
    pub(crate) async fn take_cmcd(&self, asked: &Asked<'_>, body: Body) -> Result<Response, Problem> {
        // A beacon can only say that it is text.
        if !matches!(&*essence(asked.headers), "application/cmcd" | "text/plain") {
            return Err(unsupported("application/cmcd, or text/plain with the same lines"));
        }
        self.take(asked, body, WireFormat::Cmcd, |body, context| {
            let read = |line| accept::event(line, cmcd::event(line, context.app, &self.plays), context);
            self.hand_over(asked, body::lines(body)?.into_iter().map(read))
        })
        .await
    }

    async fn take<'s, B>(
        &'s self,
        asked: &Asked<'_>,
        body: B,
        wire_format: WireFormat,
        publish: impl FnOnce(&[u8], &Context<'_>) -> Result<Pending<'s>, Problem>,
    ) -> Result<Response, Problem>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<axum::BoxError>,
    {
        let received_at = Timestamp::now();
        // A key that may post nothing for now has no body read.
        asked.key.spend(0)?;
        self.road.check()?;
        let held = self.intake.read(asked.headers, body).await?;
        metrics::EVENTS.bytes.increment(held.received as u64);
        let begun = self.answers.begin(asked.headers, asked.key.app(), asked.path, &held.body)?;
        let publish = async {
            let pending = publish(&held.body, &self.context(asked, received_at, wire_format)?)?;
            Ok(pending.answer().await)
        };
        begun.answer(publish).await
    }

    /// # Errors
    /// 429 where the key may not post so many.
    fn hand_over<'e>(
        &self,
        asked: &Asked<'_>,
        elements: impl ExactSizeIterator<Item = Result<EventMessage<'e>, Refusal>>,
    ) -> Result<Pending<'_>, Problem> {
        asked.key.spend(elements.len())?;
        Ok(self.listens.send(elements))
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
            hasher: Hasher::new(self.keys.pseudonyms()?),
        })
    }
}
