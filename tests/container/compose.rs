//! The stacks of docker-compose.yml, one a site, on a Docker engine of the test's own.

use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::harness::*;
use super::nats_client::{Heard, NatsClient};

/// How long an engine, a stack or a link may take to come, on a machine that has other work. Far above what they take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks at what is waited for: each is a program of its own.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Who the stacks run as, if nothing else is said.
const USER: u32 = 10001;
/// The network on which the servers of the sites meet.
const MESH: &str = "mesh";
const IMAGE: &str = "meshstore:test";

/// Waits until something is there.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} does not come");
        std::thread::sleep(LOOK_EVERY);
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn well(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}{}", output.status, String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A Docker daemon with folders and a socket of its own. It leaves the host's firewall alone: what the stacks need is
/// bridges between containers, and a proxy for what they publish on loopback.
struct Engine {
    folder: TempDir,
    daemon: Child,
}

impl Engine {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let mut command = tool("setpriv");
        // It ends with the test, also where the test is killed.
        command.args(["--pdeathsig", "TERM", "dockerd", "--bridge", "none", "--iptables=false", "--ip-forward=false"]);
        command.args(["--ip-masq=false", "--default-address-pool", "base=10.213.0.0/16,size=24"]);
        command.arg("--data-root").arg(place("data")).arg("--exec-root").arg(place("run"));
        command.arg("--pidfile").arg(place("pid")).arg("--host").arg(socket(folder.path()));
        let log = std::fs::File::create(place("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let daemon = command.spawn().unwrap_or_else(|error| panic!("cannot run setpriv: {error}"));
        let mut engine = Engine { folder, daemon };
        until("the Docker engine", || {
            if let Some(status) = engine.daemon.try_wait().unwrap() {
                let said = std::fs::read_to_string(engine.folder.path().join("log")).unwrap_or_default();
                panic!(
                    "no Docker engine can be started here ({status}); it needs root, bridges and Debian's docker.io, \
                     docker-compose and iptables (`make tools`): {}",
                    said.lines().rev().take(5).collect::<Vec<_>>().join(" | ")
                );
            }
            let asked = tool("docker").arg("--host").arg(socket(engine.folder.path())).arg("version").output();
            asked.expect("`make tools` installs docker").status.success().then_some(())
        });
        engine
    }

    fn program(&self, name: &str) -> Command {
        let mut command = tool(name);
        command.env("DOCKER_HOST", socket(self.folder.path())).current_dir(repository()).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn docker(&self, args: &[&str]) -> String {
        well(self.program("docker").args(args).output().unwrap())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // What a failed test left running would keep its folders mounted.
        let left = self.program("docker").args(["ps", "-aq"]).output();
        let left = left.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        if !left.trim().is_empty() {
            let _ = self.program("docker").args(["rm", "-f", "-v"]).args(left.split_whitespace()).output();
        }
        let _ = self.program("docker").args(["network", "prune", "-f"]).output();
        let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.daemon.id())]).status();
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end && self.daemon.try_wait().is_ok_and(|status| status.is_none()) {
            std::thread::sleep(LOOK_EVERY);
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = |place: &&str| Path::new(place).starts_with(self.folder.path());
        let places: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(ours).collect();
        for place in places.into_iter().rev() {
            let _ = tool("umount").arg(place).output();
        }
    }
}

fn socket(folder: &Path) -> String {
    format!("unix://{}", folder.join("socket").display())
}

/// A program, also where Debian keeps servers.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()));
    for variable in ["HUB", "BIND", "C1_PORT", "C2_PORT", "NATS_PORT", "LEAF_BIND", "LEAF_PORT", "MESHSTORE_USER"] {
        command.env_remove(variable);
    }
    command
}

/// The stacks of several sites on one engine.
struct Mesh {
    engine: Engine,
    sites: TempDir,
}

impl Mesh {
    /// The files of a hub and of sites that join it, and the image; nothing runs yet.
    fn prepare(hub: &str, others: &[&str]) -> Self {
        let mesh = Mesh { engine: Engine::start(), sites: tempfile::tempdir().unwrap() };
        mesh.begin(hub, &["init", hub, "--hub", hub]);
        let invitation = mesh.file(hub, "invite.toml");
        for site in others {
            mesh.begin(site, &["join", site, "--invite", invitation.to_str().unwrap()]);
        }
        mesh.give_away();
        mesh.engine.docker(&["network", "create", MESH]);
        let mut build = mesh.engine.program("sh");
        // The binary that all tests are about, which is there already, unless another one is named.
        let program = std::env::var("MESHSTORE_IMAGE_BINARY");
        let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_meshstore").to_owned());
        build.arg("scripts/image.sh").env("BINARY", program).env("IMAGE", IMAGE);
        well(build.output().unwrap());
        mesh
    }

    fn begin(&self, site: &str, args: &[&str]) {
        let config = self.file(site, "site.toml");
        let mut command = binary();
        command.arg("site").args(args).args(["--bus", "nats://nats:4222", "--store", "/data", "--config"]).arg(config);
        well(command.output().unwrap());
    }

    /// The files belong to who the stacks run as, as the README has it.
    fn give_away(&self) {
        let mut folders = vec![self.sites.path().to_owned()];
        while let Some(folder) = folders.pop() {
            chown(&folder, Some(USER), Some(USER)).unwrap();
            for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => chown(entry.path(), Some(USER), Some(USER)).unwrap(),
                }
            }
        }
    }

    fn file(&self, site: &str, name: &str) -> PathBuf {
        self.sites.path().join(site).join(name)
    }

    fn compose(&self, site: &str, args: &[&str]) -> Command {
        let mut command = self.engine.program("docker-compose");
        command.env("SITE", site).env("SITES", self.sites.path()).env("MESHSTORE_IMAGE", IMAGE);
        command.args(["-p", site]).args(args);
        command
    }

    #[track_caller]
    fn run(&self, site: &str, args: &[&str]) -> String {
        well(self.compose(site, args).output().unwrap())
    }

    fn id(&self, site: &str, service: &str) -> String {
        self.run(site, &["ps", "-q", service])
    }

    fn inspect(&self, site: &str, service: &str) -> Value {
        let told: Value = serde_json::from_str(&self.engine.docker(&["inspect", &self.id(site, service)])).unwrap();
        told[0].clone()
    }

    fn until_healthy(&self, site: &str, service: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let state = &self.inspect(site, service)["State"];
            if state["Health"]["Status"] == "healthy" {
                return;
            }
            if Instant::now() > end {
                panic!(
                    "{service} of {site} is not healthy: {state}; {}",
                    self.run(site, &["logs", "--tail=20", service])
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn addr(&self, site: &str, service: &str, port: &str) -> SocketAddr {
        self.run(site, &["port", service, port]).parse().unwrap()
    }

    /// A token of the site, made with the root token that lies in the container's own volume.
    fn token(&self, site: &str) -> String {
        let make = ["/meshstore", "--token-file", "/data/root.token", "token", "create", "--subject", "test"];
        let inside = ["exec", "-T", "c1"];
        self.run(site, &[&inside[..], &make, &["--scope", "read", "--scope", "write"]].concat())
    }

    /// Asks on a subject at the server of a site; nothing where no answer comes.
    fn ask(&self, site: &str, subject: &str, headers: &[(&str, &str)]) -> Option<Heard> {
        let text = std::fs::read_to_string(self.file(site, "site.toml")).unwrap();
        let (_, rest) = text.split_once("nats://").unwrap();
        let (login, _) = rest.split_once('@').unwrap();
        let url = format!("nats://{login}@{}", self.addr(site, "nats", "4222"));
        NatsClient::ask_once(&url, Duration::from_secs(5), subject, headers)
    }
}

/// A container of a stack, asked with a token.
struct Door<'a> {
    mesh: &'a Mesh,
    site: &'a str,
    service: &'a str,
    token: &'a str,
}

impl Door<'_> {
    /// The answer, once the container gives one that is no refusal for the moment.
    fn ask(&self, method: &str, key: &str, body: &[u8], wanted: u16) -> Response {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("Authorization", bearer.as_str())];
        let mut last = String::new();
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            // Looked up each time: what a stack publishes may change when a container starts anew.
            let addr = self.mesh.addr(self.site, self.service, "7700");
            let asked = Connection::open(addr).and_then(|mut open| open.request(method, &object(key), &headers, body));
            match asked {
                Ok(answer) if answer.status == wanted => return answer,
                other => last = format!("{other:?}"),
            }
            std::thread::sleep(LOOK_EVERY);
        }
        panic!("{method} {key} at {} of {}: {last}", self.service, self.site)
    }
}

#[test]
fn three_sites_start_as_stacks_and_share_what_they_have() {
    let mesh = Mesh::prepare("cloud", &["edge", "fog"]);
    let unnamed = mesh.engine.program("docker-compose").env_remove("SITE").arg("config").output().unwrap();
    assert!(String::from_utf8_lossy(&unnamed.stderr).contains("name the site"), "{unnamed:?}");
    for site in ["cloud", "edge", "fog"] {
        mesh.run(site, &["up", "-d"]);
    }
    for site in ["cloud", "edge", "fog"] {
        for service in ["nats", "c1", "c2"] {
            mesh.until_healthy(site, service);
            is_hardened(&mesh.inspect(site, service));
        }
    }

    // One pool: what is pushed at one container is pulled at the other.
    let token = mesh.token("edge");
    let c1 = Door { mesh: &mesh, site: "edge", service: "c1", token: &token };
    let c2 = Door { service: "c2", ..c1 };
    c1.ask("PUT", "meteo/gauge.txt", b"4.72 m", 201);
    assert_eq!(c2.ask("GET", "meteo/gauge.txt", b"", 200).body, b"4.72 m");
    Door { token: "none", ..c1 }.ask("GET", "meteo/gauge.txt", b"", 401);

    // Subjects pass from any server to any other, by way of the hub.
    let headers = [("Mesh-Address", "meteo/gauge.txt"), ("Mesh-Token", token.as_str())];
    let pulled = |site: &str| {
        mesh.ask(site, "mesh.edge.pull", &headers).filter(|heard| heard.header("Mesh-Status") == Some("200"))
    };
    for site in ["cloud", "fog"] {
        assert_eq!(until("the edge's object", || pulled(site)).body, b"4.72 m", "{site}");
    }
    // And objects: what is pushed at the edge is pulled in the cloud, with a token of the cloud's own.
    let cloud_token = mesh.token("cloud");
    let cloud = Door { mesh: &mesh, site: "cloud", service: "c2", token: &cloud_token };
    assert_eq!(cloud.ask("GET", "meteo/gauge.txt", b"", 200).body, b"4.72 m");
    cloud.ask("PUT", "meteo/answer.txt", b"seen", 201);
    assert_eq!(c1.ask("GET", "meteo/answer.txt", b"", 200).body, b"seen");
    let stranger = mesh.ask("cloud", "mesh.edge.pull", &headers[..1]).unwrap();
    assert_eq!(stranger.header("Nats-Service-Error-Code"), Some("401"), "{stranger:?}");

    // A container that is stopped has its data when it is back.
    mesh.run("edge", &["stop", "c1"]);
    assert_eq!(mesh.inspect("edge", "c1")["State"]["ExitCode"], 0);
    c2.ask("PUT", "meteo/meanwhile", b"c2 goes on", 201);
    mesh.run("edge", &["start", "c1"]);
    mesh.until_healthy("edge", "c1");
    assert_eq!(c1.ask("GET", "meteo/gauge.txt", b"", 200).body, b"4.72 m");
    assert_eq!(c1.ask("GET", "meteo/meanwhile", b"", 200).body, b"c2 goes on");

    // Cut off from the hub the edge goes on; the link comes back by itself.
    let server = mesh.id("edge", "nats");
    mesh.engine.docker(&["network", "disconnect", MESH, &server]);
    until("the cut", || pulled("cloud").is_none().then_some(()));
    c1.ask("PUT", "meteo/cut-off", b"still here", 201);
    assert_eq!(c2.ask("GET", "meteo/cut-off", b"", 200).body, b"still here");
    assert_eq!(cloud.ask("GET", "meteo/gauge.txt", b"", 200).body, b"4.72 m");
    mesh.engine.docker(&["network", "connect", MESH, &server]);
    assert_eq!(until("the edge's object", || pulled("cloud")).body, b"4.72 m");
    assert_eq!(cloud.ask("GET", "meteo/cut-off", b"", 200).body, b"still here");

    for site in ["edge", "fog", "cloud"] {
        mesh.run(site, &["down", "-v"]);
    }
    assert_eq!(mesh.engine.docker(&["ps", "-aq"]), "");
    assert_eq!(mesh.engine.docker(&["volume", "ls", "-q"]), "");
}

#[track_caller]
fn is_hardened(container: &Value) {
    let (config, host) = (&container["Config"], &container["HostConfig"]);
    let name = &container["Name"];
    assert_eq!((&config["User"], &host["ReadonlyRootfs"]), (&"10001:10001".into(), &true.into()), "{name}");
    assert_eq!((&host["CapDrop"][0], &host["Privileged"]), (&"ALL".into(), &false.into()), "{name}");
    assert!(host["SecurityOpt"].to_string().contains("no-new-privileges"), "{name}: {host}");
    assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped", "{name}");
    for limit in ["Memory", "NanoCpus", "PidsLimit"] {
        assert!(host[limit].as_u64().is_some_and(|bound| bound > 0), "{name}: {limit}");
    }
    for bound in host["PortBindings"].as_object().unwrap().values() {
        assert_eq!(bound[0]["HostIp"], "127.0.0.1", "{name}");
    }
    // No secret is where `docker inspect`, or a list of processes, shows it.
    let shown = format!("{}{}{}", config["Env"], config["Cmd"], config["Entrypoint"]);
    assert!(!shown.contains("nats://meshstore:") && !shown.contains("leaf:"), "{shown}");
}

#[test]
fn what_the_repository_holds_of_the_stacks_is_no_secret() {
    let mut text = String::new();
    for name in ["docker-compose.yml", "Dockerfile", "deploy/edge.env", "deploy/fog.env", "deploy/cloud.env"] {
        std::fs::File::open(repository().join(name)).unwrap().read_to_string(&mut text).unwrap();
    }
    let is_secret = |word: &str| word.len() >= 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_secret(word)).collect();
    assert!(words.is_empty(), "{words:?}");
}
