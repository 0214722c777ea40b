//! The demo, as somebody new meets it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use super::harness::*;

#[test]
fn the_demo_shows_what_it_says_and_leaves_what_can_be_looked_into() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = binary();
    command.args(["demo", "--keep"]).env("TMPDIR", folder.path());
    // What is set for containers of one's own is not the demo's: with any of this none of them would start.
    command.env("NATS_URL", "nats://127.0.0.1:1").env("MESHSTORE__BUS__MODE", "nats://127.0.0.1:1");
    command.env("MESHSTORE__DATA__DIR", "/nonexistent").env("MESHSTORE__NO__SUCH", "key");
    let ran = command.output().unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(String::from_utf8_lossy(&ran.stderr), "");
    for told in [
        "1  push and pull",
        "none lost",
        "their words are in no file",
        "a chunk of the frame is damaged",
        "acknowledged objects are there, byte for byte",
        "6  a site: containers a and b",
        "objects that a keeps",
        "(Mesh-Level: peer)",
        "locate, asked at b: b ram (cached), a ram (cached), a disk (owed)",
        "a decides: 1 wins, 7 hear 412",
        "a leaves, in",
        "b says: the container that keeps the object is not there; start it",
        "locate, asked at b: a disk (away)",
        "a comes back; after",
        "7  a mesh: sites cloud, edge and fog",
        "each of them knows all",
        "edge/c1 disk (owed)",
        "a policy lets objects of this collection be read at edge, fog only (policy: patients, point: pull",
        "the cloud says so, and both go on",
        "the site that keeps the object is not heard",
        "all three list the same",
        "all answers were checked",
    ] {
        assert!(said.contains(told), "{told:?} is not in\n{said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 150), "{said}");

    // What it says about looking around is true.
    let words = said.lines().find_map(|line| line.trim().strip_prefix("meshstore serve ")).expect("how to serve it");
    assert!(words.contains(folder.path().to_str().unwrap()), "{words}");
    let mut serve = binary();
    serve.arg("serve").args(words.split(' ')).args(["--http", "127.0.0.1:0", "--json"]);
    let mut child = serve.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let addr = ready["http"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    let listed = Connection::open(addr).unwrap().request("GET", "/v1/objects/demo?prefix=site/of-", &[], b"").unwrap();
    let pulled = Connection::open(addr).unwrap().request("GET", "/v1/objects/demo/site/of-a", &[], b"").unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(listed.expect(200).text().contains("\"site/of-b\""));
    assert_eq!(pulled.expect(200).body.len(), 1 << 20);
}
