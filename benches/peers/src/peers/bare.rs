//! Nothing but actix-web, handing out one `Bytes`: what the web server of the container costs by itself.

use std::io::Write;
use std::process::Command;

use actix_web::{App, HttpResponse, HttpServer, rt, web};
use anyhow::{Context, Result};

use super::http_workers;
use crate::bench::Bench;
use crate::process::Server;
use crate::rows::payload;

pub const PATH: &str = "/object";

/// Starts this program again, as the server.
pub fn start(bench: &Bench, size: usize) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe().context("where this program is")?);
    command.args(["--bare", &size.to_string()]);
    let folder = bench.folder("bare")?;
    Server::announcing("bare actix-web", command, folder, |line| line.trim().parse().context("no address"))
}

/// The server itself; prints its address.
pub fn serve(size: usize) -> Result<()> {
    let object = payload::random(size);
    let app = move || {
        let object = object.clone();
        let answer = move || {
            let object = object.clone();
            async move { HttpResponse::Ok().content_type("application/octet-stream").body(object) }
        };
        App::new().route(PATH, web::get().to(answer))
    };
    rt::System::new().block_on(async {
        let server = HttpServer::new(app).workers(http_workers()).tcp_nodelay(true).bind(("127.0.0.1", 0))?;
        let addr = server.addrs().first().copied().context("it listens nowhere")?;
        writeln!(std::io::stdout(), "{addr}")?;
        server.run().await.context("the server broke")
    })
}
