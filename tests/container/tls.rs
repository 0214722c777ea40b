//! TLS at the door: who is trusted, which certificate is shown, and what is refused at the start.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::harness::{Process, binary};
use crate::nats_server::NatsServer;

const PATIENCE: Duration = Duration::from_secs(30);

/// A private authority and the certificates it gave, in a folder of their own.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let me = Authority(tempfile::tempdir().unwrap());
        me.openssl("authority", &["-addext", "keyUsage=keyCertSign"]);
        me
    }

    /// A certificate for loopback, as its file and its key's.
    fn give(&self, name: &str) -> (PathBuf, PathBuf) {
        let (ca, key) = (self.path("authority.pem"), self.path("authority.key"));
        let (ca, key) = (ca.to_str().unwrap(), key.to_str().unwrap());
        let own = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
        self.openssl(name, &[&["-CA", ca, "-CAkey", key][..], &own].concat());
        (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")))
    }

    fn openssl(&self, name: &str, more: &[&str]) {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command.args(["-days", "30", "-subj", &format!("/CN={name}")]).args(more);
        command.arg("-keyout").arg(self.path(&format!("{name}.key")));
        command.arg("-out").arg(self.path(&format!("{name}.pem")));
        let done = command.output().expect("`make tools` installs openssl");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn ca(&self) -> PathBuf {
        self.path("authority.pem")
    }
}

fn keys(cert: &Path, key: &Path) -> [String; 4] {
    let pair = [("cert", cert), ("key", key)].map(|(name, path)| format!("tls.{name}={}", path.display()));
    let [cert, key] = pair;
    ["--set".into(), cert, "--set".into(), key]
}

fn start(cert: &Path, key: &Path) -> Process {
    Process::start(&keys(cert, key).each_ref().map(String::as_str))
}

fn cli(process: &Process, ca: Option<&Path>, args: &[&str]) -> Output {
    let mut command = binary();
    command.env("MESHSTORE_URL", format!("https://{}", process.addr())).args(args);
    command.envs(ca.map(|ca| ("MESHSTORE_CA", ca))).output().unwrap()
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn connect(process: &Process, ca: &Path) -> Stream {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let connection = ClientConnection::new(config, ServerName::try_from("127.0.0.1").unwrap()).unwrap();
    let stream = TcpStream::connect(process.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(connection, stream)
}

/// The status of `GET path`; the body is read as well.
fn get(stream: &mut Stream, path: &str) -> u16 {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    stream.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
    head["http/1.1 ".len()..][..3].parse().unwrap()
}

/// The certificate that a new connection is shown.
fn shown(process: &Process, ca: &Path) -> Vec<u8> {
    let mut stream = connect(process, ca);
    assert_eq!(get(&mut stream, "/healthz"), 200);
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

fn der(pem: &Path) -> Vec<u8> {
    CertificateDer::from_pem_file(pem).unwrap().to_vec()
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
    }
}

/// Puts both files in the place of others, each at once.
fn replace(from: &(PathBuf, PathBuf), to: &(PathBuf, PathBuf)) {
    for (from, to) in [(&from.1, &to.1), (&from.0, &to.0)] {
        let beside = to.with_extension("new");
        fs::copy(from, &beside).unwrap();
        fs::rename(&beside, to).unwrap();
    }
}

#[test]
fn objects_go_through_tls_and_only_the_known_authority_is_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (cert, key) = authority.give("door");
    let process = start(&cert, &key);
    let file = process.folder().join("file");
    fs::write(&file, "cold").unwrap();
    let pushed = cli(&process, Some(&authority.ca()), &["push", file.to_str().unwrap(), "meteo/k"]);
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    assert_eq!(cli(&process, Some(&authority.ca()), &["pull", "meteo/k", "-"]).stdout, b"cold");
    for ca in [None, Some(other.ca())] {
        let refused = cli(&process, ca.as_deref(), &["pull", "meteo/k", "-"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(23) && said.contains("--ca"), "{said}");
    }
    // Another scheme is told as that.
    let ask = |process: &Process, scheme: &str| {
        let output = binary().args(["stat", "meteo/k", "--url", &format!("{scheme}://{}", process.addr())]).output();
        String::from_utf8(output.unwrap().stderr).unwrap()
    };
    let said = ask(&process, "http");
    assert!(said.contains("https://"), "{said}");
    let said = ask(&Process::start(&[]), "https");
    assert!(said.contains("http://") && said.contains("TLS"), "{said}");
    // Nothing is answered in plain text.
    assert!(process.connect().request("GET", "/healthz", &[], b"").is_err());
}

#[test]
fn containers_of_a_site_trust_each_other_by_the_authority_that_is_named() {
    let (authority, server, folder) = (Authority::new(), NatsServer::start(), tempfile::tempdir().unwrap());
    let (cert, key) = authority.give("door");
    let mut args = keys(&cert, &key).to_vec();
    args.extend(["--set".into(), format!("tls.ca={}", authority.ca().display())]);
    args.extend(["--site", "edge", "--bus", server.url(), "--keys"].map(str::to_owned));
    args.push(folder.path().join("keys.toml").display().to_string());
    let start = |name: &str| {
        let own: Vec<&str> = args.iter().map(String::as_str).chain(["--name", name]).collect();
        Process::start(&own)
    };
    let (a, b) = (start("a"), start("b"));
    let file = a.folder().join("file");
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n / 3) as u8).collect();
    fs::write(&file, &body).unwrap();
    let pushed = cli(&a, Some(&authority.ca()), &["push", file.to_str().unwrap(), "meteo/k"]);
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    assert!(cli(&b, Some(&authority.ca()), &["pull", "meteo/k", "-"]).stdout == body);
    let none = Process::refused(&["--set", "tls.ca=/nowhere/ca.pem"], &[]);
    assert!(none.stderr.contains("tls.ca"), "{}", none.stderr);
}

#[test]
fn a_new_certificate_counts_for_new_connections_and_a_bad_one_never() {
    let authority = Authority::new();
    let ca = authority.ca();
    let (door, second, third) = (authority.give("door"), authority.give("second"), authority.give("third"));
    let first = der(&door.0);
    let process = start(&door.0, &door.1);
    let mut open = connect(&process, &ca);
    assert_eq!((get(&mut open, "/readyz"), shown(&process, &ca)), (200, first));
    replace(&second, &door);
    process.hang_up();
    eventually("the second certificate is shown", || shown(&process, &ca) == der(&second.0));
    assert_eq!(get(&mut open, "/healthz"), 200, "a connection from before stays open");

    fs::write(&door.0, "no certificate").unwrap();
    process.hang_up();
    eventually("the log tells of the bad file", || process.said().contains("kept the one before"));
    assert!(process.said().contains("door.pem"), "{}", process.said());
    assert_eq!(shown(&process, &ca), der(&second.0));
    // Without a signal, too.
    replace(&third, &door);
    eventually("the third certificate is shown", || shown(&process, &ca) == der(&third.0));
    assert_eq!(get(&mut open, "/healthz"), 200);
}

#[test]
fn files_that_are_no_pair_or_not_private_are_refused_by_name() {
    let authority = Authority::new();
    let ((cert, key), (_, stranger)) = (authority.give("door"), authority.give("other"));
    let empty = authority.path("empty.pem");
    fs::write(&empty, "").unwrap();
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o600)).unwrap();
    let refused = |cert: &Path, key: &Path| Process::refused(&keys(cert, key).each_ref().map(String::as_str), &[]);
    for (cert, key, words) in [
        (&cert, &stranger, ["together", "other.key"]),
        (&empty, &key, ["no certificate", "empty.pem"]),
        (&cert, &empty, ["no private key", "empty.pem"]),
        (&authority.path("gone.pem"), &key, ["missing", "gone.pem"]),
        (&cert, &authority.path("gone.key"), ["missing", "gone.key"]),
        (&authority.0.path().to_owned(), &key, ["no small file", "path"]),
    ] {
        let refused = refused(cert, key);
        assert!(words.iter().all(|word| refused.stderr.contains(word)), "{words:?}: {refused:?}");
        assert_eq!(refused.code, Some(10), "{refused:?}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&cert, &key).stderr.contains("chmod 600"));
    let alone = Process::refused(&["--set", &format!("tls.cert={}", cert.display())], &[]);
    assert!(alone.stderr.contains("tls.key"), "{alone:?}");
}

#[test]
fn a_self_signed_certificate_works_unless_it_is_an_authoritys() {
    let authority = Authority::new();
    let own = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"];
    authority.openssl("own", &own);
    let (cert, key) = (authority.path("own.pem"), authority.path("own.key"));
    let good = start(&cert, &key);
    let said = cli(&good, Some(&cert), &["push", key.to_str().unwrap(), "tls/a"]);
    assert!(said.status.success(), "{said:?}");
    assert!(!good.said().contains("CA:TRUE"), "{}", good.said());
    let said = cli(&good, None, &["doctor"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("basicConstraints=critical,CA:FALSE"), "{said:?}");
    let bad = start(&authority.ca(), &authority.path("authority.key"));
    assert!(bad.said().contains("CA:TRUE"), "{}", bad.said());
}
