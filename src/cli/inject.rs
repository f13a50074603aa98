//! `outrigger inject` and `outrigger uninject`: manifests with the sidecar, and without.
//!
//! In: files, or `-` for standard input. Out: one stream on standard output, and on standard error what
//! was left as it is and why; or everything that is wrong with the files, and nothing on standard output.
//! Or the policy by which an API server does the same.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::Problem;
use crate::kube::{self, INPUT_BYTES_MAX, Rewritten, Settings, Source};

/// The name of standard input.
const STANDARD_INPUT: &str = "-";

/// What `outrigger inject --help` says below the flags.
pub(super) const INJECT_EXAMPLE: &str = "\
Example:
  outrigger inject app.yaml | kubectl apply -f -
  outrigger inject --policy | kubectl apply -f -

Every Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job and CronJob gets the sidecar, in lists too. \
Everything else passes through as it is, with its comments, its order and its layout; so does a pod that \
has the sidecar already, or can't have it, and standard error says why. Pods run on Kubernetes 1.29 or newer.

JSON is read as YAML: one value in a file, and no character in two halves (\\ud83d\\ude80); `jq -s '{apiVersion: \"v1\", \
kind: \"List\", items: .}'` makes one of many.";

/// What `outrigger uninject --help` says below the flags.
pub(super) const UNINJECT_EXAMPLE: &str = "\
Example:
  kubectl get deployment web -o yaml | outrigger uninject - | kubectl apply -f -

What goes is what the annotation outrigger.dev/status lists, as long as it says what was written there, and \
nothing else. A list or map that is left empty goes with its key; so does one of your own under a key in quotes, as \
in JSON, if it was empty before (\"annotations\": {}).";

/// Prints the files with the sidecar in their pods.
pub(super) fn inject(files: &[PathBuf], namespace: Option<&str>, settings: &Settings) -> ExitCode {
    finish(sources(files).and_then(|sources| kube::inject(&sources, namespace, settings)))
}

/// Prints the policy.
pub(super) fn policy(settings: &Settings) -> ExitCode {
    give_out(&kube::policy(settings))
}

/// Prints the files without the sidecar.
pub(super) fn uninject(files: &[PathBuf]) -> ExitCode {
    finish(sources(files).and_then(|sources| kube::uninject(&sources)))
}

fn finish(done: Result<Rewritten, Vec<Problem>>) -> ExitCode {
    match done {
        Ok(done) => {
            super::complain(&done.notes.iter().map(|note| format!("{note}\n")).collect::<String>());
            give_out(&done.text)
        }
        Err(problems) => {
            super::complain(&problems.iter().map(|problem| format!("{problem}\n")).collect::<String>());
            ExitCode::FAILURE
        }
    }
}

/// Prints the stream. What could not be written whole is a failure: whoever reads it would apply a part.
fn give_out(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if error.kind() != ErrorKind::BrokenPipe {
                super::complain(&format!("standard output: {error}\n"));
            }
            ExitCode::FAILURE
        }
    }
}

/// The texts of all files; every one that can't be read is told.
fn sources(files: &[PathBuf]) -> Result<Vec<Source>, Vec<Problem>> {
    let mut sources = Vec::new();
    let mut problems = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let name = file.display().to_string();
        if name == STANDARD_INPUT && files[..index].contains(file) {
            problems.push(Problem::of_file(&name, "standard input a second time", "each input once"));
            continue;
        }
        match bytes(file) {
            Ok(bytes) => match Source::new(&name, bytes) {
                Ok(source) => sources.push(source),
                Err(problem) => problems.push(problem),
            },
            Err(error) => {
                problems.push(Problem::of_file(&name, error.to_string(), "a file that can be read"))
            }
        }
    }
    if problems.is_empty() { Ok(sources) } else { Err(problems) }
}

/// The bytes of one file, and one more than are allowed if it has more.
fn bytes(file: &Path) -> std::io::Result<Vec<u8>> {
    let most = INPUT_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    if file == Path::new(STANDARD_INPUT) {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    } else {
        File::open(file)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
