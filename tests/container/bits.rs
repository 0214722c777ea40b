//! Bits that flip on the disk and in the cloud while the container is down: frames, records, heads. Every answer
//! afterwards is right or an error; what is damaged is put aside and told of; the container starts all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Dice, Process, body_of, from_env, object, seed};

const PATIENCE: Duration = Duration::from_secs(30);

/// What was acknowledged, and must be there or be damaged.
#[derive(Default)]
struct Book {
    held: BTreeMap<String, Vec<u8>>,
    /// Versions that were replaced, by address and version.
    old: BTreeMap<(String, String), Vec<u8>>,
    deleted: BTreeSet<String>,
}

/// Where bits flip.
#[derive(Clone, Copy, Debug)]
enum Part {
    Frames,
    Store,
    Cloud,
    Everything,
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

impl Part {
    fn files(self, data: &Path) -> Vec<PathBuf> {
        match self {
            Part::Frames => files(&data.join("frames")),
            Part::Store => vec![data.join("store.redb")],
            Part::Cloud => files(&data.join("cloud")),
            Part::Everything => {
                [Part::Frames, Part::Store, Part::Cloud].iter().flat_map(|part| part.files(data)).collect()
            }
        }
    }
}

fn fill(process: &Process) -> Book {
    let mut book = Book::default();
    let mut connection = process.connect();
    let sizes = [150, 900, 6_000, 15_000, 30_000, 120_000, 1_500_000];
    // The bits of what goes to the cloud and leaves the disk, and of what stays.
    for n in 0..70u64 {
        let address = format!("bits-{}/{n:02}", if n % 5 == 0 { "cloud" } else { "disk" });
        let plain: &[(&str, &str)] = if n % 7 == 0 { &[("Mesh-Nfr", "encrypt=none; compress=none")] } else { &[] };
        for number in 0..=u64::from(n % 4 == 1) {
            let body = body_of(&address, number, sizes[n as usize % sizes.len()]);
            let answer = connection.request("PUT", &object(&address), plain, &body).unwrap();
            assert!(matches!(answer.status, 200 | 201), "{answer:?}");
            if number == 0 && n % 4 == 1 {
                let version = answer.header("mesh-version").unwrap().to_owned();
                book.old.insert((address.clone(), version), body.clone());
            }
            book.held.insert(address.clone(), body);
        }
        if n % 9 == 3 {
            connection.request("DELETE", &object(&address), &[], b"").unwrap().expect(204);
            book.held.remove(&address);
            book.old.retain(|(old, _), _| *old != address);
            book.deleted.insert(address);
        }
    }
    process.request("POST", "/v1/sync?collection=bits-cloud", &[], b"").expect(200);
    let out = br#"{"level":"disk","collection":"bits-cloud"}"#;
    process.request("POST", "/v1/admin/evict", &[], out).expect(200);
    book
}

/// Reads everything and fails on what is neither right nor an error. Gives what is damaged.
fn judge(process: &Process, book: &Book, dice: &mut Dice) -> BTreeSet<String> {
    let mut connection = process.connect();
    let mut damaged = BTreeSet::new();
    let mut ask = |path: &str, headers: &[(&str, &str)]| {
        let answer = connection.request("GET", path, headers, b"");
        if answer.is_err() {
            // Cut off within its body, as damage that is met late must be.
            connection = process.connect();
        }
        answer.ok()
    };
    for (address, body) in &book.held {
        let from = dice.below(body.len() as u64) as usize;
        let to = (from + dice.below(70_000) as usize).min(body.len() - 1);
        let range = format!("bytes={from}-{to}");
        for (headers, wanted) in [(&[("Range", range.as_str())][..], &body[from..=to]), (&[][..], &body[..])] {
            match ask(&object(address), headers) {
                Some(answer) if matches!(answer.status, 200 | 206) => {
                    assert!(answer.body == wanted, "{address} {headers:?}: wrong bytes");
                    let digest = format!("blake3:{}", blake3::hash(body).to_hex());
                    assert_eq!(answer.header("mesh-digest"), Some(digest.as_str()), "{address}");
                }
                Some(answer) => {
                    answer.expect_problem(500, "corrupt");
                    damaged.insert(address.clone());
                }
                None => drop(damaged.insert(address.clone())),
            }
        }
    }
    for ((address, version), body) in &book.old {
        if let Some(answer) = ask(&format!("{}?version={version}", object(address)), &[]) {
            match answer.status {
                200 => assert!(answer.body == *body, "{address} {version}: wrong bytes"),
                _ => drop(answer.expect_problem(500, "corrupt")),
            }
        }
    }
    for address in &book.deleted {
        let answer = ask(&object(address), &[]).unwrap();
        assert!(matches!(answer.status, 404 | 500), "{address} was deleted and answers {}", answer.status);
    }
    for collection in ["bits-cloud", "bits-disk"] {
        let Some(page) = ask(&format!("/v1/objects/{collection}?limit=1000"), &[]) else { panic!("no list") };
        if page.status == 200 {
            for item in page.json()["items"].as_array().unwrap() {
                let address = format!("{collection}/{}", item["key"].as_str().unwrap());
                assert!(book.held.contains_key(&address), "{address} is listed and was never there");
                assert_eq!(item["size"].as_u64(), Some(book.held[&address].len() as u64), "{address}");
            }
        } else {
            page.expect_problem(500, "corrupt");
        }
    }
    damaged
}

fn scrub(process: &Process) -> Value {
    process.request("POST", "/v1/admin/scrub", &[], b"").expect(202);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let report = process.request("GET", "/v1/admin/scrub", &[], b"").expect(200).json();
        if report["running"] == false {
            return report;
        }
        assert!(Instant::now() < deadline, "the scrub never ends: {report}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, place) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true => copy(&path, &place),
            // Made anew at the start.
            false if entry.file_name() == "reserve" => {}
            false => drop(fs::copy(&path, &place).unwrap()),
        }
    }
}

/// Flips random bits of random files; gives the files.
fn flip(files: &[PathBuf], bits: u64, dice: &mut Dice) -> BTreeSet<PathBuf> {
    let mut hit = BTreeSet::new();
    for _ in 0..bits {
        let path = &files[dice.below(files.len() as u64) as usize];
        let mut bytes = fs::read(path).unwrap();
        let at = dice.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << dice.below(8);
        fs::write(path, bytes).unwrap();
        hit.insert(path.clone());
    }
    hit
}

#[test]
fn flipped_bits_never_become_answers_and_never_stop_a_start() {
    let rounds = from_env("MESHSTORE_FLIP_ROUNDS", 12);
    println!("MESHSTORE_FLIP_ROUNDS={rounds}");
    let mut dice = Dice::new(seed());
    let mut process = Process::start(&["--set", "scrub.bytes_per_s=1GiB", "--set", "scrub.every=off"]);
    let book = fill(&process);
    process.terminate();
    let (data, sound) = (process.data(), process.folder().join("sound"));
    copy(&data, &sound);
    let mut found = 0;
    for round in 0..rounds {
        let part = [Part::Frames, Part::Store, Part::Cloud, Part::Everything][round as usize % 4];
        fs::remove_dir_all(&data).unwrap();
        copy(&sound, &data);
        let bits = 1 + dice.below(if matches!(part, Part::Store) { 300 } else { 30 });
        let hit = flip(&part.files(&data), bits, &mut dice);
        process.restart();
        let damaged = judge(&process, &book, &mut dice);
        found += damaged.len();
        let report = scrub(&process);
        let aside: BTreeSet<&str> =
            report["quarantine"].as_array().unwrap().iter().map(|one| one["address"].as_str().unwrap()).collect();
        if matches!(part, Part::Frames) {
            // Each frame is of one version: all that are damaged are put aside, newest or old.
            assert_eq!(report["quarantined"].as_u64(), Some(hit.len() as u64), "{hit:?}: {report}");
            assert!(damaged.iter().all(|address| aside.contains(address.as_str())), "{damaged:?}: {report}");
        }
        for again in [false, true] {
            if again {
                process.terminate();
                process.restart();
            }
            let still = judge(&process, &book, &mut dice);
            assert!(
                damaged.iter().all(|address| still.contains(address)),
                "round {round}: {damaged:?}, then {still:?}"
            );
        }
        for address in damaged.iter().take(3) {
            heal(&process, address, &book.held[address]);
            assert!(process.get(address).expect(200).body == book.held[address], "a push heals {address}");
        }
        heal(&process, "bits-disk/new", b"good");
        assert_eq!(process.get("bits-disk/new").expect(200).body, b"good");
        process.terminate();
        println!("round {round}: {bits} bits of {part:?}, {} objects damaged", damaged.len());
    }
    assert!(found as u64 >= rounds, "{found} damaged objects in {rounds} rounds prove too little");
}

/// Pushes over what may be damaged. Where the collection's own record was hit, it is first done what the answer says.
fn heal(process: &Process, address: &str, body: &[u8]) {
    let mut answer = process.put(address, body);
    if answer.status == 500 && answer.text().contains("`meshstore collection create`") {
        let collection = address.split('/').next().unwrap();
        let made = process.cli(&["collection", "create", collection], b"");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        answer = process.put(address, body);
    }
    assert!(matches!(answer.status, 200 | 201), "{address}: {}", answer.text());
}
