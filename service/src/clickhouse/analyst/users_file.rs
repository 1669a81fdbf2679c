//! The account for a server whose accounts stand in a file and cannot be made by SQL.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::terms::{Limit, Value, grants, limits, quota};
use crate::config::AnalystConfig;

/// A `users_config`: `default`, who may do everything, has no password and comes from this machine alone; and the
/// account, also from this machine, as `tonearm migrate` would make it elsewhere.
#[must_use]
pub fn users_file(database: &str, analyst: &AnalystConfig) -> String {
    let AnalystConfig { user, password, .. } = analyst;
    let (settings, constraints) = profile(&limits(analyst));
    let hourly: String = quota(analyst).iter().map(|(what, most)| format!("<{what}>{most}</{what}>")).collect();
    let grants: String = grants(database, "", "").iter().map(|grant| format!("\n<query>{grant}</query>")).collect();
    let digest = Sha256::digest(password.expose()).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    format!(
        "<clickhouse>
<profiles><default/><{user}>{settings}<constraints>{constraints}</constraints></{user}></profiles>
<quotas><default/><{user}><interval><duration>3600</duration>{hourly}</interval></{user}></quotas>
<users>
<default><password></password><networks><ip>127.0.0.1</ip></networks>
<profile>default</profile><quota>default</quota><access_management>1</access_management></default>
<{user}><password_sha256_hex>{digest}</password_sha256_hex><networks><ip>127.0.0.1</ip></networks>
<profile>{user}</profile><quota>{user}</quota><default_database>{database}</default_database>
<grants>{grants}</grants></{user}>
</users>
</clickhouse>\n"
    )
}

/// Its settings, and how far a question may change them.
fn profile(limits: &[Limit]) -> (String, String) {
    let mut texts = (String::new(), String::new());
    for Limit { name, value } in limits {
        let (value, bounds) = match value {
            Value::AtMost(most) => (most.to_string(), format!("<min>1</min><max>{most}</max>")),
            Value::Fixed(value) => ((*value).to_owned(), "<const/>".to_owned()),
        };
        texts.0 += &format!("\n<{name}>{value}</{name}>");
        texts.1 += &format!("\n<{name}>{bounds}</{name}>");
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn the_password_is_not_in_it() {
        let analyst = AnalystConfig { password: Secret::new("a-long-password"), ..AnalystConfig::default() };
        let file = users_file("music", &analyst);
        assert!(!file.contains("a-long-password"));
        assert!(file.contains("<query>GRANT SELECT ON music.*</query>"), "{file}");
        assert!(file.contains("<max_execution_time><min>1</min><max>60</max></max_execution_time>"), "{file}");
    }
}
