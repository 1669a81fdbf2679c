//! Reading bodies: each bounded by itself, all of them together by the bytes in flight, compressed or not.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::HttpBody;
use bytes::{Bytes, BytesMut};
use futures_util::poll;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use service::Problem;
use service::config::HttpConfig;
use service::limits::body_problem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::IngestConfig;
use crate::inflate::{Encoding, Limits, inflate};

/// Compressed bytes that are inflated on the spot: at the highest ratio still well under a millisecond's work.
const AT_ONCE: usize = 2 << 10;

/// Room that is made for what a body announces, before it comes.
const AHEAD: usize = 64 << 10;

/// How many bytes may be held, for one request and for all.
#[derive(Debug)]
pub(crate) struct Intake {
    max_body: usize,
    timeout: Duration,
    inflated: Limits,
    /// One permit a byte.
    in_flight: Arc<Semaphore>,
    /// One permit a core: more decoders at a time would only hold memory.
    decoders: Arc<Semaphore>,
}

/// A whole body, inflated.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) body: Bytes,
    /// As it came.
    pub(crate) received: usize,
    /// Its bytes count as in flight until this is dropped.
    pub(crate) permit: OwnedSemaphorePermit,
}

impl Intake {
    pub(crate) fn new(http: &HttpConfig, ingest: &IngestConfig) -> Self {
        let clamp = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            max_body: clamp(http.max_body.as_u64()),
            timeout: ingest.body_timeout.0,
            inflated: Limits {
                max_bytes: clamp(ingest.max_inflated.as_u64()),
                max_ratio: clamp(u64::from(ingest.max_ratio)),
            },
            in_flight: Arc::new(Semaphore::new(clamp(ingest.max_in_flight.as_u64()))),
            decoders: Arc::new(Semaphore::new(cores)),
        }
    }

    /// # Errors
    /// 415, 413, 408 or 400 for the body itself, 503 when all requests together hold too much.
    pub(crate) async fn read<B>(&self, headers: &HeaderMap, body: B) -> Result<Held, Problem>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<axum::BoxError>,
    {
        let encoding = Encoding::of(headers)?;
        let mut receiving = pin!(self.receive(body));
        let held = match poll!(receiving.as_mut()) {
            // Small bodies come with their heads.
            Poll::Ready(held) => held?,
            Poll::Pending => tokio::time::timeout(self.timeout, receiving).await.map_err(|_| too_slow())??,
        };
        match encoding {
            None => Ok(held),
            // In a box, so that every other body's future is smaller by it.
            Some(encoding) => Box::pin(self.inflate(encoding, held)).await,
        }
    }

    /// Bytes count as they arrive, not as they are announced, so that a slow sender holds only what it sent.
    async fn receive<B>(&self, body: B) -> Result<Held, Problem>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<axum::BoxError>,
    {
        let mut body = Limited::new(body, self.max_body);
        let mut bytes = BytesMut::new();
        let mut permit = admit(&self.in_flight, 0)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| body_problem(e.as_ref(), self.max_body))?;
            let Ok(data) = frame.into_data() else { continue };
            permit.merge(admit(&self.in_flight, data.len())?);
            if bytes.is_empty() && body.is_end_stream() {
                return Ok(Held { received: data.len(), body: data, permit });
            }
            if bytes.is_empty() {
                // What is announced is mostly true; room for more of it than came is made only so far.
                let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
                bytes.reserve(data.len() + announced.min(AHEAD));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Held { received: bytes.len(), body: bytes.freeze(), permit })
    }

    /// Away from the threads that serve others, where it may take long.
    async fn inflate(&self, encoding: Encoding, packed: Held) -> Result<Held, Problem> {
        let (limits, in_flight) = (self.inflated, self.in_flight.clone());
        if packed.body.len() <= AT_ONCE {
            return unpack(encoding, &packed, limits, &in_flight);
        }
        let decoder = self.decoders.clone().acquire_owned().await.expect("never closed");
        let work = tokio::task::spawn_blocking(move || {
            let unpacked = unpack(encoding, &packed, limits, &in_flight);
            drop(decoder);
            unpacked
        });
        work.await.map_err(|error| Problem::internal(&error))?
    }
}

fn too_slow() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body came too slowly")
}

fn unpack(encoding: Encoding, packed: &Held, limits: Limits, in_flight: &Arc<Semaphore>) -> Result<Held, Problem> {
    let mut permit = admit(in_flight, 0)?;
    let body = inflate(encoding, &packed.body, limits, |bytes| {
        permit.merge(admit(in_flight, bytes)?);
        Ok(())
    })?;
    Ok(Held { received: packed.received, body: body.into(), permit })
}

fn admit(in_flight: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
    let too_much = || Problem::unavailable("too many bytes of other requests are in flight", 1);
    let bytes = u32::try_from(bytes).map_err(|_| too_much())?;
    in_flight.clone().try_acquire_many_owned(bytes).map_err(|_| too_much())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::body::Body;
    use bytesize::ByteSize;
    use http::header;

    use super::*;

    fn intake(max_body: u64, max_in_flight: u64) -> Intake {
        let http = HttpConfig { max_body: ByteSize::b(max_body), ..HttpConfig::default() };
        Intake::new(&http, &IngestConfig { max_in_flight: ByteSize::b(max_in_flight), ..IngestConfig::default() })
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_not_waited_for() {
        let silent = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let hasty = Intake { timeout: Duration::from_millis(1), ..intake(10, 15) };
        let refused = hasty.read(&HeaderMap::new(), silent).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn bodies_are_bounded_each_and_together() {
        let intake = intake(10, 15);
        let headers = HeaderMap::new();
        let read = |body: &'static str| intake.read(&headers, Body::from(body));
        assert_eq!(read("12345678901").await.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        let first = read("1234567890").await.unwrap();
        assert_eq!(read("123456").await.unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(&first.body[..], b"1234567890");
        drop(first);
        assert!(read("123456").await.is_ok());
    }

    #[tokio::test]
    async fn inflated_bytes_count_as_in_flight() {
        let body: Vec<u8> = (0..20_000_u32).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&body).unwrap();
        let packed = Bytes::from(encoder.finish().unwrap());
        let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, "gzip".parse().unwrap())]);
        let roomy = intake(1 << 20, 200_000);
        let held = roomy.read(&headers, Body::from(packed.clone())).await.unwrap();
        assert_eq!((&held.body[..], held.received), (&body[..], packed.len()));
        // The packed bytes are let go of, the others are not.
        assert_eq!(roomy.in_flight.available_permits(), 200_000 - body.len());
        let narrow = intake(1 << 20, 100_000);
        let refused = narrow.read(&headers, Body::from(packed)).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(narrow.in_flight.available_permits(), 100_000);
    }
}
