//! `outrigger inject` and `outrigger uninject`: files and pipes, exit codes, and manifests of every kind.
//!
//! What comes out for the files of `tests/manifests` is kept in `tests/manifests/injected`: run with
//! `UPDATE_EXPECTED=1` after changing what is added.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{binary, outrigger, run};

/// What is kept of standard error, for all files.
const NOTES: &str = "tests/manifests/injected/notes.txt";

/// Manifests in which a written `null` got a value: nobody can tell afterwards how it was written.
const FILLED: &[&str] = &["daemonset.yaml"];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The names of all manifests.
fn manifests() -> Vec<String> {
    let entries = fs::read_dir(path("tests/manifests")).expect("manifests");
    let files = entries.map(|entry| entry.expect("an entry")).filter(|entry| entry.path().is_file());
    let mut names: Vec<String> =
        files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Compares with a file, or writes it when told to.
fn expect(name: &str, found: &str) {
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::create_dir_all(path("tests/manifests/injected")).expect("a folder");
        fs::write(path(name), found).expect("writing what is expected");
    } else {
        let wanted = fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found, wanted, "{name}: run with UPDATE_EXPECTED=1");
    }
}

/// A command of a shell in which `$0` is `outrigger`, in a folder of its own with these files.
async fn shell(line: &str, files: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).arg(binary()).current_dir(folder.path());
    run(command).await
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: web}\n";

#[tokio::test]
async fn every_kind_gets_the_sidecar_and_nothing_else_changes() {
    let names = manifests();
    for kind in
        ["pod", "deployment", "statefulset", "daemonset", "replicaset", "job", "cronjob", "list", "bundle"]
    {
        assert!(names.iter().any(|name| name.starts_with(kind)), "no manifest of a {kind}");
    }
    let mut notes = String::new();
    for name in &names {
        let (given, kept) = (format!("tests/manifests/{name}"), format!("tests/manifests/injected/{name}"));
        let injected = outrigger(&["inject", &given]).await;
        assert_eq!(injected.status.code(), Some(0), "{name}: {}", text(&injected.stderr));
        expect(&kept, &text(&injected.stdout));
        notes.push_str(&text(&injected.stderr));

        let again = outrigger(&["inject", &kept]).await;
        assert_eq!(text(&again.stdout), text(&injected.stdout), "{name} a second time");
        assert!(
            text(&again.stderr).contains("skipped: already-injected: "),
            "{name}: {}",
            text(&again.stderr)
        );

        let without = outrigger(&["uninject", &kept]).await;
        assert_eq!(without.status.code(), Some(0), "{name}: {}", text(&without.stderr));
        if !FILLED.contains(&name.as_str()) {
            assert_eq!(text(&without.stdout), fs::read_to_string(path(&given)).unwrap(), "{name} and back");
        }
    }
    expect(NOTES, &notes);
}

#[tokio::test]
async fn files_and_standard_input_become_one_stream() {
    let files = [("a.yaml", POD), ("b.yaml", "# b\nkind: Service")];
    let done = shell("\"$0\" inject b.yaml - < a.yaml", &files).await;
    let (first, second) =
        text(&done.stdout).split_once("\n---\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(first, "# b\nkind: Service");
    assert!(
        second.starts_with("apiVersion: v1\nkind: Pod\nmetadata: {name: web, \"annotations\": {"),
        "{second}"
    );
    let back = shell("\"$0\" inject a.yaml | \"$0\" uninject -", &files).await;
    assert_eq!((text(&back.stdout), text(&back.stderr)), (POD.to_owned(), String::new()));
}

#[tokio::test]
async fn what_is_skipped_is_said_and_is_no_failure() {
    let done = shell(
        "\"$0\" inject a.yaml",
        &[("a.yaml", &format!("# one\n---\n{}", POD.replace("spec:", "spec:\n  hostNetwork: true")))],
    )
    .await;
    assert_eq!(done.status.code(), Some(0));
    let why = "skipped: host-network: spec.hostNetwork is true: rules and ports would be the node's";
    assert_eq!(text(&done.stderr), format!("a.yaml:3: Pod/web: {why}\n"));
}

#[tokio::test]
async fn anything_broken_leaves_standard_output_empty() {
    let files = [("good.yaml", POD), ("bad.yaml", "a: b\n  c: d\n"), ("worse.yaml", "kind: \"x\n")];
    for (line, told) in [
        ("\"$0\" inject good.yaml bad.yaml worse.yaml", "bad.yaml:2:4: found broken YAML ("),
        ("\"$0\" inject good.yaml bad.yaml worse.yaml", "\nworse.yaml:1:7: found broken YAML ("),
        ("\"$0\" inject - < bad.yaml", "-:2:4: found broken YAML ("),
        ("\"$0\" uninject bad.yaml", "bad.yaml:2:4: found broken YAML ("),
        ("\"$0\" inject good.yaml none.yaml", "none.yaml: found No such file"),
        ("\"$0\" inject good.yaml .", ".: found Is a directory"),
        ("\"$0\" inject - - < good.yaml", "-: found standard input a second time, want each input once"),
        ("printf '\\377' | \"$0\" inject -", "-:1:1: found bytes that are not UTF-8, want YAML in UTF-8"),
        ("\"$0\" inject good.yaml > /dev/full", "standard output: No space left on device"),
    ] {
        let failed = shell(line, &files).await;
        assert_eq!((failed.status.code(), text(&failed.stdout)), (Some(1), String::new()), "{line}");
        assert!(text(&failed.stderr).contains(told), "{line}: {}", text(&failed.stderr));
    }
}

#[tokio::test]
async fn flags_say_what_annotations_say() {
    let files = [("a.yaml", POD)];
    let flags = "--image r.example/o:2 --config-map mesh --skip-port 1,2-3 --skip-port 4 --skip-network 10.0.0.0/8 \
                 --skip-user 7 --cpu-request 20m --cpu-limit 1500m --memory-request 32Mi --memory-limit 64Mi";
    let done = shell(&format!("\"$0\" inject {flags} a.yaml"), &files).await;
    let out = text(&done.stdout);
    for wanted in [
        "image: r.example/o:2\n",
        "configMap:\n      name: mesh\n",
        "--skip-port=1\n",
        "--skip-port=2-3\n",
        "--skip-port=4\n",
        "10.0.0.0/8",
        "--skip-user=7\n",
        "cpu: 20m\n",
        "cpu: 1500m\n",
        "memory: 32Mi\n",
        "memory: 64Mi\n",
    ] {
        assert!(out.contains(wanted), "{wanted:?} in {out}");
    }
    let without = shell("\"$0\" inject --no-capture a.yaml", &files).await;
    let out = text(&without.stdout);
    assert!(out.contains("\"HTTP_PROXY\"") && !out.contains("NET_ADMIN"), "{out}");
    let system = shell("\"$0\" inject --namespace kube-system a.yaml", &files).await;
    assert_eq!(text(&system.stdout), POD);
    assert!(
        text(&system.stderr).contains("Pod/web: skipped: system-namespace: kube-system"),
        "{}",
        text(&system.stderr)
    );
}

#[tokio::test]
async fn wrong_use_is_told_apart_from_wrong_files() {
    for words in [
        &["inject"][..],
        &["uninject"],
        &["inject", "--skip-port=0", "-"],
        &["inject", "--memory-limit=much", "-"],
        &["inject", "--policy", "a.yaml"],
    ] {
        let wrong = outrigger(words).await;
        assert_eq!((wrong.status.code(), text(&wrong.stdout)), (Some(2), String::new()), "{words:?}");
    }
}

#[tokio::test]
async fn the_policy_is_printed_with_the_same_settings() {
    let done = outrigger(&["inject", "--policy", "--image=r.example/o:2"]).await;
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let out = text(&done.stdout);
    assert!(out.contains("kind: MutatingAdmissionPolicy\n") && out.contains("r.example/o:2"), "{out}");
}

#[tokio::test]
async fn the_help_shows_how_it_is_used() {
    let help = outrigger(&["inject", "--help"]).await;
    assert!(text(&help.stdout).contains("outrigger inject app.yaml | kubectl apply -f -"));
}
