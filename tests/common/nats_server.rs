//! A real nats-server of a test's own, on a free port of loopback; it ends with the test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub struct NatsServer {
    child: Child,
    url: String,
    port: u16,
    folder: tempfile::TempDir,
}

/// Where the server is; fetched by the project's own script when it is missing.
pub fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/nats.sh");
        let found = Command::new("sh").arg(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(found.status.success(), "scripts/nats.sh found no nats-server");
        String::from_utf8(found.stdout).unwrap().trim().to_owned()
    })
}

impl NatsServer {
    /// Starts a server with JetStream.
    pub fn start() -> Self {
        Self::listening_at("127.0.0.1")
    }

    /// The same, where others may reach it.
    #[allow(dead_code)]
    pub fn listening_at(host: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let jetstream = Self::jetstream(folder.path());
        Self::started(folder, host, &jetstream)
    }

    /// Starts a server that carries messages and keeps none.
    #[allow(dead_code)]
    pub fn without_jetstream() -> Self {
        Self::started(tempfile::tempdir().unwrap(), "127.0.0.1", &[])
    }

    /// The same, where only who says this much is let in.
    #[allow(dead_code)]
    pub fn opened_by(login: &[&str]) -> Self {
        let login: Vec<String> = login.iter().map(|&word| word.to_owned()).collect();
        Self::started(tempfile::tempdir().unwrap(), "127.0.0.1", &login)
    }

    fn started(folder: tempfile::TempDir, host: &str, jetstream: &[String]) -> Self {
        let child = Self::run(folder.path(), host, -1, jetstream);
        let ports = folder.path().join(format!("nats-server_{}.ports", child.id()));
        let end = Instant::now() + Duration::from_secs(20);
        let port = loop {
            let text = std::fs::read_to_string(&ports).unwrap_or_default();
            if let Some((_, rest)) = text.split_once("nats://").and_then(|(_, rest)| rest.split_once(':')) {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                break digits.parse().unwrap();
            }
            assert!(Instant::now() < end, "nats-server does not start");
            std::thread::sleep(Duration::from_millis(10));
        };
        NatsServer { child, url: format!("nats://127.0.0.1:{port}"), port, folder }
    }

    fn jetstream(folder: &Path) -> [String; 3] {
        ["-js".to_owned(), "-sd".to_owned(), folder.join("jetstream").display().to_string()]
    }

    fn run(folder: &Path, host: &str, port: i32, jetstream: &[String]) -> Child {
        let mut command = Command::new(program());
        command.args(["-a", host, "-p", &port.to_string()]).args(jetstream);
        command.arg("--ports_file_dir").arg(folder).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it at once, as a crash would.
    #[allow(dead_code)]
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Where its JetStream keeps what it has.
    #[allow(dead_code)]
    pub fn store(&self) -> std::path::PathBuf {
        self.folder.path().join("jetstream")
    }

    /// Starts it again where it was, with what its disk holds.
    #[allow(dead_code)]
    pub fn restart(&mut self) {
        let jetstream = Self::jetstream(self.folder.path());
        self.child = Self::run(self.folder.path(), "127.0.0.1", i32::from(self.port), &jetstream);
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < end, "nats-server does not come back");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
