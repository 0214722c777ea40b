//! Containers as processes of their own, and an HTTP client that shares no code with them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::iter;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

/// How long a container may take to be ready, or to end. Far above what it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pieces in which large bodies are sent and read.
pub const PIECE_BYTES: usize = 256 << 10;

/// A port of loopback for a server whose configuration has to name one: below those that the system gives out. A process
/// is given none twice, as a test that stops a server starts it again on the same one; processes begin anywhere.
pub fn free_port() -> u16 {
    static FIRST: LazyLock<u32> =
        LazyLock::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos());
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = iter::repeat_with(|| 12_000 + ((*FIRST + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000) as u16);
    ports.by_ref().take(100).find(is_free).expect("a free port")
}

/// The binary without settings that the environment of the test run may hold.
pub fn binary() -> Command {
    without_settings(Command::new(env!("CARGO_BIN_EXE_meshstore")))
}

fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MESHSTORE_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Where a container keeps its data, and how it is started. The folder goes with the process.
pub struct Process {
    folder: TempDir,
    launch: Launch,
    running: Option<Running>,
}

#[derive(Clone, Default)]
struct Launch {
    /// A program that runs the container, such as a tracer, with its arguments.
    wrapper: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

struct Running {
    child: Child,
    /// The container itself, which under a wrapper is not the child.
    pid: u32,
    addr: SocketAddr,
}

/// A container that did not start.
#[derive(Debug)]
pub struct Refused {
    pub code: Option<i32>,
    pub stderr: String,
}

impl Process {
    /// Starts a container with more arguments for `serve`.
    pub fn start(args: &[&str]) -> Self {
        Self::launch(args, &[], &[])
    }

    /// The same with variables.
    pub fn start_with_env(args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::launch(args, env, &[])
    }

    /// The same, run by another program; `{folder}` in its arguments is the process' folder.
    pub fn start_under(wrapper: &[&str], args: &[&str]) -> Self {
        Self::launch(args, &[], wrapper)
    }

    /// Starts a container that may refuse to run.
    pub fn attempt(args: &[&str]) -> Result<Self, Refused> {
        let mut process = Self::prepare(args, &[], &[]);
        process.try_restart().map(|()| process)
    }

    /// Starts a container that must refuse to run.
    pub fn refused(args: &[&str], env: &[(&str, &str)]) -> Refused {
        let mut process = Self::prepare(args, env, &[]);
        process.try_restart().expect_err("it must not start")
    }

    fn launch(args: &[&str], env: &[(&str, &str)], wrapper: &[&str]) -> Self {
        let mut process = Self::prepare(args, env, wrapper);
        process.restart();
        process
    }

    fn prepare(args: &[&str], env: &[(&str, &str)], wrapper: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap().to_owned();
        let launch = Launch {
            wrapper: wrapper.iter().map(|word| word.replace("{folder}", &root)).collect(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        };
        Process { folder, launch, running: None }
    }

    /// Starts it again, as it was started before, on the same folder.
    pub fn restart(&mut self) {
        self.try_restart().unwrap_or_else(|refused| panic!("the container did not start: {refused:?}"));
    }

    /// The same, where the container may refuse.
    pub fn try_restart(&mut self) -> Result<(), Refused> {
        assert!(self.running.is_none(), "it runs already");
        let launch = self.launch.clone();
        self.running = Some(spawn(&launch, &self.data(), self.folder.path())?);
        Ok(())
    }

    /// Tries to run another container on this one's data folder while this one runs.
    pub fn start_second(&self) -> Refused {
        match spawn(&self.launch, &self.data(), self.folder.path()) {
            Err(refused) => refused,
            Ok(mut second) => {
                second.end();
                panic!("two containers ran on one data folder")
            }
        }
    }

    /// Ends it as a crash of the process does. Ends it only; what it had answered stays answered.
    pub fn kill9(&mut self) {
        self.running.take().expect("it runs").end();
    }

    /// Ends it in order: SIGTERM, and an exit code of 0.
    pub fn terminate(&mut self) {
        self.signal("TERM");
        self.ended();
    }

    /// Sends a signal and does not wait for what comes of it.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits until it has ended by itself, with an exit code of 0.
    pub fn ended(&mut self) {
        let mut running = self.running.take().expect("it runs");
        let status = running.wait();
        assert!(status.success(), "SIGTERM must end a container well: {status}; {}", self.said());
    }

    /// Asks it to read its certificate again.
    pub fn hang_up(&self) {
        signal(self.pid(), "HUP");
    }

    /// What it said on stderr since it was last started.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").pid
    }

    pub fn addr(&self) -> SocketAddr {
        self.running.as_ref().expect("it runs").addr
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.addr()).unwrap()
    }

    /// One request on a connection of its own.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let answer = self.connect().request(method, path, headers, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}; {}", self.said()))
    }

    pub fn put(&self, address: &str, body: &[u8]) -> Response {
        self.request("PUT", &object(address), &[], body)
    }

    pub fn get(&self, address: &str) -> Response {
        self.request("GET", &object(address), &[], b"")
    }

    pub fn head(&self, address: &str) -> Response {
        self.request("HEAD", &object(address), &[], b"")
    }

    pub fn delete(&self, address: &str) -> Response {
        self.request("DELETE", &object(address), &[], b"")
    }

    /// The command line, pointed at this container, with something on its stdin.
    pub fn cli(&self, args: &[&str], stdin: &[u8]) -> Output {
        let mut command = binary();
        command.args(args).env("MESHSTORE_URL", format!("http://{}", self.addr())).current_dir(self.folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let stdin = stdin.to_vec();
        // A command that fails early does not read its stdin; its answer is what is looked at.
        let feeding = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
        let output = child.wait_with_output().unwrap();
        feeding.join().unwrap();
        output
    }

    /// The most memory it has ever had in use at once.
    pub fn peak_memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// What was said last, where a test fails: it is gone afterwards.
pub fn last_words(of: &str, said: impl FnOnce() -> String) {
    const LINES: usize = 40;
    if thread::panicking() {
        let said = said();
        let lines: Vec<&str> = said.lines().collect();
        eprintln!("{of} said last:\n{}", lines[lines.len().saturating_sub(LINES)..].join("\n"));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        last_words("a container", || self.said());
        if let Some(mut running) = self.running.take() {
            running.end();
        }
    }
}

impl Running {
    fn end(&mut self) {
        // Only while the child has not been waited for is its id surely ours.
        if self.pid != self.child.id() && self.child.try_wait().is_ok_and(|status| status.is_none()) {
            signal(self.pid, "KILL");
        } else {
            let _ = self.child.kill();
        }
        self.wait();
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                panic!("the container did not end within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn signal(pid: u32, name: &str) {
    // The shell's own kill needs no package.
    let done = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(done.success(), "cannot send SIG{name} to {pid}");
}

fn spawn(launch: &Launch, data: &Path, folder: &Path) -> Result<Running, Refused> {
    let mut command = match launch.wrapper.split_first() {
        None => binary(),
        Some((program, words)) => {
            let mut command = without_settings(Command::new(program));
            command.args(words).arg(env!("CARGO_BIN_EXE_meshstore"));
            command
        }
    };
    command.args(["serve", "--json", "--set", "log.level=warn", "--data"]).arg(data);
    if !launch.args.iter().any(|arg| arg == "--bus") {
        command.args(["--bus", "local"]);
    }
    if !launch.args.iter().any(|arg| arg == "--http") {
        command.args(["--http", "127.0.0.1:0"]);
    }
    command.args(&launch.args).envs(launch.env.iter().map(|(name, value)| (name, value)));
    // A file for each start: a second container must not write into the first one's.
    let said = tempfile::NamedTempFile::new_in(folder).unwrap();
    command.stdout(Stdio::piped()).stderr(said.reopen().unwrap());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("cannot run {:?}: {error}; `make tools` installs what the tests need", command.get_program())
    });
    let stdout = child.stdout.take().unwrap();
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        sender.send(read.map(|_| line))
    });
    let line = lines.recv_timeout(PATIENCE);
    match line.ok().and_then(Result::ok).and_then(|line| serde_json::from_str::<Value>(&line).ok()) {
        Some(ready) => {
            let url = ready["http"].as_str().expect("the ready line names its http address");
            let addr = url.split_once("://").unwrap().1.parse().unwrap();
            let pid = u32::try_from(ready["pid"].as_u64().unwrap()).unwrap();
            said.persist(folder.join("stderr")).unwrap();
            Ok(Running { child, pid, addr })
        }
        None => {
            let deadline = Instant::now() + PATIENCE;
            while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(2));
            }
            let _ = child.kill();
            let code = child.wait().unwrap().code();
            Err(Refused { code, stderr: std::fs::read_to_string(said.path()).unwrap() })
        }
    }
}

/// The path of an object; the address must need no escapes.
pub fn object(address: &str) -> String {
    format!("/v1/objects/{address}")
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// A header that came at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} came twice");
        value
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}: {}", self.headers, self.text());
        self
    }

    /// Checks that it is a problem of this kind, with all members the contract names.
    #[track_caller]
    pub fn expect_problem(self, status: u16, kind: &str) -> Value {
        assert_eq!((self.status, self.header("content-type")), (status, Some("application/problem+json")), "{self:?}");
        let problem = self.json();
        assert_eq!((problem["status"].as_u64(), problem["kind"].as_str()), (Some(u64::from(status)), Some(kind)));
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
        }
        problem
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]).into_owned()
    }
}

/// A connection that is kept for several requests.
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { stream: BufReader::with_capacity(PIECE_BYTES, stream), host: addr.to_string() })
    }

    /// Sends a request and reads its answer whole. A container may answer before it has read the
    /// whole body, and close; then what counts is the answer, as long as one is there.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
        self.begin(method, path, headers, body.len() as u64)?;
        let sent = self.send(body);
        let mut response = match (self.answer(), sent) {
            (Err(_), Err(error)) => return Err(error),
            (answer, _) => answer?,
        };
        if method != "HEAD" {
            self.read_body(&mut response)?;
        }
        Ok(response)
    }

    /// Reads an answer with its body, which it must be able to have.
    pub fn whole_answer(&mut self) -> io::Result<Response> {
        let mut response = self.answer()?;
        self.read_body(&mut response)?;
        Ok(response)
    }

    fn read_body(&mut self, response: &mut Response) -> io::Result<()> {
        if matches!(response.status, 204 | 304) {
            return Ok(());
        }
        if response.header("transfer-encoding") == Some("chunked") {
            response.body = self.chunks()?;
        } else {
            let length = length(response)?;
            response.body = vec![0; length as usize];
            self.stream.read_exact(&mut response.body)?;
        }
        Ok(())
    }

    /// Sends the head of a request. `Host` and `Content-Length` are added unless they are given.
    pub fn begin(&mut self, method: &str, path: &str, headers: &[(&str, &str)], length: u64) -> io::Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        let given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        if !given("host") {
            head.push_str(&format!("Host: {}\r\n", self.host));
        }
        if !given("content-length") && !given("transfer-encoding") {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        self.send(format!("{head}\r\n").as_bytes())
    }

    /// Sends raw bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads the head of an answer; the body is left to be read.
    pub fn answer(&mut self) -> io::Result<Response> {
        let broken = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| broken(&line))?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            match line.strip_suffix("\r\n").ok_or_else(|| broken(&line))? {
                "" => return Ok(Response { status, headers, body: Vec::new() }),
                header => {
                    let (name, value) = header.split_once(':').ok_or_else(|| broken(header))?;
                    headers.push((name.to_owned(), value.trim().to_owned()));
                }
            }
        }
    }

    /// Reads a chunked body to its end.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let piece = self.chunk()?;
            if piece.is_empty() {
                return Ok(body);
            }
            body.extend(piece);
        }
    }

    /// Reads the next piece of a chunked body; empty at its end.
    pub fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "no chunk");
        let size = usize::from_str_radix(line.trim_end(), 16).map_err(|_| bad())?;
        let mut piece = vec![0; size + 2];
        self.stream.read_exact(&mut piece)?;
        piece.truncate(size);
        Ok(piece)
    }

    /// Reads the next bytes of a body.
    pub fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        self.stream.read_exact(into)
    }
}

fn length(response: &Response) -> io::Result<u64> {
    let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("an answer without a length: {response:?}"));
    response.header("content-length").and_then(|length| length.parse().ok()).ok_or_else(missing)
}

/// A small generator with a seed that tests print: SplitMix64.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// Bytes that do not compress.
    pub fn fill(&mut self, out: &mut [u8]) {
        for piece in out.chunks_mut(8) {
            let word = self.roll().to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
    }
}

/// A number from the environment of the test run.
pub fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// A seed that is new each time, or the one that is asked for. Shown when the test fails: it repeats the load and
/// the waits, though not the threads' timing.
pub fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = from_env("MESHSTORE_SEED", now);
    println!("MESHSTORE_SEED={seed}");
    seed
}

/// The n-th body of a key: it says whose it is and which, and no two are alike.
pub fn body_of(key: &str, sequence: u64, bytes: usize) -> Vec<u8> {
    let mut out = format!("{key} {sequence} {bytes}\n").into_bytes();
    let seed = blake3::hash(&out).as_bytes()[..8].try_into().map(u64::from_le_bytes).unwrap();
    let head = out.len();
    out.resize(head.max(bytes), 0);
    Dice::new(seed).fill(&mut out[head..]);
    out
}
