//! An account for people who ask: it may read, and no question of it may take the server down.
//!
//! [`terms`] says what it may; it is made by SQL, or stands in the [`users_file`] of a server that devstack starts.

mod terms;
mod users_file;

use anyhow::Context;
use clickhouse::Client;

use super::server;
use super::tracks::quoted;
use crate::config::{AnalystConfig, ClickHouseConfig};
use terms::{Limit, Value, grants, limits, quota};

pub use users_file::users_file;

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
    for sql in analyst_statements(&clickhouse.database, analyst) {
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

/// What makes the account. Each may be run again: it brings what is there up to date.
#[must_use]
pub fn analyst_statements(database: &str, analyst: &AnalystConfig) -> Vec<String> {
    let AnalystConfig { user, password, .. } = analyst;
    let limits: Vec<String> = limits(analyst).iter().map(limit).collect();
    let hourly: Vec<String> = quota(analyst).iter().map(|(what, most)| format!("{what} = {most}")).collect();
    let mut statements = vec![
        format!("CREATE SETTINGS PROFILE OR REPLACE {user}_limits SETTINGS {}", limits.join(", ")),
        format!("CREATE ROLE IF NOT EXISTS {user}_reads"),
    ];
    statements.extend(grants(database, &format!(" TO {user}_reads"), &format!(" FROM {user}_reads")));
    statements.extend([
        format!(
            "CREATE USER OR REPLACE {user} IDENTIFIED WITH sha256_password BY {} \
             DEFAULT DATABASE {database} SETTINGS PROFILE '{user}_limits'",
            quoted(password.expose())
        ),
        format!("GRANT {user}_reads TO {user}"),
        format!("CREATE QUOTA OR REPLACE {user}_hourly FOR INTERVAL 1 hour MAX {} TO {user}", hourly.join(", ")),
    ]);
    statements
}

fn limit(limit: &Limit) -> String {
    match limit.value {
        Value::AtMost(most) => format!("{} = {most} MIN 1 MAX {most}", limit.name),
        Value::Fixed(value) => format!("{} = '{value}' CONST", limit.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn a_password_is_a_literal_and_every_limit_has_a_most() {
        let analyst = AnalystConfig { password: Secret::new(r"a'b\c"), ..AnalystConfig::default() };
        let sql = analyst_statements("music", &analyst).join(";\n");
        assert!(sql.contains(r"BY 'a\'b\\c' "), "{sql}");
        assert!(sql.contains("max_execution_time = 60 MIN 1 MAX 60") && sql.contains("readonly = '2' CONST"), "{sql}");
    }
}
