//! The order of system calls: an object is synced before its acknowledgement is sent.

use std::process::Command;

use meshstore::client::{PushOptions, Upload};

use crate::harness::{Process, body};

/// The lines of the trace between the arrival of the request and its answer.
async fn trace_of_a_push(bytes: usize) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut tracer = Command::new("strace");
    tracer.args([
        "-f",
        "-y",
        "-s",
        "200",
        "-e",
        "trace=fsync,fdatasync,rename,write,writev,sendto,sendmsg,recvfrom,read",
        "-o",
    ]);
    tracer.arg(&trace).arg(env!("CARGO_BIN_EXE_meshstore"));
    // `-f` lets the tracer's end be the container's end, and the other way round.
    let process = Process::spawn(tracer, &folder.path().join("data"), &[]);
    let client = process.client();
    // The first push raises the version ceiling; the second one is the one to look at.
    for key in ["trace/first", "trace/second"] {
        client.push(&key.parse().unwrap(), Upload::bytes(body(key, 1, bytes)), &PushOptions::default()).await.unwrap();
    }
    let status = tokio::task::spawn_blocking(move || terminate_traced(process)).await.unwrap();
    assert!(status.success(), "{status}");
    let text = std::fs::read_to_string(&trace).expect("the trace; is strace installed? `make tools` installs it");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let asked = lines.iter().position(|line| line.contains("PUT /v1/objects/trace/second")).expect("the request");
    let answered = lines[asked..].iter().position(|line| line.contains("HTTP/1.1 201")).expect("the answer");
    lines[asked..asked + answered].to_vec()
}

/// Ends the traced container, which is the tracer's only child.
fn terminate_traced(process: Process) -> std::process::ExitStatus {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.pid())).unwrap();
    let child = children.split_whitespace().next().expect("the traced container");
    assert!(Command::new("kill").arg(child).status().unwrap().success());
    process.wait()
}

/// Whether a sync of a file that has this in its path returned well; the call may be split in two lines.
fn synced(lines: &[String], path: &str) -> bool {
    lines.iter().any(|line| (line.contains("fsync(") || line.contains("fdatasync(")) && line.contains(path))
}

#[tokio::test]
async fn a_small_object_is_synced_before_it_is_acknowledged() {
    let lines = trace_of_a_push(1_000).await;
    assert!(synced(&lines, "store.redb"), "{}", lines.join("\n"));
}

#[tokio::test]
async fn a_large_objects_frame_folder_and_record_are_synced_in_order_before_it_is_acknowledged() {
    let lines = trace_of_a_push(300_000).await;
    let at = |what: &str, path: &str| {
        let found = lines.iter().position(|line| line.contains(what) && line.contains(path));
        found.unwrap_or_else(|| panic!("no {what} of {path}:\n{}", lines.join("\n")))
    };
    let frame = at("sync(", "/staging/");
    let named = at("rename(", "/frames/");
    let folder = lines[named..]
        .iter()
        .position(|line| line.contains("sync(") && line.contains("/data/frames/"))
        .map(|at| at + named);
    let record = at("sync(", "store.redb");
    assert!(frame < named && folder.is_some_and(|folder| named < folder && folder < record), "{}", lines.join("\n"));
}
