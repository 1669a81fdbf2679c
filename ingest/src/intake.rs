//! Reading bodies: each bounded by itself, all of them together by the bytes in flight.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Limited};
use service::Problem;
use service::limits::body_problem;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How many bytes may be held, for one request and for all.
#[derive(Debug)]
pub(crate) struct Intake {
    max_body: usize,
    /// One permit a byte.
    in_flight: Semaphore,
}

/// A whole body; its bytes count as in flight until this is dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    pub(crate) body: Bytes,
    _permit: SemaphorePermit<'a>,
}

impl Intake {
    pub(crate) fn new(max_body: u64, max_in_flight: u64) -> Self {
        let clamp = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { max_body: clamp(max_body), in_flight: Semaphore::new(clamp(max_in_flight)) }
    }

    /// Bytes count as they arrive, not as they are announced, so that a slow sender holds only what it sent.
    ///
    /// # Errors
    /// 413 or 400 for the body itself, 503 when all requests together hold too much.
    pub(crate) async fn read(&self, body: Body) -> Result<Held<'_>, Problem> {
        let mut body = Limited::new(body, self.max_body);
        let mut bytes = BytesMut::new();
        let mut permit = self.admit(0)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| body_problem(e.as_ref(), self.max_body))?;
            let Ok(data) = frame.into_data() else { continue };
            permit.merge(self.admit(data.len())?);
            bytes.extend_from_slice(&data);
        }
        Ok(Held { body: bytes.freeze(), _permit: permit })
    }

    fn admit(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Problem> {
        let too_much = || Problem::unavailable("too many bytes of other requests are in flight", 1);
        let bytes = u32::try_from(bytes).map_err(|_| too_much())?;
        self.in_flight.try_acquire_many(bytes).map_err(|_| too_much())
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn bodies_are_bounded_each_and_together() {
        let intake = Intake::new(10, 15);
        assert_eq!(intake.read(Body::from("12345678901")).await.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        let first = intake.read(Body::from("1234567890")).await.unwrap();
        assert_eq!(intake.read(Body::from("123456")).await.unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(&first.body[..], b"1234567890");
        drop(first);
        assert!(intake.read(Body::from("123456")).await.is_ok());
    }
}
