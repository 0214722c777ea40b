//! An object that goes over a nats-server with flow control and nothing else: one program has it in memory, another one
//! gets it in pieces and puts them together. Both use the client library that the container uses.

use std::io::Write;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use async_nats::{Client, ConnectOptions, Subscriber};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::runtime::Runtime;

use crate::bench::Bench;
use crate::process::Server;
use crate::rows::payload;

/// Answers one piece of the object: where it starts and how long it is.
const PIECE: &str = "flow.piece";

/// Sends the whole object, as far as it is allowed to: the size of a piece, how much may be under way at first, and
/// where the pieces and the further allowances go.
const ALL: &str = "flow.all";

/// Messages that the library may hold for a subscription.
const QUEUE: usize = 1 << 16;

/// Who decides how much is under way.
#[derive(Clone, Copy)]
pub enum Control {
    /// Each piece is asked for: so many at a time.
    Requests { piece: usize, under_way: usize },
    /// The sender goes on while it is allowed to: so many bytes, and more as they are taken.
    Allowance { piece: usize, bytes: usize },
}

/// Starts this program again, as the one that has the object.
pub fn source(bench: &Bench, nats: &Server, size: usize) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe().context("where this program is")?);
    command.args(["--flow", &nats.addr.to_string(), "--bare", &size.to_string()]);
    let (folder, addr) = (bench.folder("flow")?, nats.addr);
    Server::announcing("the source", command, folder, move |_| Ok(addr))
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

async fn connect(addr: std::net::SocketAddr) -> Result<Client> {
    Ok(ConnectOptions::new().subscription_capacity(QUEUE).connect(format!("nats://{addr}")).await?)
}

/// The one that has the object; ends with the server.
pub fn give(addr: std::net::SocketAddr, size: usize) -> Result<()> {
    let object = payload::random(size);
    runtime()?.block_on(async {
        let client = connect(addr).await?;
        let (mut pieces, mut all) = (client.subscribe(PIECE).await?, client.subscribe(ALL).await?);
        client.flush().await?;
        writeln!(std::io::stdout(), "ready")?;
        loop {
            tokio::select! {
                Some(asked) = pieces.next() => {
                    let [start, bytes] = words(&asked.payload)?;
                    let (start, bytes): (usize, usize) = (start.parse()?, bytes.parse()?);
                    let piece = object.slice(start.min(size)..(start + bytes).min(size));
                    client.publish(asked.reply.context("an answer is for nobody")?, piece).await?;
                }
                Some(asked) = all.next() => {
                    let [piece, bytes, to, more] = words(&asked.payload)?;
                    let (piece, bytes, to) = (piece.parse()?, bytes.parse()?, to.to_owned());
                    let allowed = client.subscribe(more.to_owned()).await?;
                    tokio::spawn(send(client.clone(), object.clone(), piece, bytes, to, allowed));
                }
                else => return Ok(()),
            }
        }
    })
}

async fn send(
    client: Client,
    object: Bytes,
    piece: usize,
    mut allowance: usize,
    to: String,
    mut allowed: Subscriber,
) -> Result<()> {
    let mut start = 0;
    while start < object.len() {
        while allowance == 0 {
            let more = allowed.next().await.context("nothing more is allowed")?;
            let [bytes] = words(&more.payload)?;
            allowance += bytes.parse::<usize>()?;
        }
        let end = (start + piece.min(allowance)).min(object.len());
        client.publish(to.clone(), object.slice(start..end)).await?;
        allowance -= end - start;
        start = end;
    }
    Ok(())
}

fn words<const N: usize>(said: &Bytes) -> Result<[&str; N]> {
    let words: Vec<&str> = std::str::from_utf8(said)?.split(' ').collect();
    words.try_into().ok().context("that is not understood")
}

/// The one that gets it.
pub struct Receiver {
    runtime: Runtime,
    client: Client,
    /// What it got.
    object: Vec<u8>,
}

impl Receiver {
    pub fn of(nats: &Server, size: usize) -> Result<Self> {
        let runtime = runtime()?;
        let client = runtime.block_on(connect(nats.addr))?;
        Ok(Receiver { runtime, client, object: vec![0; size] })
    }

    /// Gets the object.
    pub fn once(&mut self, control: Control) -> Result<()> {
        let Receiver { runtime, client, object } = self;
        runtime.block_on(async {
            match control {
                Control::Requests { piece, under_way } => ask(client, object, piece, under_way).await,
                Control::Allowance { piece, bytes } => allow(client, object, piece, bytes).await,
            }
        })
    }

    /// Compares every byte: what is measured afterwards is checked by its length alone.
    pub fn verify(&mut self, control: Control) -> Result<()> {
        self.object.fill(0);
        self.once(control)?;
        ensure!(self.object == payload::random(self.object.len()), "other bytes came");
        Ok(())
    }
}

async fn ask(client: &Client, object: &mut [u8], piece: usize, under_way: usize) -> Result<()> {
    let size = object.len();
    let ask = |start: usize| async move {
        let wanted = format!("{start} {piece}");
        Ok::<_, anyhow::Error>((start, client.request(PIECE, wanted.into()).await?.payload))
    };
    let mut pieces = stream::iter((0..size).step_by(piece).map(ask)).buffer_unordered(under_way);
    let mut left = size;
    while let Some(come) = pieces.next().await {
        let (start, bytes) = come?;
        keep(object, start, &bytes)?;
        left = left.checked_sub(bytes.len()).context("too much came")?;
    }
    ensure!(left == 0, "{left} bytes did not come");
    Ok(())
}

async fn allow(client: &Client, object: &mut [u8], piece: usize, bytes: usize) -> Result<()> {
    let (to, more) = (client.new_inbox(), client.new_inbox());
    let mut pieces = client.subscribe(to.clone()).await?;
    client.flush().await?;
    client.publish(ALL, format!("{piece} {bytes} {to} {more}").into()).await?;
    let (mut got, mut taken) = (0, 0);
    while got < object.len() {
        let come = pieces.next().await.context("no more comes")?.payload;
        keep(object, got, &come)?;
        got += come.len();
        taken += come.len();
        if taken >= bytes / 4 {
            client.publish(more.clone(), taken.to_string().into()).await?;
            taken = 0;
        }
    }
    Ok(())
}

fn keep(object: &mut [u8], start: usize, bytes: &[u8]) -> Result<()> {
    let place = object.get_mut(start..start + bytes.len()).context("a piece lies beyond the end")?;
    place.copy_from_slice(bytes);
    Ok(())
}
