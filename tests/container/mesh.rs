//! Several sites as one mesh: each with a nats-server of its own, linked to the hub's, and with containers as processes.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::bed::Host;
use super::begin::{Server, read, said, site};
use super::harness::*;
use super::site::{level, until};
use super::subjects::example;

/// Sites in one folder, each with its server; the first one is the hub.
pub struct Mesh {
    pub folder: tempfile::TempDir,
    places: Vec<Place>,
}

struct Place {
    name: String,
    /// Where it is, unless on this machine itself.
    host: Option<Host>,
    server: Option<Server>,
    url: String,
}

impl Place {
    fn begin(folder: &Path, name: &str, host: Option<&Host>) -> Self {
        let (server, url) = Self::serve(folder, name, host);
        Place { name: name.to_owned(), host: host.cloned(), server: Some(server), url }
    }

    fn serve(folder: &Path, name: &str, host: Option<&Host>) -> (Server, String) {
        Server::start_by(folder, name, &|program| match host {
            Some(host) => host.command(program),
            None => Command::new(program),
        })
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        last_words("the servers", || self.said_by_servers());
    }
}

impl Mesh {
    /// Sites on this machine.
    pub fn of(names: &[&str]) -> Self {
        let hub = format!("127.0.0.1:{}", free_port());
        Self::begin(names, &hub, &|| format!("--bus nats://127.0.0.1:{}", free_port()), &[])
    }

    /// Sites on hosts of a test bed, which are called as they are.
    pub fn on(hosts: &[&Host]) -> Self {
        let names: Vec<&str> = hosts.iter().map(|host| host.name()).collect();
        Self::begin(&names, &hosts[0].addr().to_string(), &|| "--bus nats://127.0.0.1:4222".to_owned(), hosts)
    }

    fn begin(names: &[&str], addr: &str, bus: &dyn Fn() -> String, hosts: &[&Host]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (hub, others) = names.split_first().unwrap();
        let begin = |line: &str| said(&site(folder.path(), line), 0);
        begin(&format!("init {hub} --config {hub}/site.toml --hub {addr} {}", bus()));
        for other in others {
            begin(&format!("join {other} --config {other}/site.toml --invite {hub}/invite.toml {}", bus()));
        }
        let place = |(nth, name): (usize, &&str)| Place::begin(folder.path(), name, hosts.get(nth).copied());
        let places = names.iter().enumerate().map(place).collect();
        Mesh { folder, places }
    }

    fn place(&self, site: &str) -> &Place {
        self.places.iter().find(|place| place.name == site).unwrap()
    }

    pub fn url(&self, site: &str) -> &str {
        &self.place(site).url
    }

    pub fn container(&self, site: &str, name: &str) -> Process {
        self.container_with(site, name, &[])
    }

    pub fn container_with(&self, site: &str, name: &str, more: &[&str]) -> Process {
        let args = self.args(site, name);
        let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        match &self.place(site).host {
            Some(host) => Process::start_under(&host.wrapper().each_ref().map(String::as_str), &args),
            None => Process::start(&args),
        }
    }

    /// What a container of a site is started with.
    pub fn args(&self, site: &str, name: &str) -> [String; 6] {
        let config = self.folder.path().join(site).join("site.toml");
        ["--config", config.to_str().unwrap(), "--name", name, "--bus", self.url(site)].map(str::to_owned)
    }

    /// What the servers have said since each was started.
    pub fn said_by_servers(&self) -> String {
        let log = |place: &Place| std::fs::read_to_string(self.folder.path().join(&place.name).join("log")).unwrap();
        self.places.iter().map(log).collect()
    }

    /// Cuts a site off: its server is gone for all others, and for its own containers.
    pub fn stop(&mut self, site: &str) {
        self.places.iter_mut().find(|place| place.name == site).unwrap().server = None;
    }

    pub fn start(&mut self, site: &str) {
        let folder = self.folder.path();
        let place = self.places.iter_mut().find(|place| place.name == site).unwrap();
        place.server = Some(Place::serve(folder, site, place.host.as_ref()).0);
    }
}

pub fn keys(process: &Process, collection: &str) -> Vec<String> {
    let listed = process.request("GET", &format!("/v1/objects/{collection}?limit=1000"), &[], b"");
    if listed.status != 200 {
        return Vec::new();
    }
    let listed = listed.json();
    listed["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
}

fn admin_sites(process: &Process) -> Vec<Value> {
    let told = process.request("GET", "/v1/admin/sites", &[], b"").expect(200).json();
    told["sites"].as_array().unwrap().clone()
}

/// How many collections of another site are known.
pub fn collections_seen(process: &Process, site: &str) -> u64 {
    let told = admin_sites(process).into_iter().find(|told| told["name"] == site);
    told.and_then(|told| told["collections"].as_u64()).unwrap_or_default()
}

pub fn locate(process: &Process, address: &str) -> Vec<String> {
    let located = process.request("GET", &format!("/v1/locate/{address}"), &[], b"").expect(200).json();
    let word = |copy: &Value, name: &str| copy[name].as_str().unwrap().to_owned();
    let shown = |copy: &Value| format!("{}/{} {}", word(copy, "site"), word(copy, "container"), word(copy, "state"));
    located["versions"][0]["copies"].as_array().unwrap().iter().map(shown).collect()
}

#[test]
fn what_is_pushed_at_one_site_is_pulled_at_any() {
    let mesh = Mesh::of(&["cloud", "edge", "fog"]);
    let (cloud, edge, fog) = (mesh.container("cloud", "c1"), mesh.container("edge", "c1"), mesh.container("fog", "c1"));
    let large: Vec<u8> = (0..3_500_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let push = |process: &Process, key: &str, class: &str, body: &[u8]| {
        let headers = [("Mesh-Durability", class), ("Mesh-Meta-Of", "edge")];
        process.request("PUT", &object(&format!("meteo/{key}")), &headers, body).expect(201)
    };
    push(&edge, "small", "disk", b"from the edge");
    push(&edge, "large", "disk", &large);
    push(&edge, "ram", "ram", b"in memory");
    let plain = [("Mesh-Nfr", "encrypt=none")];
    edge.request("PUT", &object("meteo/plain"), &plain, b"not encrypted").expect(201);
    // The sites need a moment to meet.
    until("the edge", || cloud.get("meteo/small").status == 200);
    // Nothing was ever asked of it at this one.
    until("the edge", || admin_sites(&fog).iter().any(|site| site["name"] == "edge" && site["collections"] == 1));
    until("its entries", || keys(&fog, "meteo") == ["large", "plain", "ram", "small"]);
    for (key, body) in
        [("small", &b"from the edge"[..]), ("large", &large), ("ram", b"in memory"), ("plain", b"not encrypted")]
    {
        // From one edge to another as well, which meet at the hub.
        for process in [&cloud, &fog] {
            until("the other site", || process.get(&format!("meteo/{key}")).status == 200);
            let pulled = process.get(&format!("meteo/{key}")).expect(200);
            assert!(pulled.body == body, "{key}");
        }
    }
    let part = fog.request("GET", &object("meteo/large"), &[("Range", "bytes=1048570-1048580")], b"").expect(206);
    assert_eq!(part.body, large[1_048_570..=1_048_580]);
    assert!(locate(&cloud, "meteo/small").contains(&"edge/c1 owed".to_owned()), "{:?}", locate(&cloud, "meteo/small"));
    until("its news", || keys(&cloud, "meteo") == ["large", "plain", "ram", "small"]);

    // What is replaced and deleted anywhere is so everywhere.
    cloud.put("meteo/small", b"from the cloud").expect(200);
    for process in [&edge, &fog] {
        until("the new version", || process.get("meteo/small").body == b"from the cloud");
    }
    fog.delete("meteo/ram").expect(204);
    for process in [&edge, &cloud] {
        until("the delete", || process.get("meteo/ram").status == 404);
    }
    // Whoever goes from one site to another reads what it wrote, and lists it.
    let mut session = String::new();
    for n in 0..80 {
        let headers = [("Mesh-Session", session.as_str())];
        let headers = if session.is_empty() { &headers[..0] } else { &headers[..] };
        let written = edge.request("PUT", &object(&format!("mine/{n:02}")), headers, b"mine").expect(201);
        session = written.header("mesh-session").unwrap().to_owned();
    }
    let seen = [("Mesh-Session", session.as_str())];
    for key in ["mine/00", "mine/40", "mine/79"] {
        assert_eq!(cloud.request("GET", &object(key), &seen, b"").expect(200).body, b"mine", "{key}");
    }
    let listed = fog.request("GET", "/v1/objects/mine", &seen, b"").expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 80);
    // What nobody has is asked of all who may have it, and all of them answer.
    let absent = cloud.get("meteo/none");
    assert_eq!((absent.status, absent.header("mesh-unasked")), (404, None));
}

#[test]
fn the_example_of_two_sites_does_what_it_says() {
    let mesh = Mesh::of(&["cloud", "edge"]);
    let (cloud, edge) = (mesh.container("cloud", "c1"), mesh.container("edge", "c1"));
    edge.put("meteo/first", b"1").expect(201);
    until("the edge", || cloud.get("meteo/first").status == 200);
    let said = example("across_sites.py", &[mesh.url("edge"), "edge", mesh.url("cloud"), "cloud"]);
    assert!(said.contains("edge wrote 4.95 m, cloud reads 4.95 m"), "{said}");
    assert!(said.contains("one has the lock") && said.ends_with("another comes late: 412\n"), "{said}");
}

#[test]
fn a_site_that_is_cut_off_goes_on_and_agrees_afterwards() {
    let mut mesh = Mesh::of(&["cloud", "edge"]);
    let (mut cloud, edge) = (mesh.container("cloud", "c1"), mesh.container("edge", "c1"));
    edge.put("meteo/read", b"read before").expect(201);
    edge.put("meteo/known", b"known of").expect(201);
    until("the edge", || cloud.get("meteo/read").status == 200);
    until("its news", || keys(&cloud, "meteo").len() == 2);
    cloud.put("meteo/of-cloud", b"1").expect(201);
    until("the cloud", || edge.get("meteo/of-cloud").status == 200);

    mesh.stop("edge");
    until("the silence", || cloud.get("meteo/none").header("mesh-unasked") == Some("edge"));
    // Memory is gone; what was read before has its copy and its key here.
    cloud.terminate();
    cloud.restart();
    assert_eq!(
        (cloud.get("meteo/read").expect(200).body, level(&cloud.get("meteo/read"))),
        (b"read before".to_vec(), "ram")
    );
    let away = cloud.get("meteo/known");
    away.expect_problem(503, "unavailable");
    // Both go on, also where they do not know of each other.
    for n in 0..40 {
        edge.put(&format!("meteo/edge-{n}"), b"while cut off").expect(201);
        cloud.put(&format!("meteo/cloud-{n}"), b"while cut off").expect(201);
    }
    edge.put("meteo/both", b"edge").expect(201);
    cloud.put("meteo/both", b"cloud").expect(201);
    edge.delete("meteo/known").expect(204);
    cloud.put("meteo/of-cloud", b"2").expect(200);

    mesh.start("edge");
    until("agreement", || keys(&cloud, "meteo") == keys(&edge, "meteo") && keys(&edge, "meteo").len() == 83);
    let last = edge.get("meteo/both").body;
    assert!(last == b"edge" || last == b"cloud");
    until("one of both", || cloud.get("meteo/both").body == edge.get("meteo/both").body);
    assert_eq!(edge.get("meteo/of-cloud").expect(200).body, b"2");
    for n in 0..40 {
        assert_eq!(cloud.get(&format!("meteo/edge-{n}")).expect(200).body, b"while cut off");
        assert_eq!(edge.get(&format!("meteo/cloud-{n}")).expect(200).body, b"while cut off");
    }
}

#[test]
fn who_has_no_invitation_or_anothers_name_is_no_site_of_the_mesh() {
    let mesh = Mesh::of(&["cloud", "edge"]);
    let (cloud, edge) = (mesh.container("cloud", "c1"), mesh.container("edge", "c1"));
    edge.put("meteo/a", b"a").expect(201);
    until("the edge", || cloud.get("meteo/a").status == 200);
    let folder = mesh.folder.path();
    let url = mesh.url("cloud");
    let config = read(folder, "edge/site.toml");
    let invitation = config.split_once("invitation_secret = \"").unwrap().1.split_once('"').unwrap().0;
    let forged = format!("{}{}", &invitation[..invitation.len() - 64], "0".repeat(64));
    let start = |site: &str, invitation: &str| {
        let keys = folder.join(format!("{site}-{}.toml", invitation.len() + usize::from(invitation == forged)));
        let secret = format!("mesh.invitation_secret={invitation}");
        Process::start(&["--site", site, "--bus", url, "--keys", keys.to_str().unwrap(), "--set", &secret])
    };
    for (site, invitation, why) in
        [("fog", forged.as_str(), "not one of this hub"), ("edge", invitation, "has this name and other keys")]
    {
        let other = start(site, invitation);
        until("the refusal", || other.said().contains(why));
        other.put("meteo/planted", b"planted").expect(201);
        assert_eq!(keys(&cloud, "meteo"), ["a"]);
        cloud.get("meteo/planted").expect_problem(404, "not_found");
        other.get("meteo/a").expect_problem(404, "not_found");
        assert!(!other.said().contains(&invitation[invitation.len() - 64..]));
    }
    // Who is invited comes in later as well.
    let fog = start("fog", invitation);
    until("the edge", || fog.get("meteo/a").status == 200);
}
