//! Where level 3 is, as whoever starts a container says it.

use std::fs;

use crate::harness::Process;

#[test]
fn the_cloud_is_a_folder_that_is_made_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("deep/cloud");
    let _process = Process::start(&["--cloud", &format!("file://{}", place.display())]);
    assert!(place.is_dir());
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "the trial of the folder leaves nothing");
}

#[test]
fn a_cloud_that_cannot_be_used_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let file = file.to_str().unwrap();
    let bad = [
        ("s3://bucket/prefix", "not built yet"),
        ("az://container", "not built yet"),
        ("gs://bucket", "not built yet"),
        ("ftp://host", "a path or file:///path"),
        ("~/cloud", "not expanded"),
        ("/", "must end in a name"),
        (file, "cannot make the cloud folder"),
        (&format!("{file}/below"), "cannot make the cloud folder"),
    ];
    for (url, words) in bad {
        let refused = Process::refused(&["--cloud", url], &[]);
        assert!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
        assert!(refused.stderr.contains(words) && refused.stderr.contains(url), "{url}: {refused:?}");
    }
    for (setting, words) in [
        ("cloud.concurrency=0", "from 1 to 256"),
        ("cloud.timeout_ms=0", "milliseconds"),
        ("cloud.upload_timeout_ms=1h", "milliseconds"),
        ("cloud.uri=x", "cloud.uri"),
    ] {
        let refused = Process::refused(&["--set", setting], &[]);
        assert!(refused.stderr.contains(words) && refused.stderr.contains("cloud."), "{setting}: {refused:?}");
    }
}
