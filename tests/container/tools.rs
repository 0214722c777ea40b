//! What the command line knows of its surroundings and of itself: doctor, completions, manual pages.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::harness::{Process, binary};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn verdict(output: &Output, check: &str) -> String {
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let found = told["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no {check}: {told}"))["verdict"].as_str().unwrap().to_owned()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn doctor_finds_a_running_container_well_and_then_not() {
    let process = Process::start(&["--set", "limits.requests_max=10"]);
    process.put("doctor/a", b"x").expect(201);
    let well = process.cli(&["doctor", "--json"], b"");
    assert!(well.status.success(), "{}", text(&well));
    for check in ["configuration", "container", "clocks", "actors", "queues", "objects", "data folder", "keyring"] {
        assert_eq!(verdict(&well, check), "good", "{check}: {}", text(&well));
    }
    // The folder that the container told, not the one of the defaults.
    assert!(text(&well).contains(process.data().to_str().unwrap()), "{}", text(&well));
    set_mode(&process.data().join("keys.toml"), 0o644);
    let ill = process.cli(&["doctor"], b"");
    assert_eq!(ill.status.code(), Some(23), "{}", text(&ill));
    assert!(text(&ill).contains("BAD   keyring") && text(&ill).contains("do: chmod 600"), "{}", text(&ill));
    process.request("POST", "/v1/admin/drain", &[], b"").expect(200);
    assert_eq!(verdict(&process.cli(&["doctor", "--json"], b""), "container"), "bad");
}

#[test]
fn doctor_looks_at_a_folder_that_nobody_uses() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let doctor = |args: &[&str]| {
        let nobody = ["--url", "http://127.0.0.1:9", "doctor", "--json", "--data"];
        binary().args(nobody).arg(&data).args(args).output().unwrap()
    };
    let fresh = doctor(&[]);
    assert_eq!((verdict(&fresh, "data folder"), verdict(&fresh, "keyring")), ("good".into(), "good".into()));
    assert_eq!((verdict(&fresh, "container"), fresh.status.code()), ("bad".into(), Some(23)), "one was named");
    assert!(!data.exists(), "looking changes nothing");
    // A store without its keyring.
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("store.redb"), b"x").unwrap();
    assert_eq!(verdict(&doctor(&[]), "keyring"), "bad");
    assert_eq!(verdict(&doctor(&["--set", "no.key=1"]), "configuration"), "bad");
    assert_eq!(verdict(&doctor(&["--config", "/none/site.toml"]), "configuration"), "bad");
}

#[test]
fn shells_and_man_know_the_commands() {
    let run = |args: &[&str]| binary().args(args).output().unwrap();
    for (shell, sign) in [("bash", "_meshstore()"), ("zsh", "#compdef meshstore"), ("fish", "complete -c meshstore")] {
        let script = run(&["completions", shell]);
        assert!(script.status.success() && text(&script).contains(sign), "{shell}");
        assert!(text(&script).contains("doctor"), "{shell}");
    }
    assert_eq!(run(&["completions", "cobol"]).status.code(), Some(2));
    let page = run(&["man"]);
    assert!(page.status.success() && text(&page).contains(".TH meshstore 1"), "{}", text(&page));
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("man1");
    assert!(run(&["man", place.to_str().unwrap()]).status.success());
    for name in ["meshstore.1", "meshstore-push.1", "meshstore-admin.1"] {
        assert!(place.join(name).is_file(), "{name}");
    }
    std::fs::write(folder.path().join("file"), b"").unwrap();
    assert!(!run(&["man", folder.path().join("file/x").to_str().unwrap()]).status.success());
}

#[test]
fn two_sources_never_go_to_one_address() {
    let process = Process::start(&[]);
    for folder in ["one", "two"] {
        std::fs::create_dir(process.folder().join(folder)).unwrap();
        std::fs::write(process.folder().join(folder).join("x"), folder).unwrap();
    }
    let path = |folder: &str| process.folder().join(folder).join("x").to_str().unwrap().to_owned();
    let refused = process.cli(&["push", &path("one"), &path("two"), "tools/both/"], b"");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(10) && said.contains("tools/both/x"), "{said}");
    process.get("tools/both/x").expect_problem(404, "not_found");
}
