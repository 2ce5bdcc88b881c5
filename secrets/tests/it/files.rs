//! Secrets in files, which are exchanged as Kubernetes and Docker exchange them.

use std::{fs, os::unix::fs::symlink, sync::Arc};

use docket_secrets::Store;
use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test]
async fn a_file_that_is_exchanged_behind_a_link_is_read_and_told_of() {
    let folder = tempfile::tempdir().unwrap();
    // As the kubelet does: the file is a link into a folder that is a link itself, and the latter is exchanged.
    for (name, secret) in [("one", "hunter2\n"), ("two", "swordfish\n")] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("token"), secret).unwrap();
    }
    symlink("one", folder.path().join("..data")).unwrap();
    symlink("..data/token", folder.path().join("token")).unwrap();
    let text = format!("file:{}", folder.path().join("token").display());
    let store = Arc::new(Store::open(&options(), keyed(&text)).await.unwrap());
    assert_eq!(shown(&store, &text), "hunter2");
    let mut changes = store.watch(&reference(&text)).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (store, stop) = (Arc::clone(&store), stop.clone());
        async move { store.run(stop).await }
    });
    symlink("two", folder.path().join("..new")).unwrap();
    fs::rename(folder.path().join("..new"), folder.path().join("..data")).unwrap();
    tokio::time::timeout(PATIENCE, changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(changes.borrow_and_update().expose_secret(), "swordfish");
    assert_eq!(shown(&store, &text), "swordfish");
    // It goes, and what was read stays.
    fs::remove_file(folder.path().join("..data")).unwrap();
    store.reread();
    symlink("one", folder.path().join("..data")).unwrap();
    tokio::time::timeout(PATIENCE, changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(changes.borrow_and_update().expose_secret(), "hunter2");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_is_told_with_its_key_and_its_place() {
    let refused = Store::open(&options(), keyed("file:/gone/token"))
        .await
        .err()
        .unwrap();
    let told = refused.to_string();
    assert!(
        told.starts_with("test.key: cannot read file:/gone/token: No such file"),
        "{told}"
    );
    let refused = Store::open(&options(), keyed("env:DOCKET_TEST_NOBODY_SETS_THIS"))
        .await
        .err()
        .unwrap();
    let told = refused.to_string();
    assert_eq!(
        told,
        "test.key: cannot read env:DOCKET_TEST_NOBODY_SETS_THIS: the variable is not set"
    );
    let refused = Store::open(&options(), keyed("vault:secret/docket#token"))
        .await
        .err()
        .unwrap();
    let told = refused.to_string();
    assert_eq!(
        told,
        "test.key: vault:secret/docket#token is at a server, and none is configured"
    );
}
