//! Clients that pull one object again and again: all ask, then all are answered.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Result;

const CONNECTIONS: usize = 64;
const BYTES: usize = 1_000;

const PUSH: &str = "PUT /v1/objects/bench/object HTTP/1.1\r\nHost: 127.0.0.1\r\nMesh-Durability: ram\r\n";
const PULL: &[u8] = b"GET /v1/objects/bench/object HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

/// Pulls for so long, and says how often.
pub fn pull(addr: &str, duration: Duration) -> Result<u64> {
    let mut first = open(addr)?;
    write!(first, "{PUSH}Content-Length: {BYTES}\r\n\r\n{}", "x".repeat(BYTES))?;
    answered(&mut first, "201", 0)?;
    first.write_all(PULL)?;
    // All answers are of one length: only the date in them changes.
    let length = answered(&mut first, "200", BYTES)?;
    let mut connections = (0..CONNECTIONS).map(|_| open(addr)).collect::<Result<Vec<TcpStream>>>()?;
    let (began, mut pulls, mut answer) = (Instant::now(), 0, vec![0; length]);
    while began.elapsed() < duration {
        for connection in &mut connections {
            connection.write_all(PULL)?;
        }
        for connection in &mut connections {
            connection.read_exact(&mut answer)?;
            if !answer.starts_with(b"HTTP/1.1 200") {
                return Err("a pull failed".into());
            }
            pulls += 1;
        }
    }
    Ok(pulls)
}

fn open(addr: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// Reads an answer with this status, and at least so many bytes of a body; says how long it is, head and body.
fn answered(stream: &mut TcpStream, status: &str, bytes: usize) -> Result<usize> {
    let (mut got, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        let count = stream.read(&mut piece)?;
        got.extend_from_slice(&piece[..count]);
        let head = got.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
        match head {
            _ if count == 0 => return Err("the server ended the connection".into()),
            Some(head) if got.len() >= head + bytes => break,
            _ => {}
        }
    }
    let text = String::from_utf8_lossy(&got);
    if text.split(' ').nth(1) == Some(status) { Ok(got.len()) } else { Err(format!("not answered: {text}").into()) }
}
