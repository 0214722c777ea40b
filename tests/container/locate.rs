//! Where an object is, and what is told of the site around a container: over HTTP, on subjects, at the command line.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use serde_json::{Value, json};

use super::harness::*;
use super::site::{Site, until};

fn locate(process: &Process, address: &str) -> Response {
    process.request("GET", &format!("/v1/locate/{address}"), &[], b"")
}

/// The copies of the n-th version as `container level state`.
fn copies(located: &Value, nth: usize) -> Vec<String> {
    let word = |copy: &Value, name: &str| copy[name].as_str().unwrap().to_owned();
    let shown = |copy: &Value| format!("{} {} {}", word(copy, "container"), word(copy, "level"), word(copy, "state"));
    located["versions"][nth]["copies"].as_array().unwrap().iter().map(shown).collect()
}

fn show(process: &Process, what: &str) -> Vec<Value> {
    let told = process.request("GET", &format!("/v1/admin/{what}"), &[], b"").expect(200).json();
    told[what].as_array().unwrap().clone()
}

fn named<'a>(list: &'a [Value], name: &str) -> &'a Value {
    list.iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("{name} is not in {list:?}"))
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_container_alone_tells_of_its_own_copies() {
    let process = Process::start(&[]);
    let first = process.put("c/a/b", b"one").expect(201).header("mesh-version").unwrap().to_owned();
    let located = locate(&process, "c/a/b").expect(200).json();
    assert_eq!((&located["address"], &located["versions"][0]["version"]), (&json!("c/a/b"), &json!(first)));
    assert_eq!(copies(&located, 0), ["c1 ram cached", "c1 disk owed"]);
    let copy = &located["versions"][0]["copies"][0];
    assert_eq!((&copy["site"], &copy["cost_ms"]), (&json!("local"), &json!(0)));
    process.request("POST", "/v1/sync", &[], b"").expect(200);
    assert_eq!(copies(&locate(&process, "c/a/b").json(), 0), ["c1 ram cached", "c1 disk kept", "c1 cloud kept"]);
    // What memory alone holds, over what was kept.
    process.request("PUT", &object("c/a/b"), &[("Mesh-Durability", "ram")], b"two").expect(200);
    let located = locate(&process, "c/a/b").expect(200).json();
    assert_eq!(copies(&located, 0), ["c1 ram dirty"]);
    assert_eq!(located["versions"][1]["version"], json!(first));
    process.put("c/a/b", b"three").expect(200);
    let located = locate(&process, "c/a/b").expect(200).json();
    assert_eq!(copies(&located, 0), ["c1 ram cached", "c1 disk owed"]);
    let old = located["versions"].as_array().unwrap().iter().find(|one| one["version"] == json!(first)).unwrap();
    assert_eq!(old["copies"][0]["state"], "old");
    // Deleted, but for what is kept of it for a while.
    process.delete("c/a/b").expect(204);
    let located = locate(&process, "c/a/b").expect(200).json();
    let states = located["versions"].as_array().unwrap().iter().flat_map(|one| one["copies"].as_array().unwrap());
    assert!(states.clone().count() > 0 && states.into_iter().all(|copy| copy["state"] == "old"), "{located}");
    process.request("PUT", "/v1/collections/brief", &[], br#"{"retention_s":0}"#).expect(201);
    process.put("brief/k", b"x").expect(201);
    process.delete("brief/k").expect(204);
    locate(&process, "brief/k").expect_problem(404, "not_found");
}

#[test]
fn what_cannot_be_located_is_refused_by_name() {
    let process = Process::start(&[]);
    process.put("c/k", b"x").expect(201);
    for bad in ["c", "c/", "C/k", "c/../k", "c/%zz", "c/k?version=1", "c/k?all"] {
        locate(&process, bad).expect_problem(400, "invalid");
    }
    locate(&process, "c/none").expect_problem(404, "not_found");
    assert_eq!(locate(&process, "c/none").header("mesh-unasked"), None);
    process.request("GET", "/v1/locate", &[], b"").expect_problem(404, "not_found");
    for (name, value) in [("Mesh-Deadline-Ms", "0"), ("Mesh-Session", "forged")] {
        process.request("GET", "/v1/locate/c/k", &[(name, value)], b"").expect_problem(400, "invalid");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let refused = process.request(method, "/v1/locate/c/k", &[], b"").expect(405);
        assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    }
    assert_eq!(process.cli(&["locate", "c/none"], b"").status.code(), Some(13));
    assert_eq!(process.cli(&["locate", "c"], b"").status.code(), Some(2));
}

#[test]
fn a_narrow_token_reaches_no_further_than_its_scopes() {
    let process = Process::start(&["--set", "auth.required=true"]);
    let root = std::fs::read_to_string(process.data().join("root.token")).unwrap().trim().to_owned();
    let with = |token: &str, method: &str, path: &str, body: &[u8]| {
        process.request(method, path, &[("Authorization", &format!("Bearer {token}"))], body)
    };
    let made = with(&root, "POST", "/v1/admin/tokens", br#"{"subject":"ada","scopes":["read:meteo"]}"#).expect(201);
    let narrow = made.json()["token"].as_str().unwrap().to_owned();
    with(&root, "PUT", &object("meteo/k"), b"x").expect(201);
    with(&narrow, "GET", "/v1/locate/meteo/k", b"").expect(200);
    with(&narrow, "GET", "/v1/locate/other/k", b"").expect_problem(403, "forbidden");
    locate(&process, "meteo/k").expect_problem(401, "unauthorised");
    for path in ["sites", "containers", "peers", "queues"] {
        let path = format!("/v1/admin/{path}");
        with(&narrow, "GET", &path, b"").expect_problem(403, "forbidden");
        process.request("GET", &path, &[], b"").expect_problem(401, "unauthorised");
        with(&root, "GET", &path, b"").expect(200);
    }
}

#[test]
fn every_copy_in_the_site_is_shown_at_any_container() {
    let site = Site::new();
    let (a, mut b) = (site.container("a", &[]), site.container("b", &[]));
    a.put("c/k", b"of a").expect(201);
    until("a copy at b", || b.get("c/k").header("mesh-level") == Some("ram"));
    let from_a = locate(&a, "c/k").expect(200);
    assert_eq!(from_a.header("mesh-unasked"), None);
    assert_eq!(copies(&from_a.json(), 0), ["a ram cached", "a disk owed", "b ram cached"]);
    let from_b = locate(&b, "c/k").expect(200).json();
    assert_eq!(copies(&from_b, 0), ["b ram cached", "a ram cached", "a disk owed"]);
    let costs: Vec<f64> = from_b["versions"][0]["copies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|copy| copy["cost_ms"].as_f64().unwrap())
        .collect();
    assert!(costs[0] == 0.0 && costs[1] > 0.0 && costs[1] < 1000.0 && costs[1] == costs[2], "{costs:?}");

    // Another container is the keeper from now on; the old version stays with the former one.
    b.put("c/k", b"of b").expect(200);
    until("the news", || copies(&locate(&a, "c/k").json(), 0) == ["b ram cached", "b disk owed"]);
    until("the end of the old version", || copies(&locate(&a, "c/k").json(), 1) == ["a disk old"]);

    let mut client = site.client();
    let at = ("Mesh-Address", "c/k");
    let told = client.ask("mesh.edge.locate", &[at], b"");
    assert_eq!(told.header("Mesh-Status"), Some("200"));
    assert_eq!(told.json()["versions"].as_array().unwrap().len(), 2);
    let told = client.ask("mesh.edge.b.locate", &[at], b"").json();
    assert_eq!(copies(&told, 0), ["b ram cached", "b disk owed"]);
    let refused = |heard: super::nats_client::Heard| heard.header("Nats-Service-Error-Code").map(str::to_owned);
    for bad in [&[][..], &[("Mesh-Address", "c")], &[("Mesh-Address", "C/k")], &[("Mesh-Address", "*/k")]] {
        assert_eq!(refused(client.ask("mesh.edge.locate", bad, b"")).as_deref(), Some("400"), "{bad:?}");
    }
    assert_eq!(refused(client.ask("mesh.edge.locate", &[("Mesh-Address", "c/none")], b"")).as_deref(), Some("404"));
    // Nobody is there for another site or another container; who publishes to a pattern is refused by the server.
    for nobody in ["mesh.fog.locate", "mesh.edge.z.locate", "mesh.any.locate"] {
        assert_eq!(client.ask(nobody, &[at], b"").header("Status"), Some("503"), "{nobody}");
    }

    // Whose container is away is known of, and that it could not be asked.
    b.kill9();
    let away = locate(&a, "c/k").expect(200);
    assert_eq!(away.header("mesh-unasked"), Some("b"));
    let away = away.json();
    assert_eq!((copies(&away, 0), copies(&away, 1)), (vec!["b disk away".to_owned()], vec!["a disk old".to_owned()]));
    assert_eq!(away["versions"][0]["copies"][0]["cost_ms"], Value::Null);
    assert_eq!(locate(&a, "c/none").expect(404).header("mesh-unasked"), Some("b"));
    let shown = a.cli(&["locate", "c/k"], b"");
    assert!(String::from_utf8_lossy(&shown.stderr).contains("did not answer, and may have more: b"));
    let shown = printed(&shown);
    assert!(shown.starts_with("VERSION") && shown.contains("away") && shown.contains("old"), "{shown}");
    let shown: Value = serde_json::from_str(&printed(&a.cli(&["locate", "c/k", "--json"], b""))).unwrap();
    assert_eq!((&shown["address"], &shown["unasked"]), (&json!("c/k"), &json!(["b"])));
    b.restart();
    until("b is back", || copies(&locate(&a, "c/k").json(), 0).contains(&"b disk owed".to_owned()));
}

#[test]
fn the_admin_door_tells_of_the_site_around_a_container() {
    let site = Site::new();
    let (a, mut b) = (site.container("a", &[]), site.container("b", &[]));
    until("b is heard", || show(&a, "peers").len() == 1);
    until("both are members", || show(&a, "sites")[0]["members"] == 2);
    let sites = show(&a, "sites");
    let edge = named(&sites, "edge");
    assert_eq!((&edge["here"], &edge["alive"], &edge["silent"]), (&json!(true), &json!(2), &json!(0)));
    assert!(edge["epoch"].as_u64() > Some(0) && edge["bus"]["connected"] == true, "{edge}");

    let containers = show(&a, "containers");
    let names: Vec<&Value> = containers.iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["a", "b"], "this one first");
    for (one, process) in containers.iter().zip([&a, &b]) {
        assert_eq!((&one["alive"], &one["takes_changes"], &one["site"]), (&json!(true), &json!(true), &json!("edge")));
        assert_eq!(one["url"], format!("http://{}", process.addr()));
        assert!(one["load"]["disk_budget"].as_u64() > Some(0) && one["load"]["utilisation"].is_number(), "{one}");
        assert!(one["started"].as_str().unwrap().ends_with('Z') && one["id"].as_str().unwrap().len() == 16, "{one}");
    }
    assert_eq!((&containers[0]["here"], &containers[1]["here"]), (&json!(true), &json!(false)));
    assert_eq!((&containers[0]["pid"], &containers[1]["pid"]), (&json!(a.pid()), &Value::Null));
    assert_eq!(show(&b, "containers")[0]["name"], "b");

    for n in 0..20 {
        a.put(&format!("c/{n}"), b"x").expect(201);
    }
    until("b has heard all", || named(&show(&a, "peers"), "b")["behind"] == 0);
    locate(&a, "c/1").expect(200);
    let peers = show(&a, "peers");
    let peer = named(&peers, "b");
    assert_eq!((&peer["ahead"], &peer["failed"], &peer["alive"]), (&json!(0), &json!(0), &json!(true)));
    assert!(peer["asked"].as_u64() >= Some(1) && peer["round_trip_ms"].as_f64() > Some(0.0), "{peer}");

    let queues = show(&a, "queues");
    for name in ["news", "heard", "events", "bus.beats", "bus.questions", "bus.changes", "bus.site", "bus.container"] {
        let queue = named(&queues, name);
        assert!(queue["bound"].as_u64() > Some(0) && queue["used"].is_u64(), "{queue}");
    }
    assert_eq!((&named(&queues, "news")["lost"], &named(&queues, "commit")["lost"]), (&json!(0), &Value::Null));

    for (command, word) in [
        (&["admin", "sites"][..], "edge"),
        (&["admin", "peers"], "ROUND TRIP"),
        (&["admin", "containers"], "FILL"),
        (&["admin", "queues"], "bus.changes"),
        (&["site", "ls"], "TAKES CHANGES"),
    ] {
        assert!(printed(&a.cli(command, b"")).contains(word), "{command:?}");
    }
    let lines = printed(&a.cli(&["site", "ls", "--json"], b""));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|one| &one["name"]).collect::<Vec<_>>(), ["a", "b"]);

    // One that is silent is still shown, and what it did not answer is counted.
    b.kill9();
    a.put("c/more", b"x").expect(201);
    locate(&a, "c/1").expect(200);
    let peers = show(&a, "peers");
    let peer = named(&peers, "b");
    assert!(peer["failed"].as_u64() >= Some(1) && peer["behind"].as_u64() >= Some(1), "{peer}");
    assert!(peer["last_error"].is_string(), "{peer}");
    until("b counts as silent", || show(&a, "sites")[0]["silent"] == 1);
    assert_eq!(named(&show(&a, "containers"), "b")["alive"], false);
    // One that left in order is not missed.
    b.restart();
    until("b is back", || show(&a, "sites")[0]["alive"] == 2);
    b.terminate();
    let sites = show(&a, "sites");
    assert_eq!((&sites[0]["alive"], &sites[0]["silent"]), (&json!(1), &json!(0)));
    assert_eq!(named(&show(&a, "containers"), "b")["left"], true);
}

#[test]
fn a_site_begins_with_a_file_that_a_container_starts_from() {
    let folder = tempfile::tempdir().unwrap();
    let (file, keys) = (folder.path().join("site.toml"), folder.path().join("keys.toml"));
    let init = |args: &[&str]| binary().args(["site", "init"]).args(args).current_dir(folder.path()).output().unwrap();
    let said = printed(&init(&["edge", "--name", "first"]));
    assert!(said.contains("next: meshstore serve --config") && said.contains("made the keyring"), "{said}");
    for made in [&file, &keys] {
        assert_eq!(std::fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o600, "{made:?}");
    }
    let check = binary().args(["config", "check", file.to_str().unwrap()]).output().unwrap();
    assert!(printed(&check).contains("good"));
    let process = Process::start(&["--config", file.to_str().unwrap()]);
    let here = &show(&process, "containers")[0];
    assert_eq!((&here["name"], &here["site"]), (&json!("first"), &json!("edge")));
    assert!(!process.data().join("keys.toml").exists(), "the site's keyring is used");

    // Nothing is written over, and nothing is left behind by what is refused.
    let before = (std::fs::read(&file).unwrap(), std::fs::read(&keys).unwrap());
    let again = init(&["fog"]);
    assert_eq!(again.status.code(), Some(14), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!((std::fs::read(&file).unwrap(), std::fs::read(&keys).unwrap()), before);
    // A further container is told what opens the server that the first one's file names.
    let bus = "nats://meshstore:secret@127.0.0.1:4222";
    let second = ["edge", "--name", "second", "--config", "second.toml", "--data", "two"];
    assert_eq!(init(&second).status.code(), Some(14), "the server has its configuration");
    let second = printed(&init(&[&second[..], &["--bus", bus]].concat()));
    assert!(second.contains("keyring that is there"), "{second}");
    assert_eq!(std::fs::read(&keys).unwrap(), before.1);
    for bad in [&["EDGE"][..], &["locate"], &["edge", "--name", "peer"], &[]] {
        assert_eq!(init(bad).status.code(), Some(2), "{bad:?}");
    }
    let refused = init(&["edge", "--config", "third.toml", "--keys", "third.keys", "--bus", "hub"]);
    assert_eq!(refused.status.code(), Some(10), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(!folder.path().join("third.toml").exists() && !folder.path().join("third.keys").exists());
}
