//! Directories: all files are one configuration.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{options, told};
use crate::config::{Config, Problem, effective, load};

/// Loads a directory with these files; paths in problems are cut to file names.
fn folder(files: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    load(folder.path(), &options()).map_err(|problems| short(&problems, folder.path()))
}

fn short(problems: &[Problem], folder: &Path) -> String {
    told(problems).replace(&format!("{}/", folder.display()), "")
}

#[test]
fn files_are_joined_key_by_key() {
    let config = folder(&[
        ("10-base.yaml", "version: v1\ndefaults: {timeout: 1s}\nservices:\n  a: {endpoints: {dns: a:80}}\n"),
        ("20-more.yml", "version: v1\nservices:\n  b: {endpoints: {dns: b:80}}\n  a: {bodyTimeout: 2s}\n"),
        (".hidden.yaml", "nonsense"),
        ("README.md", "nonsense"),
    ])
    .unwrap();
    assert_eq!(config.services.len(), 2);
    let text = effective(&config, Some("a"), None, None).unwrap();
    assert!(text.contains("20-more.yml:4:7 (service)"), "{text}");
    assert!(text.contains("10-base.yaml:2:12 (defaults)"), "{text}");
}

#[test]
fn the_same_key_in_two_files_names_both_places() {
    let text = folder(&[
        ("a.yaml", "workers: 1\nservices:\n  a:\n    endpoints: {dns: a:80}\n    timeout: 1s\n"),
        ("b.yaml", "workers: 2\nservices:\n  a:\n    timeout: 2s\n"),
    ])
    .unwrap_err();
    let text = text.lines().map(|line| line.replace("first at /", "first at ")).collect::<Vec<_>>();
    assert_eq!(text.len(), 2);
    assert!(text[0].starts_with(
        "b.yaml:1:1: workers: found a key that another file sets too, want each key in one file"
    ));
    assert!(text[1].starts_with("b.yaml:4:5: services.a.timeout: found a key that another file sets too"));
    assert!(text[1].ends_with("a.yaml:5:5)"), "{}", text[1]);
}

#[test]
fn every_broken_file_is_told() {
    let text = folder(&[("a.yaml", "a: ["), ("b.yaml", ""), ("c.yaml", "version: v1")]).unwrap_err();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("b.yaml: found an empty file"), "{text}");
}

#[test]
fn links_are_followed_and_hidden_folders_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("..data")).unwrap();
    fs::write(folder.path().join("..data/mesh.yaml"), "workers: 3").unwrap();
    symlink("..data/mesh.yaml", folder.path().join("mesh.yaml")).unwrap();
    assert_eq!(load(folder.path(), &options()).unwrap().workers, 3);
}

#[test]
fn what_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let problem = |path: &Path| short(&load(path, &options()).unwrap_err(), folder.path());
    assert_eq!(
        problem(&folder.path().join("no.yaml")),
        "no.yaml: found no such file, want a YAML file, or a directory of them\n"
    );
    assert!(problem(folder.path()).contains("a directory without *.yaml"));
}
