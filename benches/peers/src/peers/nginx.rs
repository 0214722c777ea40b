//! Debian's nginx, serving one file as its manual says it is fastest.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::http_workers;
use crate::bench::Bench;
use crate::process::{Server, free_addr};

/// The path of the file.
pub const FILE: &str = "/object";

/// Debian keeps it where only root looks.
pub fn program() -> &'static str {
    if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" }
}

pub fn serve(bench: &Bench, bytes: &[u8]) -> Result<Server> {
    let (folder, addr) = (bench.folder("nginx")?, free_addr()?);
    let root = folder.path().join("files");
    fs::create_dir(&root).context("cannot make a folder")?;
    fs::write(root.join(FILE.trim_start_matches('/')), bytes).context("cannot write the file")?;
    let config = folder.path().join("nginx.conf");
    fs::write(&config, text(folder.path(), addr.port())).context("cannot write its configuration")?;
    let mut command = Command::new(program());
    command.arg("-e").arg(folder.path().join("error.log")).arg("-p").arg(folder.path()).arg("-c").arg(config);
    Server::listening("nginx", command, addr, folder)
}

fn text(folder: &Path, port: u16) -> String {
    let (folder, workers) = (folder.display(), http_workers());
    // Started by root it gives up its rights, and could not read our folder any more.
    let user = if is_root() { "user root;" } else { "" };
    format!(
        "daemon off;
worker_processes {workers};
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_timeout 600;
    keepalive_requests 1000000000;
    open_file_cache max=100 inactive=600s;
    open_file_cache_valid 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} reuseport;
        root {folder}/files;
    }}
}}
"
    )
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid.is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}
