//! The simulation, as somebody types it.

use serde_json::Value;

use super::harness::binary;

#[test]
fn a_mesh_is_simulated_and_what_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| binary().arg("simulate").args(args).env("TMPDIR", folder.path()).output().unwrap();
    let ran = run(&["--sites", "4", "--objects", "3", "--seconds", "3", "--json"]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let report = serde_json::from_slice::<Value>(&ran.stdout).unwrap()["simulation"].clone();
    let figure = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name}: {report}"));
    assert_eq!((figure("sites"), figure("objects")), (4.0, 12.0));
    // Each site says something each second, and hears the three others.
    assert!((3.0..20.0).contains(&figure("idle_messages_per_s")), "{report}");
    assert!((500.0..10_000.0).contains(&figure("idle_bytes_per_s")), "{report}");
    // A miss asks each site that has the collection; what is asked in the background meanwhile is in it.
    assert!((3.0..40.0).contains(&figure("questions_per_miss_of_all")), "{report}");
    assert!((1.0..40.0).contains(&figure("questions_per_miss_of_one")), "{report}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "its folder stays");
    let refused = run(&["--sites", "1"]);
    assert_eq!(refused.status.code(), Some(10));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("2 to 1000 sites"));
}
