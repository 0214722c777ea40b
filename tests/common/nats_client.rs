//! The plain text protocol of NATS over a socket: enough to ask and to listen, with no library.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub struct NatsClient {
    stream: BufReader<TcpStream>,
    next: u64,
    /// Until when it waits for messages: a server that asks whether we are there keeps a silence short.
    end: Option<Instant>,
}

#[derive(Debug)]
pub struct Heard {
    pub subject: String,
    /// Where it wants an answer; empty where it wants none.
    pub reply: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Heard {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl NatsClient {
    pub fn connect(url: &str) -> Self {
        let rest = url.strip_prefix("nats://").unwrap();
        let (login, place) = rest.split_once('@').map_or((None, rest), |(login, place)| (login.split_once(':'), place));
        let stream = TcpStream::connect(place).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = NatsClient { stream: BufReader::new(stream), next: 0, end: None };
        assert!(client.line().starts_with("INFO "));
        let login = login.map(|(user, password)| format!(",\"user\":\"{user}\",\"pass\":\"{password}\""));
        let login = login.unwrap_or_default();
        let hello = format!("CONNECT {{\"verbose\":false,\"headers\":true,\"no_responders\":true{login}}}\r\nPING\r\n");
        client.send(hello.as_bytes());
        assert_eq!(client.line(), "PONG");
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// The next line that the server says.
    pub fn line(&mut self) -> String {
        self.try_line().unwrap()
    }

    fn try_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Hears what is published from now on.
    pub fn subscribe(&mut self, pattern: &str) {
        self.next += 1;
        let text = format!("SUB {pattern} {}\r\nPING\r\n", self.next);
        self.send(text.as_bytes());
        assert_eq!(self.line(), "PONG");
    }

    pub fn publish(&mut self, subject: &str, reply: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = String::from("NATS/1.0\r\n");
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        head.push_str("\r\n");
        let space = if reply.is_empty() { "" } else { " " };
        let line = format!("HPUB {subject}{space}{reply} {} {}\r\n", head.len(), head.len() + body.len());
        self.send(&[line.as_bytes(), head.as_bytes(), body, b"\r\n"].concat());
    }

    /// Sends bytes as they are.
    #[allow(dead_code)]
    pub fn raw(&mut self, bytes: &[u8]) {
        // Who is cut off meanwhile has sent enough.
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// What the server says until it ends the connection.
    #[allow(dead_code)]
    pub fn last_words(mut self) -> String {
        let mut said = Vec::new();
        match self.stream.read_to_end(&mut said) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("it was never ended: {error}"),
            _ => String::from_utf8_lossy(&said).into_owned(),
        }
    }

    /// The next message.
    pub fn next(&mut self) -> Heard {
        self.try_next().unwrap()
    }

    pub fn try_next(&mut self) -> io::Result<Heard> {
        loop {
            let line = self.try_line()?;
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["PING"] if self.end.is_some_and(|end| Instant::now() > end) => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                ["PING"] => self.send(b"PONG\r\n"),
                ["PONG"] | ["+OK"] => {}
                ["MSG", subject, _, ref reply @ .., bytes] => {
                    let (subject, reply) = (subject.to_owned(), reply.concat());
                    let body = self.bytes(bytes.parse().unwrap());
                    return Ok(Heard { subject, reply, headers: Vec::new(), body });
                }
                ["HMSG", subject, _, ref reply @ .., head, all] => {
                    let (subject, reply) = (subject.to_owned(), reply.concat());
                    let (head, all): (usize, usize) = (head.parse().unwrap(), all.parse().unwrap());
                    let mut bytes = self.bytes(all);
                    let body = bytes.split_off(head);
                    let text = String::from_utf8(bytes).unwrap();
                    let header = |line: &str| line.split_once(':').map(|(n, v)| (n.to_owned(), v.trim().to_owned()));
                    let mut headers: Vec<_> = text.lines().skip(1).filter_map(header).collect();
                    // A status stands on the first line: nobody listens.
                    if let Some(status) = text.lines().next().and_then(|line| line.split(' ').nth(1)) {
                        headers.push(("Status".to_owned(), status.to_owned()));
                    }
                    return Ok(Heard { subject, reply, headers, body });
                }
                _ => panic!("{line:?}"),
            }
        }
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut out = vec![0; count + 2];
        self.stream.read_exact(&mut out).unwrap();
        out.truncate(count);
        out
    }

    /// The next message, if it comes within this time: a server that asks whether this client lives says nothing.
    #[allow(dead_code)]
    pub fn next_within(&mut self, patience: Duration) -> Option<Heard> {
        self.stream.get_mut().set_read_timeout(Some(patience)).unwrap();
        self.end = Some(Instant::now() + patience);
        self.try_next().ok()
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, subject: &str, headers: &[(&str, &str)], body: &[u8]) -> Heard {
        self.try_ask(subject, headers, body).unwrap()
    }

    /// The same for as long as this, on a connection of its own: a message may be lost on its way.
    #[allow(dead_code)]
    pub fn ask_once(url: &str, patience: Duration, subject: &str, headers: &[(&str, &str)]) -> Option<Heard> {
        let mut client = NatsClient::connect(url);
        client.stream.get_mut().set_read_timeout(Some(patience)).unwrap();
        client.end = Some(Instant::now() + patience);
        client.try_ask(subject, headers, b"").ok()
    }

    fn try_ask(&mut self, subject: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Heard> {
        self.next += 1;
        let inbox = format!("_INBOX.test.{}.{}", std::process::id(), self.next);
        let text = format!("SUB {inbox} {}\r\nUNSUB {} 1\r\n", self.next, self.next);
        self.send(text.as_bytes());
        self.publish(subject, &inbox, headers, body);
        loop {
            let heard = self.try_next()?;
            if heard.subject == inbox {
                return Ok(heard);
            }
        }
    }
}
