//! Tells the catalog about the tracks, and waits until listeners may have them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::{Method, StatusCode};
use wire::ObjectKey;
use wire::content::ObjectRef;
use wire::track::{PublishOrder, Rendition, RenditionKind, TrackSpec, TrackState, TrackStatus};

use super::encode::{CODEC, LADDER, PROGRESSIVE_KBPS};
use super::{Title, upload};
use crate::http::Request;

const LIVE_WITHIN: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
pub struct Catalog {
    pub url: String,
    pub admin_token: String,
}

impl Catalog {
    /// Registers and publishes a track; one that is live, or on its way, is left alone.
    ///
    /// # Errors
    /// When the catalog refuses.
    pub async fn publish(&self, title: &Title, objects: Vec<ObjectRef>) -> Result<()> {
        let state = self.state(title).await?;
        if matches!(state, Some(TrackState::Live | TrackState::RollingOut)) {
            return Ok(());
        }
        let what = format!("registering {}", title.track_id());
        let spec = serde_json::to_vec(&spec(title, objects)?)?;
        self.request(Method::PUT, title, "").body(spec).send().await?.success(&what)?;
        let order = serde_json::to_vec(&PublishOrder::default())?;
        let what = format!("publishing {}", title.track_id());
        self.request(Method::POST, title, "/publish").body(order).send().await?.success(&what)?;
        Ok(())
    }

    /// # Errors
    /// When it is not live in time.
    pub async fn wait_until_live(&self, title: &Title) -> Result<()> {
        let deadline = Instant::now() + LIVE_WITHIN;
        loop {
            let state = self.state(title).await?;
            if state == Some(TrackState::Live) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let state = state.map_or("unknown", TrackState::as_str);
                bail!("{} is {state}, not live, after {LIVE_WITHIN:?}; see .tonearm/log/catalog.log", title.track_id());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// None where the catalog does not know it.
    async fn state(&self, title: &Title) -> Result<Option<TrackState>> {
        let answer = self.request(Method::GET, title, "").send().await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = answer.success(&format!("asking the catalog for {}", title.track_id()))?;
        let status: TrackStatus = serde_json::from_slice(&answer.body).context("read a track's status")?;
        Ok(Some(status.state))
    }

    fn request(&self, method: Method, title: &Title, below: &str) -> Request {
        let request = Request::new(method, format!("{}/v1/tracks/{}{below}", self.url, title.track_id()));
        let token = format!("Bearer {}", self.admin_token);
        request.header("authorization", token).header("content-type", "application/json")
    }
}

pub(super) fn spec(title: &Title, objects: Vec<ObjectRef>) -> Result<TrackSpec> {
    let key = |name: &str| ObjectKey::new(upload::prefix(title) + name);
    let rendition =
        |kind, name, kbps| anyhow::Ok(Rendition { kind, key: key(name)?, codec: CODEC.to_owned(), bitrate_kbps: kbps });
    let best = LADDER.into_iter().max().unwrap_or_default();
    Ok(TrackSpec {
        title: title.title.to_owned(),
        artist: title.artist.to_owned(),
        duration_ms: u64::from(title.seconds) * 1000,
        renditions: vec![
            rendition(RenditionKind::Hls, "master.m3u8", best)?,
            rendition(RenditionKind::Progressive, "track.m4a", PROGRESSIVE_KBPS)?,
        ],
        objects,
    })
}
