//! An edge: the cache from which listeners stream.
//!
//! The path of one request: [`server`] accepts it on one of its threads, [`server::answer`] reads its
//! [`request`], [`range`] and [`conditions`]. The [`library`] knows the [`object`] or opens it, asking
//! the [`origin`] once for all who wait; [`freshness`] says for how long its answer holds. A
//! [`reader`] brings the bytes from the [`cache`], memory over disk, or from a [`fill`] that it shares
//! with every other reader of the same chunks. [`respond`] makes the head, [`body`] streams, and
//! [`server::meter`] counts what reached the socket for the [`delivery`] record. Beside it, [`load`]
//! tells the routers how busy we are, and [`admin`] lets operators [`warm`], purge and look.
//!
//! Promised: an origin request serves all who wait for the same chunks, and a range asks for its own
//! chunks only; first bytes go out as they arrive; a failed fill is an error to its readers and never
//! a clean end; bytes of two versions are never mixed; what was stored is served after a restart, and
//! bytes that the disk lost or changed are not. Memory, disk, queues and requests to the origin are
//! bounded, each where it is declared.
//!
//! Not promised yet: the origin is S3 only and its objects are public to every listener; a stale
//! object is revalidated before it is served (no stale-while-revalidate); several ranges in one
//! request get the whole object; delivery records wait in memory, so a kill loses those of its last
//! half second, or more while ingest is away; an origin without validators can only be served run
//! by run. When neither memory nor disk keeps a chunk, a reader more than 2 MiB behind asks the
//! origin for it again.

pub mod admin;
pub mod body;
pub mod cache;
pub mod conditions;
pub mod config;
pub mod delivery;
pub mod fill;
pub mod freshness;
pub mod library;
pub mod load;
pub mod metrics;
pub mod object;
pub mod origin;
pub mod range;
pub mod reader;
pub mod request;
pub mod respond;
pub mod server;
mod start;
pub mod warm;

pub use config::{Config, EdgeConfig};
pub use start::start;

/// The description of both listeners.
pub const OPENAPI: &str = include_str!("../openapi.json");
