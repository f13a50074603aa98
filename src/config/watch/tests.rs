//! Changes as they really come: editors, mounted ConfigMaps, deletion.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// Far below the poll, so that a pass means an event was seen; far above the debounce.
const SOON: Duration = Duration::from_secs(10);

async fn changes(watcher: &mut Watcher) -> bool {
    tokio::time::timeout(SOON, watcher.changed()).await.is_ok()
}

#[tokio::test]
async fn a_file_written_in_place_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mesh.yaml");
    fs::write(&file, "version: v1").unwrap();
    let mut watcher = Watcher::new(&file);
    fs::write(&file, "version: v1\nworkers: 1").unwrap();
    assert!(changes(&mut watcher).await);
}

#[tokio::test]
async fn a_file_renamed_over_it_is_noticed_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mesh.yaml");
    fs::write(&file, "version: v1").unwrap();
    let mut watcher = Watcher::new(&file);
    for workers in 1..4 {
        let new = folder.path().join(".mesh.yaml.swp");
        fs::write(&new, format!("workers: {workers}")).unwrap();
        fs::rename(&new, &file).unwrap();
        assert!(changes(&mut watcher).await, "change {workers}");
    }
}

#[tokio::test]
async fn a_config_map_swap_is_noticed_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let version = |number: u32| {
        let hidden = folder.path().join(format!("..{number}"));
        fs::create_dir(&hidden).unwrap();
        fs::write(hidden.join("mesh.yaml"), format!("workers: {number}")).unwrap();
        let new = folder.path().join("..data_tmp");
        symlink(hidden, &new).unwrap();
        fs::rename(new, folder.path().join("..data")).unwrap();
    };
    version(1);
    symlink("..data/mesh.yaml", folder.path().join("mesh.yaml")).unwrap();
    for path in [folder.path().join("mesh.yaml"), folder.path().to_owned()] {
        let mut watcher = Watcher::new(&path);
        for number in 2..5 {
            version(number + if path.is_dir() { 10 } else { 0 });
            assert!(changes(&mut watcher).await, "{} swap {number}", path.display());
        }
    }
}

#[tokio::test]
async fn a_deleted_file_is_a_change_and_so_is_its_return() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mesh.yaml");
    fs::write(&file, "version: v1").unwrap();
    let mut watcher = Watcher::new(&file);
    fs::remove_file(&file).unwrap();
    assert!(changes(&mut watcher).await);
    fs::write(&file, "version: v1").unwrap();
    assert!(changes(&mut watcher).await);
}

#[tokio::test(start_paused = true)]
async fn the_same_content_again_is_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mesh.yaml");
    fs::write(&file, "version: v1").unwrap();
    let mut watcher = Watcher::new(&file);
    watcher.folders = None;
    fs::write(&file, "version: v1").unwrap();
    watcher.events.notify_one();
    assert!(tokio::time::timeout(POLL * 3, watcher.changed()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn without_events_the_poll_finds_the_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mesh.yaml");
    fs::write(&file, "version: v1").unwrap();
    let mut watcher = Watcher::new(&file);
    watcher.folders = None;
    fs::write(&file, "workers: 1").unwrap();
    assert!(tokio::time::timeout(POLL * 2, watcher.changed()).await.is_ok());
}

#[tokio::test]
async fn a_certificate_elsewhere_is_watched_from_the_moment_it_is_named() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (file, pem) = (folder.path().join("mesh.yaml"), elsewhere.path().join("ca.pem"));
    fs::write(&file, "version: v1").unwrap();
    let mut watcher = Watcher::new(&file);
    let named = |path: &str| format!("services: {{a: {{endpoints: {{dns: a:1}}, tls: {{ca: {path}}}}}}}");
    fs::write(&file, named(&pem.display().to_string())).unwrap();
    assert!(changes(&mut watcher).await, "the YAML");
    for content in ["not there before", "wrong", "right"] {
        fs::write(&pem, content).unwrap();
        assert!(changes(&mut watcher).await, "{content}");
    }
    fs::remove_file(&pem).unwrap();
    assert!(changes(&mut watcher).await, "removed");
}

#[tokio::test]
async fn a_mounted_pair_that_is_swapped_by_its_link_is_one_change_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let version = |number: u32| {
        let hidden = folder.path().join(format!("..{number}"));
        fs::create_dir(&hidden).unwrap();
        for name in ["tls.crt", "tls.key"] {
            fs::write(hidden.join(name), format!("{name} {number}")).unwrap();
        }
        let new = folder.path().join("..data_tmp");
        symlink(hidden, &new).unwrap();
        fs::rename(new, folder.path().join("..data")).unwrap();
    };
    version(1);
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), folder.path().join(name)).unwrap();
    }
    let file = folder.path().join("mesh.yaml");
    let text = "services: {a: {endpoints: {dns: a:1}, tls: {cert: tls.crt, key: tls.key}}}";
    fs::write(&file, text).unwrap();
    let mut watcher = Watcher::new(&file);
    for number in 2..5 {
        version(number);
        assert!(changes(&mut watcher).await, "swap {number}");
    }
    let again = tokio::time::timeout(3 * DEBOUNCE, watcher.changed()).await;
    assert!(again.is_err(), "one swap, one change");
}

#[tokio::test]
async fn files_without_yaml_are_watched_through_a_swapped_link() {
    let folder = tempfile::tempdir().unwrap();
    let version = |number: u32| {
        let hidden = folder.path().join(format!("..{number}"));
        fs::create_dir(&hidden).unwrap();
        fs::write(hidden.join("tls.crt"), format!("{number}")).unwrap();
        let new = folder.path().join("..data_tmp");
        symlink(hidden, &new).unwrap();
        fs::rename(new, folder.path().join("..data")).unwrap();
    };
    version(1);
    let file = folder.path().join("tls.crt");
    symlink("..data/tls.crt", &file).unwrap();
    let mut watcher = Watcher::of_files(vec![file]);
    for number in 2..5 {
        version(number);
        assert!(changes(&mut watcher).await, "swap {number}");
    }
}
