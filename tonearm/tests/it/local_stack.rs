//! `make up` as a user runs it, in a folder of its own: processes, ports, files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use wire::endpoints::Endpoints;

/// A stack that is up; taken down when dropped, also when the test fails.
pub(crate) struct LocalStack {
    folder: tempfile::TempDir,
    pub(crate) endpoints: Endpoints,
}

impl LocalStack {
    /// `devstack up --detach`, beside whatever else runs on this machine.
    pub(crate) fn up() -> Self {
        // Below target, not in /tmp, so that an ordinary user's disk quota and noexec do not matter.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let output = devstack(folder.path(), &["up", "--detach"]);
        assert!(output.status.success(), "up failed:\n{}", text(&output));
        let endpoints = fs::read(folder.path().join("endpoints.json")).unwrap();
        Self { endpoints: serde_json::from_slice(&endpoints).unwrap(), folder }
    }

    /// `tonearm listen` with its rows waited for.
    pub(crate) fn listen(&self, track: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tonearm"))
            .args(["listen", "--track", track, "--seconds", "8", "--speed", "8", "--explain", "--endpoints"])
            .arg(self.folder.path().join("endpoints.json"))
            .output()
            .unwrap()
    }

    /// Listens, and fails unless every row arrived.
    pub(crate) fn listen_well(&self, track: &str) {
        let output = self.listen(track);
        assert!(output.status.success(), "{}\nlogs:\n{}", text(&output), self.logs());
        let story = text(&output);
        let heard = story.split("Heard ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        // Not whole segments of 6 s; at this speed a late timer is a few tenths.
        assert!((8.0..9.5).contains(&heard.parse::<f64>().unwrap()), "{story}");
    }

    /// The process of a role, by what it was started with.
    pub(crate) fn pid_of(&self, role: &Role) -> Option<i32> {
        let config = self.folder.path().join("tonearm.toml").display().to_string();
        processes().into_iter().find(|pid| {
            let arguments = proc_file(*pid, "cmdline");
            let is_role = arguments.get(1).is_some_and(|argument| argument == role.command);
            let is_edge = |id: &str| proc_file(*pid, "environ").contains(&format!("TONEARM_EDGE_ID={id}"));
            is_role && arguments.contains(&config) && role.edge.is_none_or(is_edge)
        })
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) fn kill(&self, role: &Role) {
        let pid = self.pid_of(role).unwrap_or_else(|| panic!("{role:?} does not run"));
        let handle = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(handle, rustix::process::Signal::KILL).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Path::new(&format!("/proc/{pid}/cmdline")).exists() && !proc_file(pid, "cmdline").is_empty() {
            assert!(Instant::now() < deadline, "{role:?} did not die");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Processes that were started for this folder.
    pub(crate) fn left(&self) -> Vec<i32> {
        let folder = self.folder.path().display().to_string();
        let ours = |pid: &i32| proc_file(*pid, "cmdline").iter().any(|argument| argument.contains(&folder));
        processes().into_iter().filter(ours).collect()
    }

    pub(crate) fn up_again(&self) -> Output {
        devstack(self.folder.path(), &["up", "--detach"])
    }

    pub(crate) fn down(&self) -> Output {
        devstack(self.folder.path(), &["down"])
    }

    /// The ends of all logs, for a failure's message.
    fn logs(&self) -> String {
        let logs = fs::read_dir(self.folder.path().join("log")).into_iter().flatten().flatten();
        logs.map(|log| format!("--- {}\n{}\n", log.path().display(), tail(&log.path()))).collect()
    }
}

impl Drop for LocalStack {
    fn drop(&mut self) {
        self.down();
    }
}

/// A role of the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Role {
    pub(crate) command: &'static str,
    pub(crate) edge: Option<&'static str>,
}

fn devstack(folder: &Path, args: &[&str]) -> Output {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_tonearm")).with_file_name("devstack");
    assert!(binary.exists(), "no devstack binary: run `cargo build --bins` first");
    // The background process must not hold our pipes open: its output goes to a file.
    let story = folder.join(format!("{}.out", args[0]));
    let out = fs::File::create(&story).unwrap();
    let status = Command::new(binary)
        .args(args)
        .env("TONEARM_DIR", folder)
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .status()
        .unwrap();
    Output { status, stdout: fs::read(&story).unwrap(), stderr: Vec::new() }
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A file of NUL-separated words; empty where the process is gone or another's.
fn proc_file(pid: i32, name: &str) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn tail(file: &Path) -> String {
    let text = fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
