//! Policies of the mesh: said once, at any site, and enforced at every one.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::faulty::Machine;
use super::harness::*;
use super::mesh::{Mesh, keys};
use super::misuse::counted;
use super::site::{level, until};

/// Within so long a site hears what it subscribes to, also where much else goes on.
const HEARD_SOON: Duration = Duration::from_secs(8);

fn path(name: &str) -> String {
    format!("/v1/policies/{name}")
}

fn set(process: &Process, name: &str, rule: &Value) -> Response {
    process.request("PUT", &path(name), &[], rule.to_string().as_bytes())
}

fn show(process: &Process, name: &str) -> Value {
    process.request("GET", &path(name), &[], b"").expect(200).json()
}

/// Who is refused because of a policy hears its name and where it was met.
#[track_caller]
fn refused(answer: Response, policy: &str, point: &str) {
    let problem = answer.expect_problem(403, "forbidden");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("policy: {policy}")) && detail.contains(&format!("point: {point}")), "{detail}");
}

#[track_caller]
fn typed(process: &Process, line: &str, code: i32) -> (String, String) {
    let output = process.cli(&line.split_whitespace().collect::<Vec<_>>(), b"");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(code), "{line}\n{out}{err}");
    (out, err)
}

fn file(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("policies.toml");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_policy_is_enforced_where_it_is_met_and_named() {
    let mut process = Process::start(&["--site", "edge"]);
    process.put("meteo/old", b"before").expect(201);
    process.put("meteo/held", b"before").expect(201);
    // Elsewhere only: what is here already is told of.
    set(&process, "away", &json!({"collections": ["met*"], "push": ["fog"], "open": ["edge"], "note": "by law"}))
        .expect(201);
    let problem = process.put("meteo/new", b"new").expect_problem(403, "forbidden");
    assert!(problem["detail"].as_str().unwrap().contains("by law"), "{problem}");
    refused(process.put("meteo/new", b"new"), "away", "push");
    refused(process.delete("meteo/old"), "away", "push");
    let one = "--b\r\nContent-Disposition: form-data; name=\"push\"; filename=\"meteo/x\"\r\n\r\nx\r\n--b--\r\n";
    let parts = [("Content-Type", "multipart/mixed; boundary=b")];
    assert!(!process.request("POST", "/v1/batch", &parts, one.as_bytes()).text().contains("201"));
    assert_eq!(process.get("meteo/old").expect(200).body, b"before");
    process.put("other/a", b"a").expect(201);
    // Not even from memory, and not after a restart.
    let changed = json!({"collections": ["met*"], "open": ["fog"], "hold": ["fog"]});
    set(&process, "away", &changed).expect(200);
    refused(process.get("meteo/old"), "away", "pull");
    process.terminate();
    process.restart();
    refused(process.get("meteo/old"), "away", "pull");
    let shown = show(&process, "away");
    assert_eq!((&shown["against"], &shown["site"], &shown["rule"]), (&json!(2), &json!("edge"), &changed));
    let (table, _) = typed(&process, "policy show", 0);
    assert!(table.contains("away") && table.contains("hold=fog open=fog"), "{table}");
    process.request("DELETE", &path("away"), &[], b"").expect(204);
    process.get("meteo/old").expect(200);
    process.put("meteo/new", b"new").expect(201);

    // Limits.
    set(&process, "small", &json!({"collections": ["meteo"], "object_bytes": 10, "quota_objects": 4})).expect(201);
    process.put("meteo/a", b"0123456789").expect(201);
    let large = process.put("meteo/b", b"0123456789x").expect_problem(413, "too_large");
    assert!(large["detail"].as_str().unwrap().contains("policy: small"), "{large}");
    let mut stream = process.connect();
    stream
        .send(
            format!("PUT {} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n", object("meteo/b"))
                .as_bytes(),
        )
        .unwrap();
    stream.send(b"20\r\n0123456789012345678901234567890\n\r\n0\r\n\r\n").unwrap();
    let large = stream.whole_answer().unwrap();
    assert!(large.status == 413 && String::from_utf8_lossy(&large.body).contains("policy: small"), "{}", large.status);
    let many = process.put("meteo/b", b"1").expect_problem(413, "too_large");
    assert!(many["detail"].as_str().unwrap().contains("policy: small"), "{many}");

    // Nothing goes to the cloud, nothing leaves the disk.
    let owed =
        || process.request("GET", "/v1/transfers", &[], b"").expect(200).json()["items"].as_array().unwrap().len();
    let before = owed();
    set(&process, "here", &json!({"collections": ["other"], "cloud": false, "evict": false})).expect(201);
    process.put("other/b", b"b").expect(201);
    assert_eq!(owed(), before);
    process.request("POST", "/v1/sync", &[], b"").expect(200);
    let left: Vec<Value> =
        process.request("GET", "/v1/transfers", &[], b"").expect(200).json()["items"].as_array().unwrap().clone();
    assert!(left.iter().all(|one| one["address"] == "other/a") && left.len() == 1, "{left:?}");
    let evict = |body: &str| process.request("POST", "/v1/admin/evict", &[], body.as_bytes());
    refused(evict(r#"{"level":"disk","collection":"other"}"#), "here", "evict");
    evict(r#"{"level":"disk"}"#).expect(200);
    let page = String::from_utf8(process.request("GET", "/metrics", &[], b"").body).unwrap();
    let refusals: Vec<&str> = page.lines().filter(|line| line.starts_with("meshstore_policy_refusals")).collect();
    assert!(refusals.contains(&"meshstore_policy_refusals_total{point=\"evict\"} 1"), "{refusals:?}");
}

#[test]
fn what_is_no_policy_is_refused_in_words() {
    let process = Process::start(&[]);
    for (body, word) in [
        ("", "collections"),
        ("[]", "JSON object"),
        ("{\"collections\":[\"a\"]}", "nothing"),
        ("{\"collections\":[\"A*\"],\"cloud\":false}", "how they begin"),
        ("{\"collections\":[\"a\"],\"open\":[]}", "empty"),
        ("{\"collections\":[\"a\"],\"opn\":[\"edge\"]}", "opn"),
    ] {
        let problem = process.request("PUT", &path("p"), &[], body.as_bytes()).expect_problem(400, "invalid");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{body}: {problem}");
    }
    let rule = json!({"collections": ["a"], "cloud": false});
    process.request("PUT", &path("No.Name"), &[], rule.to_string().as_bytes()).expect_problem(400, "invalid");
    process.request("GET", &path("p"), &[], b"").expect_problem(404, "not_found");
    process.request("DELETE", &path("p"), &[], b"").expect_problem(404, "not_found");
    process.request("POST", &path("p"), &[], b"").expect(405);
    let made = set(&process, "p", &rule).expect(201);
    let tag = made.header("etag").unwrap().to_owned();
    let put = |headers: &[(&str, &str)]| process.request("PUT", &path("p"), headers, rule.to_string().as_bytes());
    put(&[("If-None-Match", "*")]).expect_problem(412, "already_exists");
    put(&[("If-Match", "7")]).expect_problem(400, "invalid");
    put(&[("If-Match", &tag)]).expect(200);
    put(&[("If-Match", &tag)]).expect_problem(412, "precondition_failed");
}

#[test]
fn a_file_of_policies_is_planned_applied_shown_and_taken_back() {
    let process = Process::start(&["--site", "edge"]);
    let folder = tempfile::tempdir().unwrap();
    let path = file(
        folder.path(),
        "[policy.a]\ncollections = [\"x\"]\ncloud = false\n[policy.b]\ncollections = [\"y-*\"]\nopen = [\"edge\", \"fog\"]\n",
    );
    let at = |command: &str| format!("policy {command} {}", path.display());
    let (plan, warned) = typed(&process, &at("plan"), 0);
    assert!(plan.contains("+ a\n") && plan.ends_with("2 to add, 0 to change, 0 to remove\n"), "{plan}");
    assert!(warned.contains("policy b names site fog, which is not one of the mesh (yet)"), "{warned}");
    assert_eq!(typed(&process, "policy show", 0).0, "");
    assert!(typed(&process, &at("apply"), 0).0.ends_with("2 added, 0 changed, 0 removed\n"));
    assert!(typed(&process, &at("apply"), 0).0.ends_with("nothing to change\n"));
    // What is shown is what a file has.
    let (shown, _) = typed(&process, "policy show b", 0);
    file(folder.path(), &shown);
    let (plan, _) = typed(&process, &at("plan"), 0);
    assert!(plan.contains("= b\n") && plan.contains("? a  not in the file; --prune removes it\n"), "{plan}");
    file(folder.path(), "[policy.b]\ncollections = [\"y-*\"]\nopen = [\"edge\"]\n");
    let (told, _) = typed(&process, &format!("{} --prune --json", at("apply")), 0);
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.iter().map(|one| one["do"].as_str().unwrap()).collect::<Vec<_>>(), ["change", "remove"]);
    let (log, _) = typed(&process, "policy log b --json", 0);
    let versions: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((versions.len(), &versions[1]["rule"]["open"]), (2, &json!(["edge", "fog"])));
    typed(&process, &format!("policy apply --take b@{}", versions[1]["version"].as_str().unwrap()), 0);
    assert_eq!(show(&process, "b")["rule"]["open"], json!(["edge", "fog"]));
    let (_, err) = typed(&process, "policy apply --take b@0000000000000000-0000000000000000", 13);
    assert!(err.contains("policy log"), "{err}");
    assert!(typed(&process, "policy show none", 13).1.contains("there is no such policy"));
    file(folder.path(), "[policy.b]\ncollections = [\"y-*\"]\nopn = [\"edge\"]\n");
    let (_, err) = typed(&process, &at("plan"), 10);
    assert!(err.contains("opn") && err.contains("policy: b") && err.contains("policies.toml"), "{err}");
    typed(&process, "policy apply", 2);
}

#[test]
fn a_policy_that_is_set_at_one_site_holds_at_all() {
    let mut mesh = Mesh::of(&["cloud", "edge", "fog"]);
    let (cloud, edge, fog) = (mesh.container("cloud", "c1"), mesh.container("edge", "c1"), mesh.container("fog", "c1"));
    let second = mesh.container("fog", "c2");
    edge.put("patient-1/a", b"private").expect(201);
    edge.put("patient-1/b", b"private").expect(201);
    until("the edge", || cloud.get("patient-1/a").status == 200 && fog.get("patient-1/a").status == 200);
    // Set at the hub, before anything of the next collection is anywhere.
    let rule =
        json!({"collections": ["patient-*"], "hold": ["edge", "fog"], "open": ["edge", "fog"], "push": ["edge"]});
    set(&cloud, "patients", &rule).expect(201);
    for process in [&edge, &fog, &second] {
        until("the policy", || process.request("GET", &path("patients"), &[], b"").status == 200);
    }
    refused(cloud.get("patient-1/a"), "patients", "pull");
    refused(cloud.get("patient-1/b"), "patients", "pull");
    refused(fog.put("patient-2/x", b"x"), "patients", "push");
    refused(second.put("patient-2/x", b"x"), "patients", "push");
    assert_eq!(second.get("patient-1/b").expect(200).body, b"private");
    assert_eq!(show(&fog, "patients")["site"], "cloud");

    // A site that may read and not hold leaves nothing behind, and lets go of what it had.
    edge.put("shared/a", b"to be read").expect(201);
    until("the object", || fog.get("shared/a").status == 200);
    let copies = |process: &Process| {
        let located = process.request("GET", "/v1/locate/shared/a", &[], b"").expect(200).json();
        let copies = located["versions"][0]["copies"].as_array().unwrap().clone();
        copies.iter().filter(|copy| copy["site"] == "fog").count()
    };
    until("the copy", || copies(&edge) > 0);
    set(&edge, "shared", &json!({"collections": ["shared"], "hold": ["edge"]})).expect(201);
    until("its end", || copies(&edge) == 0);
    for _ in 0..2 {
        let read = fog.get("shared/a").expect(200);
        assert_eq!((level(&read), &read.body[..]), ("peer", &b"to be read"[..]));
    }
    assert_eq!(copies(&edge), 0);

    // Who subscribes hears of what nobody asked for there.
    edge.put("news/a", b"a").expect(201);
    set(&edge, "heard", &json!({"collections": ["news"], "subscribe": ["cloud"]})).expect(201);
    until("the policy", || cloud.request("GET", &path("heard"), &[], b"").status == 200);
    std::thread::sleep(HEARD_SOON);
    mesh.stop("edge");
    assert_eq!(keys(&cloud, "news"), ["a"]);
}

#[test]
fn a_policy_that_two_sites_changed_apart_is_shown_twice_and_decided_by_one_command() {
    let mut mesh = Mesh::of(&["cloud", "edge"]);
    let (cloud, edge) = (mesh.container("cloud", "c1"), mesh.container("edge", "c1"));
    set(&edge, "p", &json!({"collections": ["meteo"], "open": ["cloud", "edge"]})).expect(201);
    until("the policy", || cloud.request("GET", &path("p"), &[], b"").status == 200);
    mesh.stop("edge");
    until("the silence", || cloud.get("meteo/none").header("mesh-unasked") == Some("edge"));
    set(&edge, "p", &json!({"collections": ["meteo"], "open": ["edge"]})).expect(200);
    // Of two within a millisecond a name decides which one is the later.
    thread::sleep(Duration::from_millis(5));
    set(&cloud, "p", &json!({"collections": ["meteo"], "open": ["cloud"]})).expect(200);
    mesh.start("edge");
    let others = |process: &Process| show(process, "p")["others"].as_array().unwrap().len();
    until("both", || others(&cloud) == 1 && others(&edge) == 1);
    // The later one rules at both.
    assert_eq!(show(&cloud, "p")["version"], show(&edge, "p")["version"]);
    assert_eq!(show(&edge, "p")["rule"]["open"], json!(["cloud"]));
    refused(edge.get("meteo/a"), "p", "pull");
    let (told, _) = typed(&edge, "policy show", 0);
    let command = told.split_once("take that one: meshstore ").unwrap().1.lines().next().unwrap();
    typed(&edge, command, 0);
    until("the decision", || others(&cloud) == 0 && show(&cloud, "p")["rule"]["open"] == json!(["edge"]));
    assert_eq!(others(&edge), 0);
    assert_eq!(show(&edge, "p")["log"].as_array().unwrap().len(), 4);
}

#[test]
fn what_a_policy_keeps_at_its_site_does_not_leave_it_for_one_that_has_not_heard_of_it() {
    let mesh = Mesh::of(&["cloud", "edge"]);
    let machine = Machine::new(0);
    // Its policies are not believed elsewhere: they are of the day after tomorrow.
    machine.shift_clock(2 * 24 * 3_600_000);
    let args = mesh.args("edge", "c1");
    let edge = machine.start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let cloud = mesh.container("cloud", "c1");
    for key in ["meteo/a", "meteo/b"] {
        edge.put(key, b"of the edge").expect(201);
    }
    until("the edge", || cloud.get("meteo/a").status == 200);
    set(&edge, "here", &json!({"collections": ["meteo"], "open": ["edge"]})).expect(201);
    let problem = cloud.get("meteo/b").expect_problem(403, "forbidden");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("read at edge only (policy: here, point: leave"), "{detail}");
    cloud.request("GET", &path("here"), &[], b"").expect_problem(404, "not_found");
    assert_eq!(edge.get("meteo/b").expect(200).body, b"of the edge");
    let page = String::from_utf8(edge.request("GET", "/metrics", &[], b"").body).unwrap();
    assert!(counted(&page, "meshstore_policy_refusals_total{point=\"leave\"} ") > 0, "nothing is counted");
    // Sealed bytes are no way around it at a site that may not read.
    set(&edge, "here", &json!({"collections": ["meteo"], "open": ["fog"]})).expect(200);
    let version = edge.head("meteo/b").expect(200).header("mesh-version").unwrap().to_owned();
    let sealed = [("Accept", "application/vnd.meshstore.frame")];
    let frame = edge.request("GET", &format!("{}?version={version}", object("meteo/b")), &sealed, b"");
    refused(frame, "here", "pull");
}
