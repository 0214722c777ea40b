//! The order of system calls: what an acknowledgement promises is synced before it is sent.
//!
//! A kill of the process cannot show this, since what it wrote stays in the kernel's cache; the
//! order of the calls shows what a power cut would find.

use std::collections::HashMap;

use crate::harness::{Process, body_of, object};

/// One system call, with the lines of the trace in which it began and returned.
#[derive(Debug)]
struct Call {
    name: String,
    /// Its arguments and what it returned, as the tracer writes them; files by their paths.
    text: String,
    began: usize,
    ended: usize,
}

impl Call {
    fn is_sync_of(&self, file: &str) -> bool {
        matches!(self.name.as_str(), "fsync" | "fdatasync") && self.text.contains(file) && self.text.ends_with("= 0")
    }

    fn is_write_of(&self, file: &str) -> bool {
        // The file is the first argument; data that happens to hold its name is not.
        matches!(self.name.as_str(), "write" | "writev" | "pwrite64" | "pwritev")
            && self.text.split([',', ')']).next().is_some_and(|first| first.contains(file))
    }
}

/// The calls of a trace. One that another thread's line interrupts is told in two halves.
fn calls(trace: &str) -> Vec<Call> {
    let mut open: HashMap<&str, Call> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            // Calls that began before the tracer came are not known.
            if let (Some(mut call), Some((_, tail))) = (open.remove(thread), resumed.split_once(" resumed>")) {
                call.text.push_str(tail);
                call.ended = at;
                calls.push(call);
            }
        } else if let Some((name, text)) = rest.split_once('(') {
            let call = |text: &str| Call { name: name.to_owned(), text: text.to_owned(), began: at, ended: at };
            match text.strip_suffix(" <unfinished ...>") {
                Some(text) => drop(open.insert(thread, call(text))),
                None => calls.push(call(text)),
            }
        }
    }
    calls
}

/// What the container did between the arrival of a push and its answer, in the order of returning.
/// The answer itself is the last call.
fn calls_of_a_push(bytes: usize, class: &str) -> Vec<Call> {
    const TRACED: &str = "trace=fsync,fdatasync,rename,renameat,renameat2,write,writev,pwrite64,pwritev,\
        sendto,sendmsg,read,readv,recvfrom,recvmsg";
    let tracer = ["strace", "-f", "-y", "-s", "80", "-e", TRACED, "-e", "signal=none", "-o", "{folder}/trace"];
    let mut process = Process::start_under(&tracer, &[]);
    // The first push reserves versions and makes the collection; the second one is looked at.
    for address in ["trace/first", "trace/second"] {
        let body = body_of(address, 1, bytes);
        let answer = process.request("PUT", &object(address), &[("Mesh-Durability", class)], &body).expect(201);
        assert_eq!(answer.header("mesh-durability"), Some(class));
    }
    process.terminate();
    let trace = std::fs::read_to_string(process.folder().join("trace")).unwrap();
    let mut calls = calls(&trace);
    let asked = calls.iter().find(|call| call.text.contains("PUT /v1/objects/trace/second"));
    let asked = asked.unwrap_or_else(|| panic!("no request in\n{trace}")).began;
    let answers = |call: &&Call| call.began > asked && call.text.contains("\"HTTP/1.1 201");
    let answered = calls.iter().find(answers).unwrap_or_else(|| panic!("no answer in\n{trace}")).began;
    calls.retain(|call| call.began >= asked && (call.ended < answered || call.began == answered));
    calls
}

fn told(calls: &[Call]) -> String {
    calls.iter().map(|call| format!("{}..{} {}({}\n", call.began, call.ended, call.name, call.text)).collect()
}

/// The lines in which the first such call after `line` began and ended.
fn after(calls: &[Call], line: usize, what: &str, is: impl Fn(&Call) -> bool) -> (usize, usize) {
    let found = calls.iter().filter(|call| call.began > line && is(call)).min_by_key(|call| call.ended);
    let found = found.unwrap_or_else(|| panic!("no {what} after line {line}, before the answer:\n{}", told(calls)));
    (found.began, found.ended)
}

fn last_write(calls: &[Call], file: &str) -> usize {
    let last = calls.iter().filter(|call| call.is_write_of(file)).map(|call| call.ended).max();
    last.unwrap_or_else(|| panic!("nothing was written to {file}:\n{}", told(calls)))
}

#[test]
fn a_small_object_is_synced_with_its_record_before_it_is_acknowledged() {
    let calls = calls_of_a_push(1_000, "disk");
    let written = last_write(&calls, "/journal.");
    after(&calls, written, "sync of the journal", |call| call.is_sync_of("/journal."));
}

#[test]
fn a_large_objects_frame_its_folder_and_its_record_are_synced_in_this_order_before_it_is_acknowledged() {
    let calls = calls_of_a_push(200_000, "disk");
    let written = last_write(&calls, "/staging/");
    let (_, frame) = after(&calls, written, "sync of the frame", |call| call.is_sync_of("/staging/"));
    let is_rename = |call: &Call| call.name.starts_with("rename") && call.text.contains("/frames/");
    let (_, named) = after(&calls, frame, "rename of the frame", is_rename);
    let is_folder_sync = |call: &Call| call.is_sync_of("/data/frames/") && !call.text.contains(".frame");
    let (_, folder) = after(&calls, named, "sync of the frame's folder", is_folder_sync);
    // A record that is durable before its frame would name bytes that a power cut took.
    let (record, _) = after(&calls, folder, "write of the record", |call| call.is_write_of("/journal."));
    let written = last_write(&calls, "/journal.").max(record);
    after(&calls, written, "sync of the journal", |call| call.is_sync_of("/journal."));
}

#[test]
fn class_ram_waits_for_no_disk() {
    // Also the proof that the other tests would see a sync that is missing.
    let calls = calls_of_a_push(200_000, "ram");
    assert!(calls.iter().any(|call| call.text.contains("PUT /v1/objects")), "{}", told(&calls));
    assert!(!calls.iter().any(|call| call.is_sync_of("/data/")), "{}", told(&calls));
}
