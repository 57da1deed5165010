//! One ordinal, one server: whoever joins at once, and wherever a join dies.

use std::path::PathBuf;
use std::sync::Barrier;

use super::*;

fn first(dir: &Path) {
    let (site, group, name) = ("north", "main", "a");
    init(dir, &First { site, group, name, address: "127.0.0.1:7443", listen: None }).unwrap();
}

fn second<'a>(first: &'a Path, name: &'a str, address: &'a str) -> Second<'a> {
    Second { join: first, name, address, listen: None }
}

/// Regression: two joins at once read the same members and both became ordinal 1, so that two
/// servers might hold one role term.
#[test]
fn of_joins_at_once_one_alone_makes_a_server() {
    for names in [["b", "c", "d", "e"], ["b", "b", "b", "b"]] {
        let root = tempfile::tempdir().unwrap();
        let a = root.path().join("a");
        first(&a);
        let line = Barrier::new(names.len());
        let results: Vec<(PathBuf, Result<(), SiteError>)> = std::thread::scope(|scope| {
            let (line, root, a) = (&line, &root, &a);
            let joins: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(number, name)| {
                    scope.spawn(move || {
                        let dir = root.path().join(format!("join-{number}"));
                        let address = format!("{name}.example:7443");
                        line.wait();
                        let result = join(&dir, &second(a, name, &address));
                        (dir, result)
                    })
                })
                .collect();
            joins.into_iter().map(|join| join.join().unwrap()).collect()
        });
        let members = Site::open(&a).unwrap().config.members;
        let mut made = Vec::new();
        for (dir, result) in results {
            match result {
                Ok(()) => made.push(Site::open(&dir).unwrap()),
                Err(error) => {
                    assert!(
                        matches!(
                            error,
                            SiteError::Joining { .. }
                                | SiteError::Full { .. }
                                | SiteError::Taken { .. }
                        ),
                        "{error}"
                    );
                    assert!(error.hint().is_some());
                    assert!(!dir.join(AUTHORITY).with_extension("key").exists());
                }
            }
        }
        assert_eq!(made.len(), 1, "{names:?}");
        assert_eq!(made[0].config.members, members);
        assert_eq!((members.len(), made[0].config.me().unwrap().ordinal), (2, 1));
    }
}

/// A join that died after the first server's directory named the new one: that one may be made
/// again, nobody else in its place.
#[test]
fn a_join_that_died_half_way_is_mended_by_the_same_join_alone() {
    let root = tempfile::tempdir().unwrap();
    let (a, b, c) = (root.path().join("a"), root.path().join("b"), root.path().join("c"));
    first(&a);
    let begun = second(&a, "b", "b.example:7443");
    let site = Site::open(&a).unwrap();
    admit(&site, &begun, &with_member(&site, &begun).unwrap()).unwrap();

    let other = join(&c, &second(&a, "c", "c.example:7443")).unwrap_err();
    assert!(matches!(other, SiteError::Full { .. }), "{other}");
    let moved = join(&c, &second(&a, "b", "c.example:7443")).unwrap_err();
    assert!(matches!(moved, SiteError::Taken { what: "named", .. }), "{moved}");
    let own = join(&c, &second(&a, "a", "127.0.0.1:7443")).unwrap_err();
    assert!(matches!(own, SiteError::Taken { what: "named", .. }), "{own}");
    assert!(!c.exists(), "nothing was made for those who were refused");

    join(&b, &begun).unwrap();
    let made = Site::open(&b).unwrap().config;
    assert_eq!(made.me().unwrap().ordinal, 1);
    assert_eq!(made.members, Site::open(&a).unwrap().config.members);
    let again = join(&c, &begun).unwrap_err();
    assert!(matches!(again, SiteError::Taken { .. }), "a finished server is not made twice");
    assert!(again.hint().unwrap().contains("server.toml"), "{:?}", again.hint());
    std::fs::write(a.join(JOINING), "c").unwrap();
    let again = join(&c, &begun).unwrap_err();
    assert!(matches!(again, SiteError::Taken { .. }), "nor when another's join was begun");
}

#[test]
fn a_directory_that_cannot_be_made_takes_nobodys_place() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    first(&a);
    std::fs::create_dir(&b).unwrap();
    std::fs::write(b.join("keep"), "me").unwrap();
    let refused = join(&b, &second(&a, "b", "b.example:7443")).unwrap_err();
    assert!(matches!(refused, SiteError::NotEmpty { .. }));
    assert_eq!(Site::open(&a).unwrap().config.members.len(), 1);
}

#[test]
fn an_init_that_died_half_way_is_told_from_a_directory_of_somebody_else() {
    let root = tempfile::tempdir().unwrap();
    let a = root.path().join("a");
    first(&a);
    std::fs::remove_file(a.join(CONFIG)).unwrap();
    let opened = Site::open(&a).err().unwrap();
    let (site, group, name) = ("north", "main", "a");
    let again = First { site, group, name, address: "127.0.0.1:7443", listen: None };
    for error in [opened, init(&a, &again).unwrap_err()] {
        assert!(matches!(error, SiteError::Unfinished { .. }), "{error}");
        assert_eq!(error.hint().unwrap(), "delete the directory and repeat the command");
        assert_eq!(error.exit_code(), crate::exit::CONFIGURATION);
    }
    // A server ran here: its authority's key may be the only one, and nobody is told to delete it.
    drop(Lock::take(&a).unwrap());
    assert!(matches!(init(&a, &again), Err(SiteError::NotEmpty { .. })));
    assert!(matches!(Site::open(&a), Err(SiteError::Config(_))));
}
