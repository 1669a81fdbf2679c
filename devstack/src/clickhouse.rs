//! ClickHouse: a `clickhouse server` of the user's own, or the engine as a library in a process of its own.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use service::clickhouse::users_file;
use service::config::{AnalystConfig, Secret};

use crate::fetch::ClickHouse as Program;
use crate::http::Request;
use crate::probe::Probe;
use crate::process::Launch;
use crate::secret::write_private;
use crate::unit::Unit;

/// Starts the listeners, then keeps the client's session, and with it the process, alive.
const SERVE: &str = "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; \
                     SELECT sleepEachRow(3) FROM system.numbers SETTINGS max_block_size=1 FORMAT Null";

#[derive(Debug, Clone)]
pub struct ClickHouse {
    pub program: Program,
    pub dir: PathBuf,
    pub http_port: u16,
    pub native_port: u16,
    /// Of the account `analyst`, which may read [`DATABASE`].
    pub analyst_password: String,
}

/// Where the roles of `make up` keep their tables. The account's rights stand in a file and name it.
pub const DATABASE: &str = "tonearm";

impl ClickHouse {
    #[must_use]
    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    #[must_use]
    pub fn native(&self) -> String {
        format!("127.0.0.1:{}", self.native_port)
    }

    /// # Errors
    /// When its folder cannot be made, or the library is to be used and we cannot find ourselves.
    pub fn prepare(&self, log: PathBuf) -> Result<Unit> {
        fs::create_dir_all(&self.dir).with_context(|| format!("create {}", self.dir.display()))?;
        write_private(&self.users(), &users_file(DATABASE, &self.analyst()))?;
        let launch = match &self.program {
            Program::Binary(clickhouse) => self.own_server(clickhouse, log)?,
            Program::Library(library) => self.embedded(library, log)?,
        };
        Ok(Unit {
            name: "ClickHouse".into(),
            launch,
            probe: Probe::ClickHouse { http: self.http(), native: self.native() },
            ready_within: Duration::from_secs(60),
            stop_within: Duration::from_secs(10),
            postgres_dir: None,
        })
    }

    fn embedded(&self, library: &Path, log: PathBuf) -> Result<Launch> {
        let us = std::env::current_exe().context("find our own binary")?;
        let config = self.dir.join("config.xml");
        // Anything else in it, a logger say, would make the engine talkative.
        fs::write(
            &config,
            format!("<clickhouse><users_config>{}</users_config></clickhouse>\n", self.users().display()),
        )?;
        let launch = Launch::new(us, &self.dir, log).args(["clickhouse"]).args([library]);
        Ok(launch.args([
            format!("--config-file={}", config.display()),
            format!("--path={}", self.dir.display()),
            "--listen_host=127.0.0.1".to_owned(),
            format!("--http_port={}", self.http_port),
            format!("--tcp_port={}", self.native_port),
            format!("--query={SERVE}"),
        ]))
    }

    fn own_server(&self, clickhouse: &Path, log: PathBuf) -> Result<Launch> {
        let config = self.dir.join("config.xml");
        fs::write(&config, self.config())?;
        let args = ["server".to_owned(), format!("--config-file={}", config.display())];
        Ok(Launch::new(clickhouse, &self.dir, log).args(args))
    }

    fn users(&self) -> PathBuf {
        self.dir.join("users.xml")
    }

    /// Neither program lets us make accounts by SQL: they keep them in the file.
    fn analyst(&self) -> AnalystConfig {
        AnalystConfig { password: Secret::new(&self.analyst_password), ..AnalystConfig::default() }
    }

    fn config(&self) -> String {
        let (dir, http, native) = (self.dir.display(), self.http_port, self.native_port);
        let users = self.users().display().to_string();
        format!(
            "<clickhouse>
  <logger><level>warning</level><console>1</console></logger>
  <path>{dir}/</path><listen_host>127.0.0.1</listen_host>
  <http_port>{http}</http_port><tcp_port>{native}</tcp_port>
  <users_config>{users}</users_config>
</clickhouse>\n"
        )
    }
}

/// # Errors
/// When it does not answer a query.
pub async fn check(http: &str) -> Result<()> {
    let answer = Request::get(format!("{http}/?query=SELECT%201")).send().await?.success("a query")?;
    if answer.text().trim() != "1" {
        bail!("SELECT 1 was answered {:?}", answer.text());
    }
    Ok(())
}

type QueryCmdline = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut c_void;
type ResultError = unsafe extern "C" fn(*mut c_void) -> *const c_char;

/// Becomes ClickHouse: returns when the engine does, which is on SIGTERM or on an error.
///
/// # Errors
/// When the library cannot be opened, or the engine says what was wrong.
#[allow(unsafe_code, reason = "the engine is a C library; its command-line entry is the only one that can listen")]
pub fn serve_embedded(library: &Path, args: &[String]) -> Result<()> {
    // The engine wants this very name as the program's.
    let words = std::iter::once("clickhouse").chain(args.iter().map(String::as_str)).map(CString::new);
    let words = words.collect::<Result<Vec<CString>, _>>().context("an argument holds a NUL")?;
    let mut argv: Vec<*mut c_char> = words.iter().map(|word| word.as_ptr().cast_mut()).collect();
    let argc = c_int::try_from(argv.len())?;
    argv.push(std::ptr::null_mut());
    // SAFETY: the package's pinned version declares both functions so; `words` outlives the call and argv is
    // terminated by a null as C's main expects; the process does nothing else and ends after it.
    unsafe {
        let library = libloading::Library::new(library).with_context(|| format!("open {}", library.display()))?;
        let run: libloading::Symbol<'_, QueryCmdline> = library.get(c"chdb_query_cmdline")?;
        let error: libloading::Symbol<'_, ResultError> = library.get(c"chdb_result_error")?;
        let message = error(run(argc, argv.as_mut_ptr()));
        if !message.is_null() {
            bail!("{}", CStr::from_ptr(message).to_string_lossy());
        }
    }
    Ok(())
}
