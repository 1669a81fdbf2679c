//! An account for people who ask: it may read, and no question of it may take the server down.

use anyhow::Context;
use clickhouse::Client;

use super::server;
use super::tracks::quoted;
use crate::config::{AnalystConfig, ClickHouseConfig};

/// ACCESS_DENIED, and ACCESS_STORAGE_FOR_INSERTION_NOT_FOUND: the server keeps its accounts elsewhere.
const NOT_OURS: [&str; 2] = ["Code: 497.", "Code: 514."];

/// What became of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// It is there, with this password and these limits.
    Ready,
    /// No password is configured.
    NotWanted,
    /// The server does not let us create accounts.
    NotAllowed,
}

/// Creates the account, or brings its password and limits up to date.
///
/// # Errors
/// When ClickHouse is away or refuses for another reason than that accounts are not ours to make.
pub async fn create_analyst(clickhouse: &ClickHouseConfig, analyst: &AnalystConfig) -> anyhow::Result<Account> {
    if analyst.password.expose().is_empty() {
        return Ok(Account::NotWanted);
    }
    let server = server(clickhouse);
    for sql in statements(&clickhouse.database, analyst) {
        match run(&server, &sql).await {
            Ok(()) => {}
            Err(error) if NOT_OURS.iter().any(|code| error.to_string().contains(code)) => {
                return Ok(Account::NotAllowed);
            }
            // The statement has the password in it, and errors like to quote it.
            Err(error) => {
                let text = error.to_string().replace(analyst.password.expose(), "[HIDDEN]");
                return Err(anyhow::anyhow!(text)).context("cannot create the analyst's account");
            }
        }
    }
    Ok(Account::Ready)
}

async fn run(client: &Client, sql: &str) -> Result<(), clickhouse::error::Error> {
    client.query(&sql.replace('?', "??")).execute().await
}

/// `readonly = 2` lets a question set what it needs, such as a format's settings; the bounds it may not leave.
fn statements(database: &str, analyst: &AnalystConfig) -> [String; 5] {
    let AnalystConfig { user, password, max_execution_time, max_memory, max_result_rows } = analyst;
    let (seconds, bytes) = (max_execution_time.0.as_secs().max(1), max_memory.as_u64());
    let limits = format!(
        "readonly = 2 CONST, max_execution_time = {seconds} MIN 1 MAX {seconds}, \
         max_memory_usage = {bytes} MIN 1 MAX {bytes}, max_result_rows = {max_result_rows} MIN 1 MAX {max_result_rows}, \
         result_overflow_mode = 'throw' CONST, max_threads = 4 MIN 1 MAX 4, \
         max_bytes_before_external_group_by = {} MIN 1 MAX {bytes}",
        bytes / 2
    );
    let password = quoted(password.expose());
    [
        format!("CREATE SETTINGS PROFILE OR REPLACE {user}_limits SETTINGS {limits}"),
        format!("CREATE ROLE IF NOT EXISTS {user}_reads"),
        format!("GRANT SELECT ON {database}.* TO {user}_reads"),
        format!(
            "CREATE USER OR REPLACE {user} IDENTIFIED WITH sha256_password BY {password} \
             DEFAULT DATABASE {database} SETTINGS PROFILE '{user}_limits'"
        ),
        format!("GRANT {user}_reads TO {user}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn a_password_is_a_literal_and_every_limit_has_a_most() {
        let analyst = AnalystConfig { password: Secret::new(r"a'b\c"), ..AnalystConfig::default() };
        let [profile, .., user, _] = statements("music", &analyst);
        assert!(user.contains(r"BY 'a\'b\\c' "));
        assert!(profile.contains("max_execution_time = 60 MIN 1 MAX 60") && profile.contains("readonly = 2 CONST"));
    }
}
