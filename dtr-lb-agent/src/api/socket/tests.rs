use std::os::unix::net::UnixListener as StdUnixListener;

use tokio::sync::mpsc;

use super::*;
use crate::{
    api::{ClientError, Detached, Refusal, Request, ask_detach, router},
    events::Events,
    history::History,
};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn open(path: &Path) -> Result<(Api, mpsc::Receiver<Request>), ApiError> {
    let (sender, requests) = mpsc::channel(1);
    Api::open(path, router(sender, History::default(), Events::default())).map(|api| (api, requests))
}

#[tokio::test]
async fn what_is_no_socket_is_not_replaced() {
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, "precious").expect("a file");
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).expect("a directory");
    for (path, kind) in [(&file, "a regular file"), (&link, "a symbolic link"), (&inner, "a directory")] {
        let error = open(path).expect_err("it is refused").to_string();
        assert!(error.contains(kind) && error.contains(path.to_str().expect("text")), "{error}");
        assert!(fs::symlink_metadata(path).is_ok(), "{kind} is gone");
    }
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "precious");
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_is_replaced_and_a_live_one_is_not() {
    let directory = directory();
    let path = directory.path().join("socket");
    drop(StdUnixListener::bind(&path).expect("a socket"));
    assert!(path.exists(), "as an agent that was killed leaves it");
    let (first, _requests) = open(&path).expect("it is replaced");
    assert!(matches!(open(&path), Err(ApiError::InUse(_))));
    drop(first);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_of_another_agent_is_left_alone_at_the_end() {
    let directory = directory();
    let path = directory.path().join("socket");
    let (api, _requests) = open(&path).expect("it opens");
    fs::rename(&path, directory.path().join("moved")).expect("it can be moved");
    let _other = StdUnixListener::bind(&path).expect("another socket");
    drop(api);
    assert!(path.exists());
}

#[tokio::test]
async fn detach_is_answered_before_the_socket_goes() {
    let directory = directory();
    let path = directory.path().join("socket");
    let (api, mut requests) = open(&path).expect("it opens");
    let asked = tokio::spawn({
        let path = path.clone();
        async move { ask_detach(&path).await }
    });
    let Some(Request::Detach(_, answer)) = requests.recv().await else { panic!("another request") };
    drop(requests);
    let detached = Detached { bpffs: "/bpf".into(), removed: true };
    answer.send(Ok(detached.clone())).expect("somebody waits");
    api.finish().await;
    assert_eq!(asked.await.expect("no panic").expect("an answer"), detached);
    assert!(!path.exists());
    assert!(matches!(ask_detach(&path).await, Err(ClientError::NoAgent(_))));
}

#[tokio::test]
async fn why_it_could_not_be_done_is_told() {
    let directory = directory();
    let path = directory.path().join("socket");
    let (_api, mut requests) = open(&path).expect("it opens");
    let asked = tokio::spawn({
        let path = path.clone();
        async move { ask_detach(&path).await }
    });
    let Some(Request::Detach(_, answer)) = requests.recv().await else { panic!("another request") };
    answer.send(Err(Refusal::failed("it is nailed down"))).expect("somebody waits");
    let error = asked.await.expect("no panic").expect_err("it failed").to_string();
    assert!(error.contains("it is nailed down"), "{error}");
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_its_group_only() {
    let directory = directory();
    let path = directory.path().join("socket");
    let (_api, _requests) = open(&path).expect("it opens");
    let file = fs::symlink_metadata(&path).expect("it is there");
    assert_eq!(file.mode() & 0o777, 0o660);
    let euid = nix::unistd::geteuid();
    assert_eq!(file.uid(), euid.as_raw());
    // Whether this host has the group dtr-lb or not, another one can be tried by root.
    if euid.is_root() {
        give_to(&path, Gid::from_raw(4711)).expect("root may");
        let file = fs::symlink_metadata(&path).expect("it is there");
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (0, 4711, 0o660));
    }
}
