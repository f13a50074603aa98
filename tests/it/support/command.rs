//! Commands that end by themselves: `outrigger check`, `curl`, a line of the README.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::BOUND;

/// The `outrigger` under test. `OUTRIGGER_BIN` names another one, such as a release build.
pub(crate) fn binary() -> PathBuf {
    std::env::var("OUTRIGGER_BIN").map_or_else(|_| env!("CARGO_BIN_EXE_outrigger").into(), PathBuf::from)
}

/// Runs `outrigger` with these arguments to its end.
pub(crate) async fn outrigger(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    run(command).await
}

/// Runs a command to its end, which must come within [`BOUND`].
pub(crate) async fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let id = child.id().to_string();
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    match tokio::time::timeout(BOUND, ended).await {
        Ok(output) => output.expect("a thread that waits").expect("waiting for our own child"),
        Err(_) => {
            let _killed = Command::new("kill").args(["-9", &id]).status();
            panic!("did not end within {BOUND:?}: {command:?}");
        }
    }
}
