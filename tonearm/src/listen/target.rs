//! Whom a listener talks to.

use anyhow::Context;
use serde::Deserialize;
use service::client::ApiClient;
use wire::TrackId;
use wire::endpoints::Endpoints;
use wire::track::TrackState;

/// URLs are without a trailing slash.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) router: String,
    pub(crate) ingest: String,
    pub(crate) write_key: String,
    /// The local stack, where there is one: it also has ClickHouse and the catalog.
    pub(crate) stack: Option<Endpoints>,
}

#[derive(Deserialize)]
struct Page {
    tracks: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    track_id: TrackId,
    state: TrackState,
}

impl Target {
    /// The stack that `--explain` and the crowd's library need.
    ///
    /// # Errors
    /// When there is no endpoints file.
    pub(crate) fn stack(&self) -> anyhow::Result<&Endpoints> {
        self.stack.as_ref().context("this needs an endpoints file; `make up` writes one")
    }

    /// The live tracks of the stack's catalog, at most a thousand, in the order of their ids.
    ///
    /// # Errors
    /// When the catalog does not answer, or has none.
    pub(crate) async fn library(&self) -> anyhow::Result<Vec<String>> {
        let stack = self.stack()?;
        let api = ApiClient::new(super::API_TIMEOUT).with_bearer(&stack.admin_token);
        let page: Page = api.get(&format!("{}/v1/tracks?limit=1000", stack.catalog)).await?.success()?.json()?;
        let live = page.tracks.into_iter().filter(|track| track.state == TrackState::Live);
        let ids: Vec<String> = live.map(|track| track.track_id.into()).collect();
        anyhow::ensure!(!ids.is_empty(), "the catalog has no live track");
        Ok(ids)
    }
}
