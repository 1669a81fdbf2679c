//! PostgreSQL refuses to run as root, so root runs it as somebody else.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// As whom it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrdinaryUser {
    /// We are one.
    Ourselves,
    /// In a user namespace of its own root is nobody, yet owns the same files, wherever they lie.
    Namespace,
    /// Where namespaces are forbidden, as in most containers: nobody itself, who must be able to reach the files.
    Nobody,
}

impl OrdinaryUser {
    /// Picks the way that works here, and sees to it that the files of an earlier start fit it.
    ///
    /// # Errors
    /// When nobody would have to read a folder that it cannot reach.
    pub(super) async fn for_folder(folder: &Path) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        let user = if works(&Self::Namespace.run(Path::new("true"))).await { Self::Namespace } else { Self::Nobody };
        give(folder, user.owner())?;
        if user == Self::Nobody && !works(&user.reach(folder)).await {
            bail!(
                "PostgreSQL does not run as root, and an ordinary user cannot reach {}: \
                 put the clone where it can, or name another folder in TONEARM_DIR",
                folder.display()
            );
        }
        Ok(user)
    }

    /// The program and the arguments before its own.
    pub(super) fn run(self, program: &Path) -> (PathBuf, Vec<String>) {
        // Becoming somebody else clears the parent's death signal, so it is set again after it.
        let words: &[&str] = match self {
            Self::Ourselves => return (program.to_path_buf(), Vec::new()),
            Self::Namespace => {
                &["unshare", "--user", "--map-user=65534", "--map-group=65534", "setpriv", "--pdeathsig", "QUIT"]
            }
            Self::Nobody => {
                &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "setpriv", "--pdeathsig", "QUIT"]
            }
        };
        let program = program.display().to_string();
        (words[0].into(), words[1..].iter().map(|word| (*word).to_owned()).chain([program]).collect())
    }

    /// Hands it a file that we have made for it.
    pub(super) fn own(self, file: &Path) -> Result<()> {
        give(file, self.owner())
    }

    fn owner(self) -> Option<u32> {
        match self {
            Self::Ourselves => None,
            Self::Namespace => Some(0),
            Self::Nobody => Some(NOBODY),
        }
    }

    fn reach(self, folder: &Path) -> (PathBuf, Vec<String>) {
        let (program, mut args) = self.run(Path::new("test"));
        args.extend(["-x".into(), folder.display().to_string()]);
        (program, args)
    }
}

async fn works((program, args): &(PathBuf, Vec<String>)) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// A folder with all in it. A folder that is the owner's already is not looked into: all of it was given at once.
fn give(path: &Path, owner: Option<u32>) -> Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    let found = fs::symlink_metadata(path).with_context(|| format!("look at {}", path.display()))?;
    if found.uid() == owner || found.is_symlink() {
        return Ok(());
    }
    if found.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("read {}", path.display()))? {
            give(&entry?.path(), Some(owner))?;
        }
    }
    // The folder last, so that one cut short is begun anew.
    chown(path, Some(owner), Some(owner)).with_context(|| format!("give {} to user {owner}", path.display()))
}
