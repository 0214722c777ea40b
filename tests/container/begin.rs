//! How a site begins, alone, as a hub, or by a hub's invitation: the files that are made, and what is refused.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::Duration;

use super::harness::*;
use super::nats_client::NatsClient;
use super::nats_server;
use super::site::until;

pub fn site(folder: &Path, line: &str) -> Output {
    binary().arg("site").args(line.split(' ')).current_dir(folder).output().unwrap()
}

#[track_caller]
pub fn said(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

pub fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn is_private(path: &Path) -> bool {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777 == 0o600
}

#[test]
fn a_hub_and_who_joins_it_get_what_their_servers_start_from() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    said(
        &site(
            root,
            "init cloud --config cloud/site.toml --hub cloud.example:7423 --bus nats://nats:4223 --store /data",
        ),
        0,
    );
    said(&site(root, "join edge --config edge/site.toml --invite cloud/invite.toml"), 0);
    for (site, files) in [
        ("cloud", &["site.toml", "nats.conf", "invite.toml", "keys.toml"][..]),
        ("edge", &["site.toml", "nats.conf", "keys.toml"]),
    ] {
        for file in files {
            assert!(is_private(&root.join(site).join(file)), "{site}/{file}");
        }
        let check =
            Command::new(nats_server::program()).args(["-t", "-c"]).arg(root.join(site).join("nats.conf")).output();
        let check = check.unwrap();
        assert!(check.status.success(), "{site}: {}", String::from_utf8_lossy(&check.stderr));
        let good = binary().args(["config", "check"]).arg(root.join(site).join("site.toml")).output().unwrap();
        said(&good, 0);
    }
    assert!(!root.join("edge/invite.toml").exists());

    let hub = read(root, "cloud/nats.conf");
    for part in [
        "listen: \"0.0.0.0:4223\"",
        "listen: \"0.0.0.0:7423\"",
        "domain: \"cloud\"",
        "store_dir: \"/data\"",
        "ping_interval: \"2s\"",
        "ping_max: 2",
    ] {
        assert!(hub.contains(part), "{part}");
    }
    let leaf = read(root, "edge/nats.conf");
    assert!(leaf.contains("listen: \"127.0.0.1:4222\"") && leaf.contains("@cloud.example:7423"));
    // The containers know what opens their server; keys and passwords are each site's own.
    let password = |text: &str, mark: &str| text.split_once(mark).unwrap().1[..48].to_owned();
    let (of_hub, of_leaf) =
        (password(&hub, "user: \"meshstore\", password: \""), password(&leaf, "user: \"meshstore\", password: \""));
    assert!(read(root, "cloud/site.toml").contains(&format!("nats://meshstore:{of_hub}@nats:4223")));
    assert!(read(root, "edge/site.toml").contains(&format!("nats://meshstore:{of_leaf}@127.0.0.1:4222")));
    assert_ne!(of_hub, of_leaf);
    assert_ne!(read(root, "cloud/keys.toml"), read(root, "edge/keys.toml"));
    assert!(!read(root, "cloud/invite.toml").contains(&of_hub));
}

/// A server that ends with the test.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    pub fn start(folder: &Path, site: &str) -> (Self, String) {
        Self::start_by(folder, site, &|program| Command::new(program))
    }

    /// The same, where programs are started in a way of the test's own.
    pub fn start_by(folder: &Path, site: &str, command: &dyn Fn(&str) -> Command) -> (Self, String) {
        let log = std::fs::File::create(folder.join(site).join("log")).unwrap();
        let config = folder.join(site).join("nats.conf");
        let server = command(nats_server::program()).arg("-c").arg(config).stderr(log).spawn().unwrap();
        let text = read(folder, &format!("{site}/site.toml"));
        let url = format!("nats://{}", text.split_once("nats://").unwrap().1.split_once('"').unwrap().0);
        until("the server", || {
            let asked = command(env!("CARGO_BIN_EXE_meshstore")).args(["ready", "--nats", &url]).output();
            asked.unwrap().status.success()
        });
        (Server(server), url)
    }
}

#[test]
fn linked_sites_ask_each_other_and_overhear_nothing_of_an_edge() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (hub, link, edge) = (free_port(), free_port(), free_port());
    let begin = |line: &str| said(&site(root, line), 0);
    begin(&format!("init cloud --config cloud/site.toml --hub 127.0.0.1:{link} --bus nats://127.0.0.1:{hub}"));
    begin(&format!("join edge --config edge/site.toml --invite cloud/invite.toml --bus nats://127.0.0.1:{edge}"));
    let ((_hub, hub), (_edge, edge)) = (Server::start(root, "cloud"), Server::start(root, "edge"));
    let ask = |url: &str, subject: &str| {
        let answer = NatsClient::ask_once(url, Duration::from_secs(2), subject, &[]);
        answer.map(|heard| heard.body).filter(|body| !body.is_empty())
    };
    // Each answers the other.
    for (site, at, from) in [("edge", &edge, &hub), ("cloud", &hub, &edge)] {
        let subject = format!("mesh.{site}.pull");
        let mut client = NatsClient::connect(at);
        client.subscribe(&subject);
        std::thread::spawn(move || {
            while let Ok(asked) = client.try_next() {
                client.publish(&asked.reply, "", &[], b"answered");
            }
        });
        until("an answer", || ask(from, &subject).is_some_and(|body| body == b"answered"));
    }
    // What is said at the edge on its own subjects is not for others; its events are.
    let mut spy = NatsClient::connect(&hub);
    ["mesh.edge.>", "mesh.log.>", "mesh.event.>"].into_iter().for_each(|pattern| spy.subscribe(pattern));
    let mut client = NatsClient::connect(&edge);
    until("its events", || {
        for subject in ["mesh.edge.pull", "mesh.edge.c1.peer.ask", "mesh.log.edge.catalog", "mesh.event.edge.push"] {
            client.publish(subject, "", &[("Mesh-Token", "planted")], b"said at the edge");
        }
        let heard = spy.next_within(Duration::from_secs(1));
        heard.is_some_and(|heard| {
            assert_eq!(heard.subject, "mesh.event.edge.push");
            true
        })
    });
    let mut spy = NatsClient::connect(&edge);
    ["mesh.cloud.peer.>", "mesh.cloud.c1.peer.>", "mesh.log.>", "mesh.event.>"]
        .into_iter()
        .for_each(|pattern| spy.subscribe(pattern));
    let mut client = NatsClient::connect(&hub);
    until("its events", || {
        for subject in
            ["mesh.cloud.peer.beat", "mesh.cloud.c1.peer.ask", "mesh.log.cloud.catalog", "mesh.event.cloud.push"]
        {
            client.publish(subject, "", &[], b"said at the hub");
        }
        let heard = spy.next_within(Duration::from_secs(1));
        heard.is_some_and(|heard| {
            assert_eq!(heard.subject, "mesh.event.cloud.push");
            true
        })
    });
    // Each keeps its JetStream to itself.
    assert!(ask(&edge, "$JS.API.INFO").is_some() && ask(&hub, "$JS.API.INFO").is_some());
    assert_eq!((ask(&edge, "$JS.cloud.API.INFO"), ask(&hub, "$JS.edge.API.INFO")), (None, None));
}

#[test]
fn a_bad_invitation_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    said(&site(root, "init cloud --config cloud/site.toml --hub cloud"), 0);
    let join = |name: &str, invite: &str| {
        site(root, &format!("join {name} --config {name}/new.toml --keys {name}/new.keys --invite {invite}"))
    };
    let hub = root.join("cloud/invite.toml");
    let taken = said(&join("cloud", "cloud/invite.toml"), 14);
    assert!(taken.contains("name of the hub"), "{taken}");
    assert!(said(&join("edge", "none.toml"), 13).contains("--hub"));
    std::fs::set_permissions(&hub, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(said(&join("edge", "cloud/invite.toml"), 10).contains("chmod 600"));
    std::fs::set_permissions(&hub, std::fs::Permissions::from_mode(0o600)).unwrap();
    let good = read(root, "cloud/invite.toml");
    for bad in [
        "",
        "[hub]\n",
        &good.replace("addr", "place"),
        &good.replace("password = \"", "password = \"x\\\" }"),
        &"#".repeat(5000),
    ] {
        std::fs::write(&hub, bad).unwrap();
        said(&join("edge", "cloud/invite.toml"), 10);
    }
    std::fs::write(&hub, &good).unwrap();
    assert!(!root.join("edge").exists() && !root.join("cloud/new.keys").exists());
    // Somebody's own server has a configuration of its own, in which no link can be written.
    said(&site(root, "join edge --config edge/site.toml --invite cloud/invite.toml --bus nats://u:planted@h"), 10);
    said(&site(root, "init cloud --config other/site.toml --hub cloud --bus tls://h:4222"), 10);
    said(&site(root, "init cloud --config other/site.toml --hub cloud:4223 --bus nats://h:4223"), 10);
    assert!(!root.join("edge").exists() && !root.join("other").exists());
    said(&join("edge", "cloud/invite.toml"), 0);
}

#[test]
fn no_file_of_a_site_is_written_over() {
    for name in ["site.toml", "nats.conf", "invite.toml"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), "mine").unwrap();
        let refused = said(&site(folder.path(), "init cloud --hub cloud"), 14);
        assert!(refused.contains(name), "{refused}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!((left, read(folder.path(), name).as_str()), (vec![name.into()], "mine"));
    }
}

#[test]
fn a_container_and_a_server_say_whether_they_are_ready() {
    let ready = |args: &[&str]| binary().arg("ready").args(args).output().unwrap();
    let mut process = Process::start(&["--set", "auth.required=true"]);
    let url = format!("http://{}", process.addr());
    said(&ready(&["--url", &url]), 0);
    // It waits to be spoken to, as no NATS server does.
    said(&ready(&["--nats", &url.replace("http", "nats")]), 24);
    process.request("GET", "/readyz", &[], b"").expect(200);
    process.kill9();
    said(&ready(&["--url", &url]), 23);
    let mut server = nats_server::NatsServer::start();
    said(&ready(&["--nats", server.url()]), 0);
    server.kill();
    said(&ready(&["--nats", server.url()]), 23);
    said(&ready(&["--nats", "127.0.0.1"]), 10);
}
