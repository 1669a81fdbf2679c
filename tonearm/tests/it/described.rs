//! Whether ingest keeps to what its `/openapi.json` says, asked by schemathesis: `make check-openapi`.

use std::path::Path;
use std::process::Command;

use crate::clients::python;
use crate::support::process::Core;
use crate::support::stack::{ADMIN_TOKEN, Stack, WRITE_KEY};

const PACKAGE: &str = "schemathesis==4.32.5";

/// Each scheme of the description with a credential that is good.
fn config(user: &str) -> String {
    format!(
        "[auth.openapi.writeKey]\nbearer = '{WRITE_KEY}'\n[auth.openapi.writeKeyInQuery]\napi_key = '{WRITE_KEY}'\n\
         [auth.openapi.adminToken]\nbearer = '{ADMIN_TOKEN}'\n[auth.openapi.adminTokenInQuery]\napi_key = '{ADMIN_TOKEN}'\n\
         [auth.openapi.userToken]\nbearer = '{user}'\n\
         [auth.openapi.listenBrainzToken]\napi_key = 'Token {user}'\n[auth.openapi.listenBrainzTokenInQuery]\napi_key = '{user}'\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PyPI: make check-openapi"]
async fn no_answer_is_a_5xx_or_undescribed() {
    let python = python(&[PACKAGE]);
    let stack = Stack::start(Core::Any).await.unwrap();
    let printed = stack.tonearm(&["keys", "create", "user", "--user", "ada", "--rate", "unlimited", "--json"]).unwrap();
    let user: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let (_ingest, url) = stack.role("ingest", &[]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schemathesis.toml");
    std::fs::write(&file, config(user["secret"].as_str().unwrap())).unwrap();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                  response_headers_conformance,unsupported_method,allow_header_conformance";
    let examples = std::env::var("EXAMPLES").unwrap_or_else(|_| "100".into());
    // A stream of live numbers never ends.
    let arguments = ["--exclude-path-regex", "/live$", "--checks", checks, "--max-examples", &examples];
    let more = ["--continue-on-failure", "--request-timeout", "20", "--phases", "examples,coverage,fuzzing"];
    let mut command = Command::new(python.with_file_name("schemathesis"));
    command.arg("--config-file").arg(&file).arg("run").args(arguments).args(more).arg(format!("{url}/openapi.json"));
    command.env("SCHEMATHESIS_HOOKS", "schemathesis_hooks").env("PYTHONPATH", scripts).current_dir(folder.path());
    let status = command.status().unwrap();
    assert!(status.success(), "schemathesis found something; what it was stands above");
}
