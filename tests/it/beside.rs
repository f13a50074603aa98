//! A command beside the proxy, where nothing but variables can lead its calls here.
//!
//! In: `outrigger run --capture` without the programs that make a namespace. Out: the command's output
//! and exit code. What needs namespaces is in tests/host.

use std::process::{Command, Output};

use crate::support::{binary, run};

/// Ports of the system's choice, so that these run beside anything.
const CONFIG: &str = "version: v1\noutbound: {listen: 127.0.0.1:0}\nadmin: {listen: 127.0.0.1:0}\n";

/// Runs words of the shell beside a proxy of this configuration.
async fn beside(config: &str, script: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("outrigger.yaml"), config).expect("writing the configuration");
    let mut command = Command::new(binary());
    command.args(["run", "--capture", "--", "/bin/sh", "-c", script]).current_dir(folder.path());
    // Neither `unshare` nor what the user of the tests may have set.
    command.env("PATH", "/nowhere").env("NO_PROXY", "db.internal").env_remove("OUTRIGGER_LOG");
    run(command).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn variables_lead_the_commands_calls_here_and_its_exit_code_comes_back() {
    let output = beside(CONFIG, "echo $http_proxy $HTTPS_PROXY $NO_PROXY; exit 7").await;
    let (out, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(7), "{said}");
    let words: Vec<&str> = out.split_whitespace().collect();
    let [http, https, direct] = words[..] else { panic!("{out}") };
    assert!(http.starts_with("http://127.0.0.1:") && http == https, "{out}");
    assert_eq!(direct, "db.internal,localhost,127.0.0.1,::1");
    assert!(said.contains("/bin/sh runs without a network namespace: there is no `unshare`"), "{said}");
    assert!(said.contains("not caught: "), "{said}");
}

#[tokio::test]
async fn the_number_of_a_signal_that_ends_the_command_is_told() {
    assert_eq!(beside(CONFIG, "kill -KILL $$").await.status.code(), Some(137));
}

#[tokio::test]
async fn a_wrong_configuration_starts_nothing() {
    let output = beside("version: v1\nservices: {cart: {endpoint: x}}\n", "echo started").await;
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    assert!(text(&output.stderr).contains("outrigger.yaml:2:"), "{}", text(&output.stderr));
}
