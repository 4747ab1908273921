//! An archive that gets older, and what a run in it asks the store for.

use std::collections::BTreeMap;

use e2e::unique;

use super::hanging::Archive;

/// Backups that are made between the two measurements: a run that asks for something of each asks so many times more.
const LATER: usize = 12;

/// What a run of this command reads and lists, by kind. How often it writes depends on its time, too.
fn asked(archive: &Archive, command: &[&str]) -> BTreeMap<String, u64> {
    archive.proxy.take_requests();
    let report = archive.by_way_of_the_proxy(command).run().unwrap().succeeded().json().unwrap();
    assert!(!report["outcome"].is_null(), "{report}");
    let mut requests = archive.proxy.take_requests();
    requests.retain(|kind, _| ["GET", "HEAD", "LIST"].iter().any(|method| kind.starts_with(method)));
    assert!(!requests.is_empty(), "the store was not asked by way of the proxy");
    requests
}

#[test]
fn a_run_asks_the_store_as_often_in_an_old_archive_as_in_a_young_one() {
    let archive = Archive::new();
    let measure = || {
        let which = ["--topics", &archive.topic, "--no-consumer-groups"];
        let cluster = ["--bootstrap-servers", &archive.bootstrap, "--archive", "a"];
        let backup = asked(&archive, &[&["backup"][..], &cluster, &which].concat());
        let mapping = format!("--topic-mapping={}={}", archive.topic, unique("back"));
        let restore = asked(&archive, &[&["restore"][..], &cluster, &[&mapping]].concat());
        [("backup", backup), ("restore of the newest", restore)]
    };
    // The first restore of an archive finds no other one.
    measure();
    let young = measure();
    for number in 0..LATER {
        archive.run(&archive.backup(&format!("later-{number:02}")));
    }
    for ((run, young), (_, old)) in young.into_iter().zip(measure()) {
        // On a machine that is busy, the lease is renewed meanwhile.
        let few = LATER as u64 / 2;
        let is_more = |(kind, count): (&String, &u64)| *count > young.get(kind).unwrap_or(&0) + few;
        assert!(!old.iter().any(is_more), "{run}: {young:?} in a young archive, {old:?} in an old one");
    }
}
