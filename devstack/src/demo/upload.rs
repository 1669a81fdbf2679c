//! Brings a track's files to the origin, those that are not there yet.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt};
use wire::ObjectKey;
use wire::content::ObjectRef;

use super::Title;
use crate::s3client::S3Client;

const AT_ONCE: usize = 8;

/// Where a track's objects lie in the bucket. A version's objects never change, so edges may keep them.
#[must_use]
pub fn prefix(title: &Title) -> String {
    format!("tracks/{}/v1/", title.track_id())
}

/// Every object of a track, from its folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn objects(title: &Title, folder: &Path) -> Result<Vec<ObjectRef>> {
    let mut found = Vec::new();
    for path in files(folder)? {
        let name = path.strip_prefix(folder)?.to_str().context("our own file names are ASCII")?;
        let key = ObjectKey::new(prefix(title) + name)?;
        found.push(ObjectRef { key, bytes: path.metadata()?.len(), content_type: content_type(name).to_owned() });
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// A folder's files, and those of the folders in it.
fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

fn content_type(name: &str) -> &'static str {
    if name.ends_with(".m3u8") { "application/vnd.apple.mpegurl" } else { "audio/mp4" }
}

/// Puts what the origin does not have at that size; gives how many it put.
///
/// # Errors
/// When a file cannot be read or the origin refuses.
pub async fn missing(
    client: &S3Client,
    held: &HashMap<String, u64>,
    title: &Title,
    folder: &Path,
    objects: &[ObjectRef],
) -> Result<usize> {
    let missing = objects.iter().filter(|object| held.get(object.key.as_str()) != Some(&object.bytes));
    let puts = missing.map(|object| async {
        let name = object.key.as_str().trim_start_matches(&prefix(title));
        let body = fs::read(folder.join(name)).with_context(|| format!("read {name} of {}", title.track_id()))?;
        client.put(object.key.as_str(), &object.content_type, body.into()).await
    });
    let done: Vec<()> = futures_util::stream::iter(puts).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(done.len())
}
