//! `Content-Encoding`: what a compressed body holds, within a size, a ratio and the bytes in flight.

use std::io::{ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use service::Problem;

/// A body that is no longer than this may be of any ratio: there is no harm in it.
const HARMLESS: usize = 64 << 10;
/// 8 MiB, the largest window that RFC 9659 lets a sender ask of us: zstd alone would take 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Zstd,
}

impl Encoding {
    /// None for a body that is not compressed.
    ///
    /// # Errors
    /// 415 for any other encoding, and for two of them.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut named = headers.get_all(header::CONTENT_ENCODING).iter();
        let name = named.next().map(|value| value.to_str().unwrap_or("?").trim().to_ascii_lowercase());
        match name.as_deref() {
            _ if named.next().is_some() => Err(unsupported()),
            None | Some("" | "identity") => Ok(None),
            Some("gzip" | "x-gzip") => Ok(Some(Self::Gzip)),
            Some("zstd") => Ok(Some(Self::Zstd)),
            Some(_) => Err(unsupported()),
        }
    }

    fn reader<'a>(self, compressed: &'a [u8]) -> std::io::Result<Box<dyn Read + 'a>> {
        match self {
            // One member after the other, as RFC 1952 has it.
            Self::Gzip => Ok(Box::new(MultiGzDecoder::new(compressed))),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Ok(Box::new(decoder))
            }
        }
    }
}

fn unsupported() -> Problem {
    let detail = "the Content-Encoding must be gzip or zstd, or none";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-encoding", detail)
        .at("Content-Encoding")
        .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"))
}

/// How much a compressed body may grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_bytes: usize,
    /// Bytes for each compressed one.
    pub(crate) max_ratio: usize,
}

impl Limits {
    fn check(self, compressed: usize, grown: usize) -> Result<(), Problem> {
        let too_large = |kind, detail: String| Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, kind, detail));
        if grown > self.max_bytes {
            return too_large(
                "body-too-large",
                format!("the body is longer than {} bytes decompressed", self.max_bytes),
            );
        }
        if grown > compressed.saturating_mul(self.max_ratio).max(HARMLESS) {
            return too_large("ratio-too-high", format!("the body grows more than {}-fold", self.max_ratio));
        }
        Ok(())
    }
}

/// Decompresses all of it. Every step asks first whether there is room for its bytes.
///
/// # Errors
/// 400 when the data is not what the encoding says, breaks off, or goes on after its end; 413 over a limit; what
/// `admit` answers.
pub(crate) fn inflate(
    encoding: Encoding,
    compressed: &[u8],
    limits: Limits,
    mut admit: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Vec<u8>, Problem> {
    let mut reader = encoding.reader(compressed).map_err(|e| Problem::internal(&e))?;
    let mut step = vec![0; 32 << 10];
    let mut body = Vec::new();
    loop {
        let n = reader.read(&mut step).map_err(|error| broken(encoding, &error))?;
        if n == 0 {
            return Ok(body);
        }
        limits.check(compressed.len(), body.len() + n)?;
        admit(n)?;
        body.extend_from_slice(&step[..n]);
    }
}

fn broken(encoding: Encoding, error: &std::io::Error) -> Problem {
    let name = match encoding {
        Encoding::Gzip => "gzip",
        Encoding::Zstd => "zstd",
    };
    let detail = match error.kind() {
        ErrorKind::UnexpectedEof => format!("the {name} data breaks off"),
        _ => format!("the body is no {name} data from its begin to its end: {error}"),
    };
    Problem::new(StatusCode::BAD_REQUEST, "body-broken", detail)
}

#[cfg(test)]
mod tests;
