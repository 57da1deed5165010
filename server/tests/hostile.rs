//! What a server does with another server that is wrong, and with a store that is not its own.

use postern_protocol::RoleTerm;
use postern_protocol::uplink::RefusalCode;
use postern_server::replication::wire::{self, Copy, Known, Merge};
use postern_server::role::State;
use postern_server::serve;
use postern_server::site::{self, First, STORE, Site};
use postern_server::store::{Returned, StoreError};
use serde::Serialize;

use crate::common::{Pair, fail_over, free_port, http, in_sync, refusal};

/// What the second server of a site says with its own certificate.
async fn say(pair: &Pair, to: &str, what: &str, body: Vec<u8>) -> reqwest::Response {
    let client = http(Site::open(&pair.b).unwrap().connect_config(site::SERVER).unwrap());
    let url = format!("https://{}/v1/groups/main/{what}", pair.address(to));
    client.post(url).body(body).send().await.unwrap()
}

fn packed<T: Serialize>(message: &T) -> Vec<u8> {
    wire::pack(message).unwrap()
}

/// Invariant 7: a deposed server is refused at its peer by role term, whatever it brings.
#[tokio::test]
async fn what_is_said_under_another_role_term_is_refused() {
    let pair = Pair::new();
    let (a, b) = (serve::start(&pair.a).await.unwrap(), serve::start(&pair.b).await.unwrap());
    in_sync(&pair, "a").await;
    let before = a.server.keeper.belief().role().role_term;
    assert!(fail_over(&pair, "b", false).await.status().is_success());
    assert!(fail_over(&pair, "a", false).await.status().is_success());
    b.stop().await;
    let present = a.server.keeper.belief().role().role_term;
    assert!(present > before);
    let counts = a.server.store.counts().await.unwrap();
    for role_term in [before, RoleTerm(present.0 + 1), RoleTerm(u64::MAX)] {
        let merge = packed(&Merge { role_term, returned: Returned::default() });
        let known = packed(&Known { role_term });
        let copy = packed(&Copy { role_term });
        for (what, body) in [("merge", merge), ("known", known), ("copy", copy)] {
            let (code, told) = refusal(say(&pair, "a", what, body).await).await;
            assert_eq!((code, told.code), (421, RefusalCode::NotActive), "{what} {role_term}");
        }
    }
    assert_eq!(a.server.store.counts().await.unwrap(), counts);
    assert_eq!(a.server.keeper.belief().state(), State::Active);
    a.stop().await;
}

#[tokio::test]
async fn a_message_of_a_server_that_cannot_be_read_is_refused() {
    let pair = Pair::new();
    let a = serve::start(&pair.a).await.unwrap();
    let bomb = zstd::bulk::compress(&vec![0; 256 << 20], 1).unwrap();
    assert!(bomb.len() < 64 << 10, "it comes through every limit of a body: {}", bomb.len());
    let version = zstd::bulk::compress(&[99, 1, 2, 3], 1).unwrap();
    // A list that says that it has more members than there are bytes in the world.
    let long = zstd::bulk::compress(&[&[1][..], &[0xff; 9], &[0x01]].concat(), 1).unwrap();
    let every = ["log", "log/heads", "merge", "known", "copy", "pause"];
    let lists = ["log/heads"];
    for (body, whats) in [
        (Vec::new(), &every[..]),
        (b"{}".to_vec(), &every),
        (vec![0xff; 100_000], &every),
        (bomb, &every),
        (version, &every),
        (long, &lists),
    ] {
        for what in whats {
            let (code, told) = refusal(say(&pair, "a", what, body.clone()).await).await;
            assert_eq!((code, told.code), (400, RefusalCode::BadRequest), "{what}");
        }
    }
    assert_eq!(a.server.keeper.belief().state(), State::Active);
    a.stop().await;
}

/// A store that was put here from elsewhere does not reign here.
#[tokio::test]
async fn a_store_of_another_site_or_group_does_not_start() {
    for (site, group, expected) in
        [("south", "main", "another site (south)"), ("north", "else", "group main")]
    {
        let pair = Pair::first_alone();
        let at = format!("127.0.0.1:{}", free_port());
        let other = pair.root.path().join("other");
        let first = First { site, group, name: "a", address: &at, listen: Some(&at) };
        site::init(&other, &first).unwrap();
        for side in ["", "-wal", "-shm"] {
            let name = format!("{STORE}{side}");
            let _ = std::fs::remove_file(pair.a.join(&name));
            let _ = std::fs::copy(other.join(&name), pair.a.join(&name));
        }
        let error = serve::start(&pair.a).await.err().expect("it does not start");
        assert!(error.to_string().contains(expected), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("put back its own"), "{hint}");
    }
}

/// What is no store at all is not touched.
#[tokio::test]
async fn a_file_that_is_no_store_does_not_start_and_stays() {
    let pair = Pair::first_alone();
    let path = pair.a.join(STORE);
    for side in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{side}", path.display()));
    }
    for content in [b"not a database".to_vec(), Vec::new()] {
        std::fs::write(&path, &content).unwrap();
        let error = serve::start(&pair.a).await.err().expect("it does not start");
        assert!(
            matches!(
                &error,
                serve::ServeError::Store(StoreError::NotAStore { .. } | StoreError::Failed { .. })
            ),
            "{error}"
        );
        assert!(std::fs::read(&path).unwrap() == content, "it was written to");
    }
}
