//! What the documents show is tried: YAML is checked, commands are run.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::{path, read};
use crate::support::{Outrigger, Reply, Upstream, binary, outrigger, run};

const DOCUMENTS: [&str; 3] = ["README.md", "ARCHITECTURE.md", "mesh-config/REFERENCE.md"];

/// The fenced blocks of a document in this language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let text = read(document);
    let fences = text.split("\n```").collect::<Vec<_>>();
    let opened = fences.iter().skip(1).step_by(2);
    opened.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).map(str::to_owned).collect()
}

/// The commands of a document: what stands after `$ ` in its `console` blocks.
fn commands(document: &str) -> Vec<String> {
    let blocks = blocks(document, "console");
    blocks
        .iter()
        .flat_map(|block| block.lines())
        .filter_map(|line| line.strip_prefix("$ "))
        .inspect(|line| {
            assert!(!changes_the_machine(line), "{document}: `{line}` would be run: tell it in words")
        })
        .map(str::to_owned)
        .collect()
}

/// Whether a command would change the rules of the machine on which the documents are tried.
fn changes_the_machine(line: &str) -> bool {
    let rules = ["capture apply", "capture remove"].iter().any(|words| line.contains(words));
    rules && !line.contains("--dry-run")
}

#[test]
fn no_command_of_the_documents_may_change_the_machine() {
    assert!(changes_the_machine("outrigger capture apply mesh.yaml"));
    assert!(changes_the_machine("sudo outrigger capture remove"));
    assert!(!changes_the_machine("outrigger capture apply mesh.yaml --dry-run"));
    assert!(!changes_the_machine("outrigger check mesh.yaml"));
}

/// Whether a block is a configuration of its own, and not a part of one.
fn is_whole(yaml: &str) -> bool {
    yaml.lines().any(|line| line.starts_with("version:"))
}

/// `outrigger check` finds nothing to say about this file.
async fn assert_checks(file: &str, what: &str) {
    let checked = outrigger(&["check", file]).await;
    let said = [&checked.stdout, &checked.stderr].map(|text| String::from_utf8_lossy(text)).concat();
    assert!(checked.status.success() && said.contains(" 0 warnings"), "{what}:\n{said}");
}

#[tokio::test]
async fn every_configuration_in_the_documents_is_right() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("mesh.yaml");
    for pem in ["ca.pem", "client.pem", "client-key.pem"] {
        fs::copy(path("mesh-config/pem").join(pem), folder.path().join(pem))
            .expect("a certificate beside it");
    }
    let mut count = 0;
    for document in DOCUMENTS {
        for yaml in blocks(document, "yaml").iter().filter(|yaml| is_whole(yaml)) {
            fs::write(&file, yaml).expect("writing the configuration");
            assert_checks(file.to_str().expect("a path of text"), &format!("{document}:\n{yaml}")).await;
            count += 1;
        }
    }
    assert!(count >= 2, "only {count} configurations: is the fence still `yaml`?");
}

#[tokio::test]
async fn every_configuration_of_the_repository_is_right() {
    for entry in fs::read_dir(path("mesh-config")).expect("the configurations") {
        let file = entry.expect("an entry").path();
        if file.extension().is_some_and(|extension| extension == "yaml") {
            assert_checks(file.to_str().expect("a path of text"), &file.display().to_string()).await;
        }
    }
}

#[tokio::test]
async fn the_commands_of_the_readme_do_what_it_says() {
    let commands = commands("README.md");
    assert!(commands.len() > 8, "{commands:?}");
    let upstream = Upstream::script([Reply::Ok("paid")]);
    let yaml = blocks("README.md", "yaml").remove(0);
    let proxy =
        Outrigger::start(&here(&yaml, "127.0.0.1:0", "127.0.0.1:0", &upstream.addr().to_string())).await;
    let (outbound, admin) = (proxy.outbound().to_string(), proxy.admin().to_string());
    let can_run = |command: &&String| {
        !command.starts_with("outrigger run ") && (has_curl() || !command.contains("curl "))
    };
    for command in commands.iter().filter(can_run) {
        let mut line = here(command, &outbound, &admin, "").replace("curl ", "curl -sS -f -m 10 ");
        if ["force", "explain", "top"].iter().any(|asks| line.starts_with(&format!("outrigger {asks}"))) {
            line.push_str(&format!(" --admin {admin}"));
        }
        let said = succeed(&line, proxy.path(".").to_str().expect("a path of text")).await;
        let is_call =
            command.contains("payment-service") && command.contains("curl") && !command.contains("POST");
        assert!(!is_call || said == "paid", "{command}: {said:?}");
        assert!(!said.is_empty(), "{command} says nothing");
    }
    let services = proxy.services().await;
    assert!(services["services"][0]["breaker"]["forced"].is_null(), "given back at the end: {services}");
}

#[tokio::test]
async fn the_commands_of_the_reference_run() {
    let commands = commands("mesh-config/REFERENCE.md");
    assert!(!commands.is_empty());
    for command in commands {
        assert!(!succeed(&command, env!("CARGO_MANIFEST_DIR")).await.is_empty(), "{command} says nothing");
    }
}

/// Whether this machine has curl. The tests ask for nothing to be installed, so they can do without,
/// but not where everything is meant to be tried.
fn has_curl() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join("curl").is_file());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "curl is not installed");
        eprintln!("curl is not installed: its commands in the README are not tried");
    }
    found
}

/// The text with the addresses of this test in place of those of the README.
fn here(text: &str, outbound: &str, admin: &str, service: &str) -> String {
    text.replace("127.0.0.1:15001", outbound)
        .replace("127.0.0.1:15000", admin)
        .replace("127.0.0.1:9103", service)
}

/// The standard output of a line of shell, with `outrigger` on the path; panics if it fails.
async fn succeed(line: &str, folder: &str) -> String {
    let binary = binary();
    let beside = binary.parent().expect("the folder of the binary").display();
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(folder);
    shell.env("PATH", format!("{beside}:{}", std::env::var("PATH").unwrap_or_default()));
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"] {
        shell.env_remove(name);
    }
    let output = run(shell).await;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
