//! What players post, from the body to the answer; the same road for every format.

use std::net::IpAddr;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Uri};
use service::Problem;
use wire::Timestamp;
use wire::event::WireFormat;

use crate::accept::{self, Context, Refusal};
use crate::body;
use crate::formats::{Format, cmcd, essence, unsupported};
use crate::intake::Held;
use crate::keys::Keyed;
use crate::message::EventMessage;
use crate::metrics;
use crate::privacy::Hasher;
use crate::publish::Pending;
use crate::server::Ingest;

/// Who posts, and how.
pub(crate) struct Asked {
    pub(crate) key: Keyed,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: IpAddr,
}

impl Ingest {
    /// `POST /v1/events`.
    ///
    /// # Errors
    /// 4xx for what cannot be read as events, 429, 503.
    pub(crate) async fn take_events<B>(&self, asked: Asked, body: B) -> Result<Response, Problem>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<axum::BoxError>,
    {
        let format = Format::of(&asked.headers)?;
        self.take(asked, body, format.wire_format(), |asked, body, context| {
            if format == Format::Json
                && let Some(messages) = accept::plain(body, context)
            {
                asked.key.spend(messages.len())?;
                return Ok(self.listens.send_all(messages));
            }
            let read = |element| match format.wire_format() {
                WireFormat::Json => accept::json(element, context),
                _ => accept::event(element, format.read(element, &asked.headers, context.app), context),
            };
            self.hand_over(asked, format.cut(body)?.into_iter().map(read))
        })
        .await
    }

    /// `POST /v1/cmcd`.
    ///
    /// # Errors
    /// As [`Ingest::take_events`].
    pub(crate) async fn take_cmcd(&self, asked: Asked, body: Body) -> Result<Response, Problem> {
        // A beacon can only say that it is text.
        if !matches!(&*essence(&asked.headers), "application/cmcd" | "text/plain") {
            return Err(unsupported("application/cmcd, or text/plain with the same lines"));
        }
        self.take(asked, body, WireFormat::Cmcd, |asked, body, context| {
            let read = |line| accept::event(line, cmcd::event(line, context.app, &self.plays), context);
            self.hand_over(asked, body::lines(body)?.into_iter().map(read))
        })
        .await
    }

    async fn take<'s, B>(
        &'s self,
        asked: Asked,
        body: B,
        wire_format: WireFormat,
        publish: impl FnOnce(&Asked, &[u8], &Context<'_>) -> Result<Pending<'s>, Problem>,
    ) -> Result<Response, Problem>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<axum::BoxError>,
    {
        let received_at = Timestamp::now();
        // A key that may post nothing for now has no body read.
        asked.key.spend(0)?;
        self.road.check()?;
        let Held { body, received, permit: _until_answered } = self.intake.read(&asked.headers, body).await?;
        metrics::EVENTS.bytes.increment(received as u64);
        let begun = self.answers.begin(&asked.headers, asked.key.app(), asked.uri.path(), &body)?;
        let publish = async move {
            let pending = publish(&asked, &body, &self.context(&asked, received_at, wire_format)?)?;
            // Both lie in the connection's memory, into which it may read again while this waits.
            drop((asked, body));
            Ok(pending.answer().await)
        };
        begun.answer(publish).await
    }

    /// # Errors
    /// 429 where the key may not post so many.
    fn hand_over<'e>(
        &self,
        asked: &Asked,
        elements: impl ExactSizeIterator<Item = Result<EventMessage<'e>, Refusal>>,
    ) -> Result<Pending<'_>, Problem> {
        asked.key.spend(elements.len())?;
        Ok(self.listens.send(elements))
    }

    /// # Errors
    /// 503 before any key of pseudonyms is known.
    pub(crate) fn context<'a>(
        &'a self,
        asked: &'a Asked,
        received_at: Timestamp,
        wire_format: WireFormat,
    ) -> Result<Context<'a>, Problem> {
        Ok(Context {
            app: asked.key.app(),
            ingest_id: &self.id,
            received_at,
            wire_format,
            place: self.geo.place(self.addresses.listener(asked.peer, &asked.headers)),
            hasher: Hasher::new(self.keys.pseudonyms()?),
        })
    }
}
