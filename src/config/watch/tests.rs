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
