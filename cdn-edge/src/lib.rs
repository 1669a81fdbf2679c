//! An edge: the cache from which listeners stream.
//!
//! The path of one request: [`server`] accepts it on one of its threads, over TLS
//! and HTTP/2 where the client will, [`server::gate`] lets signed URLs through where there
//! are any, [`server::answer`] reads its
//! [`request`], [`range`] and [`directives`] and makes its [`key`]. The [`library`] knows the [`object`]
//! ([`vary`] chooses among several, [`reuse`] says whether it will do) or opens it, asking the [`origin`]
//! or other edges before it ([`shield`]), once for all who wait; [`storable`], [`freshness`] and [`version`] say what its answer is good for. A
//! [`reader`] brings the bytes from the [`cache`], memory over disk, or from a [`fill`] that it shares
//! with every other reader of the same chunks. [`conditions`] are evaluated, [`respond`] and
//! [`cache_status`] make the head, [`body`] streams, and [`server::meter`] counts what reached the socket
//! for the [`delivery`] record. What is no read, or not for others, [`server::pass`] hands through with
//! the changes that [`forward`] lists. Beside it, [`load`] tells the routers how busy we are, and
//! [`admin`] lets operators [`warm`], [`purge`] and look.
//!
//! The origin is a bucket, of which objects are read, or any web server, before which the edge is a
//! shared cache by RFC 9111. In a fleet it adds default lifetimes and does not let clients' directives
//! through to the origin; `public` has neither.
//!
//! Promised: an origin request serves all who wait for the same chunks, and a range asks for its own chunks only; first
//! bytes go out as they arrive; a failed fill is an error to its readers and never a clean end; bytes of two versions
//! are never mixed; what was stored is served after a restart, and bytes that the disk lost or changed are not; what
//! may not be shared never is; an unsafe request is sent once; what was asked for before a purge is not served after
//! it, also after a kill. Memory, disk, queues, requests to the origin and who waits for them are bounded, each where
//! it is declared; what finds no room is refused at once, and hits never are for the sake of misses.
//!
//! Not promised: interim answers (1xx) reach who reads over HTTP/1.1 alone, for hyper's server cannot send them;
//! connections are not upgraded; trailers are passed on but not stored; parts of a chunk live in memory only, so a
//! restart forgets them; a loss of power loses the delivery records of its last 10 ms and of answers under way; of an
//! origin's answer without a strong validator nothing more can be fetched, so a part of it that was lost is an error to
//! whoever is reading and a miss to the next; the rest of an object that an origin gives only to some clients
//! (`Authorization`, cookies) cannot be fetched on their behalf. When neither memory nor disk keeps a chunk, a reader
//! more than 2 MiB behind asks the origin for it again.

pub mod admin;
pub mod body;
pub mod cache;
pub mod cache_status;
pub mod cmsd;
pub mod conditions;
pub mod config;
pub mod delivery;
pub mod directives;
pub mod fill;
pub mod forward;
pub mod freshness;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod interim;
pub mod key;
pub mod library;
pub mod load;
pub mod loops;
pub mod metrics;
pub mod multipart;
pub mod object;
pub mod origin;
pub mod purge;
pub mod range;
pub mod reader;
pub mod request;
pub mod respond;
pub mod reuse;
pub mod seal;
pub mod server;
pub mod shield;
mod start;
pub mod storable;
pub mod vary;
pub mod version;
pub mod warm;

pub use config::{Config, EdgeConfig};
pub use start::start;

/// The description of both listeners.
pub const OPENAPI: &str = include_str!("../openapi.json");
