//! Ports of the loopback interface: which are free, and who has those that are not.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};
use rand::RngExt;

/// Below Linux's range for outgoing connections, so that no client takes the port of a stopped server.
const RANGE: std::ops::Range<u16> = 10_000..32_000;
const TRIES: usize = 200;

#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A port that nobody listens on.
///
/// # Errors
/// When none of many random ones is free.
pub fn free() -> Result<u16> {
    let mut rng = rand::rng();
    let tried = (0..TRIES).map(|_| rng.random_range(RANGE)).find(|port| is_free(*port));
    tried.context("find a free port on 127.0.0.1")
}

/// The wanted port, or a free one with a word about who has the wanted one.
///
/// # Errors
/// When no port is free.
pub fn wanted_or_free(wanted: u16, what: &str) -> Result<(u16, Option<String>)> {
    if is_free(wanted) {
        return Ok((wanted, None));
    }
    let port = free()?;
    let holder = holder(wanted).unwrap_or_else(|| "another process".to_owned());
    Ok((
        port,
        Some(format!("port {wanted} is taken by {holder}; {what} is on {port} instead (see .tonearm/endpoints.json)")),
    ))
}

/// The name and pid of the process that listens on a port, where `/proc` lets us see it.
fn holder(port: u16) -> Option<String> {
    let inode = listening_inode(port)?;
    let wanted = format!("socket:[{inode}]");
    let pids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let mut links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        if links.any(|link| link.as_os_str() == wanted.as_str()) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// The tenth column of `/proc/net/tcp`, of the row in state `0A`, LISTEN.
fn listening_inode(port: u16) -> Option<String> {
    let suffix = format!(":{port:04X}");
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| fs::read_to_string(file).unwrap_or_default());
    let mut rows = tables.iter().flat_map(|table| table.lines()).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.len() > 9 && row[1].ends_with(&suffix) && row[3] == "0A")?;
    Some(row[9].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        let (port, word) = wanted_or_free(taken, "router").unwrap();
        assert_ne!(port, taken);
        assert!(word.unwrap().contains(&format!("(pid {})", std::process::id())));
    }

    #[test]
    fn a_free_port_is_given_as_wanted() {
        let port = free().unwrap();
        assert_eq!(wanted_or_free(port, "router").unwrap(), (port, None));
    }
}
