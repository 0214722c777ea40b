//! A stand-in for a container: answers each connection with canned bytes and keeps what it was asked.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A listener that serves one connection for each canned answer, in order.
pub struct Fake {
    pub url: String,
    asked: JoinHandle<Vec<String>>,
}

impl Fake {
    pub async fn answering(answers: Vec<Vec<u8>>) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !complete(&request) {
                    let mut part = [0; 4096];
                    match socket.read(&mut part).await.unwrap() {
                        0 => break,
                        n => request.extend_from_slice(&part[..n]),
                    }
                }
                requests.push(String::from_utf8(request).unwrap());
                socket.write_all(&answer).await.unwrap();
                socket.shutdown().await.unwrap();
            }
            requests
        });
        Fake { url, asked }
    }

    /// What was asked, once every canned answer has been given.
    pub async fn asked(self) -> Vec<String> {
        self.asked.await.unwrap()
    }
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// An answer with `Connection: close`, a length and these headers (each ending in CRLF).
pub fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
        .into_bytes()
}
