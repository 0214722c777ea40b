//! What users meet at the HTTP door and at the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::harness::{Process, body_of, object};

/// SHA-256 of `abc`, from the standard (FIPS 180-2, appendix B.1).
const SHA256_OF_ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn blake3_of(bytes: &[u8]) -> String {
    format!("blake3:{}", blake3::hash(bytes).to_hex())
}

#[test]
fn an_object_is_stored_read_overwritten_and_deleted() {
    let process = Process::start(&[]);
    // Small ones rest in the store, large ones in files, and of these some have several chunks.
    for (address, bytes) in
        [("life/empty", 0), ("life/small", 1_000), ("life/file", 200_000), ("life/a/b c", 2_500_000)]
    {
        let address = &address.replace(' ', "%20");
        let (first, second) = (body_of(address, 1, bytes), body_of(address, 2, bytes / 2));
        let (first, second) = if bytes == 0 { (Vec::new(), b"no longer empty".to_vec()) } else { (first, second) };
        let stored = process.put(address, &first).expect(201);
        assert_eq!(stored.header("mesh-durability"), Some("disk"));
        assert_eq!(stored.header("mesh-digest"), Some(blake3_of(&first).as_str()));
        let told = stored.json();
        assert_eq!(told["address"], address.replace("%20", " "));
        assert_eq!((told["size"].as_u64(), told["durability"].as_str()), (Some(first.len() as u64), Some("disk")));

        let read = process.get(address).expect(200);
        assert!(read.body == first, "{address}");
        for name in ["etag", "mesh-version", "mesh-digest", "mesh-durability"] {
            assert_eq!(read.header(name), stored.header(name), "{name}");
        }
        assert_eq!(read.header("etag"), Some(format!("\"{}\"", read.header("mesh-version").unwrap()).as_str()));
        let head = process.head(address).expect(200);
        assert_eq!(head.header("content-length"), Some(first.len().to_string().as_str()));
        assert_eq!(
            (head.header("etag"), head.header("mesh-digest")),
            (read.header("etag"), read.header("mesh-digest"))
        );
        let known = process.request("GET", &object(address), &[("If-None-Match", read.header("etag").unwrap())], b"");
        assert!(known.expect(304).body.is_empty());

        let over = process.put(address, &second).expect(200);
        assert!(over.header("mesh-version") > stored.header("mesh-version"), "a later version is greater");
        assert!(process.get(address).expect(200).body == second, "{address}");
        // The second delete finds nothing and is as good.
        for _ in 0..2 {
            assert!(process.delete(address).expect(204).body.is_empty());
            let problem = process.get(address).expect_problem(404, "not_found");
            assert_eq!(problem["address"], address.replace("%20", " "));
            assert_eq!(process.head(address).status, 404);
        }
        process.put(address, &first).expect(201);
    }
}

#[test]
fn what_was_stored_and_deleted_is_so_after_a_restart() {
    let mut process = Process::start(&[]);
    let large = body_of("keep/large", 1, 1_500_000);
    let headers = [("Content-Type", "text/csv"), ("Mesh-Meta-From", "edge")];
    let version = process.request("PUT", &object("keep/large"), &headers, &large).expect(201);
    process.put("keep/small", b"small").expect(201);
    process.put("keep/gone", b"gone").expect(201);
    process.delete("keep/gone").expect(204);
    process.terminate();
    process.restart();
    let read = process.get("keep/large").expect(200);
    assert!(read.body == large);
    assert_eq!((read.header("content-type"), read.header("mesh-meta-from")), (Some("text/csv"), Some("edge")));
    assert_eq!((read.header("etag"), read.header("mesh-level")), (version.header("etag"), Some("disk")));
    assert_eq!(process.get("keep/small").expect(200).body, b"small");
    process.get("keep/gone").expect_problem(404, "not_found");
    let over = process.put("keep/large", b"later").expect(200);
    assert!(over.header("mesh-version") > version.header("mesh-version"), "versions never go back");
}

#[test]
fn ranges_are_cut_exactly_and_refused_outside() {
    let mut process = Process::start(&[]);
    let data = body_of("ranges/one", 1, 2_200_000);
    process.put("ranges/one", &data).expect(201);
    // Once from memory, once from disk.
    for _ in 0..2 {
        for (range, from, to) in [
            ("bytes=0-0", 0, 1),
            ("bytes=5-1048580", 5, 1_048_581),
            ("bytes=1048576-1048576", 1_048_576, 1_048_577),
            ("bytes=2199990-", 2_199_990, 2_200_000),
            ("bytes=-7", 2_199_993, 2_200_000),
            ("bytes=2199999-9999999", 2_199_999, 2_200_000),
        ] {
            let part = process.request("GET", &object("ranges/one"), &[("Range", range)], b"").expect(206);
            assert!(part.body == data[from..to], "{range}: {} bytes", part.body.len());
            let told = format!("bytes {from}-{}/2200000", to - 1);
            assert_eq!(part.header("content-range"), Some(told.as_str()));
        }
        for range in ["bytes=2200000-", "bytes=-0", "bytes=9999999-99999999"] {
            let refused = process.request("GET", &object("ranges/one"), &[("Range", range)], b"");
            assert_eq!(refused.header("content-range"), Some("bytes */2200000"), "{range}");
            refused.expect_problem(416, "bad_range");
        }
        process.terminate();
        process.restart();
    }
}

#[test]
fn a_list_has_pages_in_order_below_a_prefix() {
    let process = Process::start(&[]);
    let keys = ["a/1", "a/2", "a/3", "a/4", "a/5", "ab", "b/1"];
    keys.iter().for_each(|key| drop(process.put(&format!("pages/{key}"), key.as_bytes()).expect(201)));
    process.put("pages-too/other", b"").expect(201);
    let page = |query: &str| {
        let page = process.request("GET", &format!("/v1/objects/pages{query}"), &[], b"").expect(200).json();
        let keys = page["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned());
        (keys.collect::<Vec<_>>(), page["next"].as_str().map(str::to_owned))
    };
    assert_eq!(page(""), (keys.map(str::to_owned).to_vec(), None));
    assert_eq!(page("?prefix=a/").0, keys[..5]);
    assert_eq!(page("?prefix=a%2F&after=a/3").0, keys[3..5]);
    let (mut seen, mut after) = (Vec::new(), String::new());
    for _ in 0..3 {
        let (items, next) = page(&format!("?prefix=a/&limit=2&after={after}"));
        assert!(items.len() <= 2, "{items:?}");
        seen.extend(items);
        let Some(next) = next else { break };
        after = next;
    }
    assert_eq!(seen, keys[..5]);
    assert_eq!(page("?prefix=nothing"), (Vec::new(), None));

    let first = process.request("GET", "/v1/objects/pages?limit=1", &[], b"").expect(200).json()["items"][0].clone();
    let stat = process.head("pages/a/1").expect(200);
    assert_eq!(first["version"].as_str(), stat.header("mesh-version"));
    assert_eq!((first["size"].as_u64(), first["digest"].as_str()), (Some(3), Some(blake3_of(b"a/1").as_str())));
    for bad in ["?limit=0", "?limit=1001", "?limit=x", "?colour=red"] {
        process.request("GET", &format!("/v1/objects/pages{bad}"), &[], b"").expect_problem(400, "invalid");
    }
}

#[test]
fn a_body_that_is_not_what_its_digest_says_is_not_stored() {
    let process = Process::start(&[]);
    for bytes in [100, 300_000, 3_000_000] {
        let (before, sent) = (body_of("digest/there", 1, bytes), body_of("digest/there", 2, bytes));
        process.delete("digest/there").expect(204);
        process.put("digest/there", &before).expect(201);
        let wrong = blake3_of(b"something else");
        for address in ["digest/there", "digest/new"] {
            let refused = process.request("PUT", &object(address), &[("Content-Digest", &wrong)], &sent);
            refused.expect_problem(412, "precondition_failed");
        }
        assert!(process.get("digest/there").expect(200).body == before);
        process.get("digest/new").expect_problem(404, "not_found");
        let right = blake3_of(&sent);
        process.request("PUT", &object("digest/there"), &[("Content-Digest", &right)], &sent).expect(200);
        assert!(process.get("digest/there").expect(200).body == sent);
    }
    // The RFC's spelling and algorithm.
    let rfc = ("Content-Digest", "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:");
    process.request("PUT", &object("digest/abc"), &[rfc], b"abc").expect(201);
    process.request("PUT", &object("digest/abc"), &[rfc], b"abd").expect_problem(412, "precondition_failed");
    process
        .request("PUT", &object("digest/abc"), &[("Content-Digest", "md5=:eA==:")], b"x")
        .expect_problem(400, "invalid");
}

#[test]
fn a_body_cut_short_is_not_stored() {
    let mut process = Process::start(&[]);
    for bytes in [1_000, 3_000_000] {
        let data = body_of("cut/short", 1, bytes);
        let mut connection = process.connect();
        connection.begin("PUT", &object("cut/short"), &[], data.len() as u64).unwrap();
        connection.send(&data[..bytes / 2]).unwrap();
        drop(connection);
        // Nobody waits for the rest of it.
        process.put("cut/other", &data).expect(if bytes == 1_000 { 201 } else { 200 });
        process.get("cut/short").expect_problem(404, "not_found");
    }
    // An orderly stop finishes whatever is still at work.
    process.terminate();
    process.restart();
    process.get("cut/short").expect_problem(404, "not_found");
}

#[test]
fn class_ram_says_so_and_an_orderly_stop_writes_it_out() {
    let mut process = Process::start(&[]);
    let bodies: Vec<_> =
        [10, 300_000, 2_000_000].map(|bytes| (format!("ram/{bytes}"), body_of("ram", 1, bytes))).into();
    for (address, body) in &bodies {
        let stored = process.request("PUT", &object(address), &[("Mesh-Durability", "ram")], body).expect(201);
        assert_eq!(stored.header("mesh-durability"), Some("ram"));
        let read = process.get(address).expect(200);
        assert_eq!((read.header("mesh-durability"), read.header("mesh-level")), (Some("ram"), Some("ram")));
        assert!(read.body == *body, "{address}");
    }
    process.terminate();
    process.restart();
    for (address, body) in &bodies {
        assert!(process.get(address).expect(200).body == *body, "{address}");
    }
}

/// Whether any file of the container holds these bytes.
fn on_disk(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            on_disk(&path, bytes)
        } else {
            fs::read(&path).unwrap().windows(bytes.len()).any(|w| w == bytes)
        }
    })
}

#[test]
fn an_object_is_sealed_as_asked() {
    let mut process = Process::start(&[]);
    let text: Vec<u8> = b"the same words again and again; ".iter().copied().cycle().take(400_000).collect();
    let mut stored = Vec::new();
    for encrypt in ["aes256gcm", "none"] {
        for compress in ["auto", "zstd", "lz4", "none"] {
            for digest in ["blake3", "sha256"] {
                let nfr = format!("encrypt={encrypt}; compress={compress}; digest={digest}");
                for body in [&text[..], b"abc"] {
                    let address = format!("nfr/{encrypt}/{compress}/{digest}/{}", body.len());
                    let answer = process.request("PUT", &object(&address), &[("Mesh-Nfr", &nfr)], body).expect(201);
                    let told = answer.header("mesh-digest").unwrap();
                    assert!(told.starts_with(&format!("{digest}:")), "{nfr}: {told}");
                    if body == b"abc" && digest == "sha256" {
                        assert_eq!(told, SHA256_OF_ABC);
                    }
                    stored.push((address, body.to_vec()));
                }
            }
        }
    }
    process.terminate();
    process.restart();
    for (address, body) in stored {
        assert!(process.get(&address).expect(200).body == body, "{address}");
    }
    for bad in ["encrypt=rot13", "colour=red", "digest=md5", "compress"] {
        process.request("PUT", &object("nfr/bad"), &[("Mesh-Nfr", bad)], b"x").expect_problem(400, "invalid");
    }
}

#[test]
fn only_what_asked_for_no_encryption_can_be_read_on_disk() {
    let process = Process::start(&[]);
    for bytes in [500, 300_000] {
        for (address, nfr, secret, readable) in [
            ("secret/sealed", "compress=none", "words that nobody else may read", false),
            ("secret/open", "compress=none; encrypt=none", "words that everybody may read", true),
        ] {
            let body = [secret.as_bytes(), &body_of(address, 1, bytes)].concat();
            assert_eq!(process.request("PUT", &object(address), &[("Mesh-Nfr", nfr)], &body).status / 100, 2);
            assert_eq!(on_disk(&process.data(), secret.as_bytes()), readable, "{address} of {bytes}");
            assert!(process.get(address).expect(200).body == body);
        }
    }
}

#[test]
fn pages_of_other_sites_are_refused() {
    let process = Process::start(&[]);
    process.put("guard/one", b"private").expect(201);
    let own = format!("http://{}", process.addr());
    for (method, address) in [("GET", "guard/one"), ("PUT", "guard/two"), ("DELETE", "guard/one")] {
        for header in [
            ("Host", "evil.example"),
            ("Host", "localhost.evil.example:7700"),
            ("Origin", "http://evil.example"),
            ("Origin", "null"),
            ("Origin", "http://localhost:3000"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
        ] {
            process.request(method, &object(address), &[header], b"").expect_problem(403, "forbidden");
        }
    }
    process.get("guard/two").expect_problem(404, "not_found");
    let same = process.request("GET", &object("guard/one"), &[("Origin", &own)], b"").expect(200);
    assert_eq!(same.body, b"private");
    assert_eq!(same.header("access-control-allow-origin"), None);
    process.request("GET", &object("guard/one"), &[("Host", "localhost")], b"").expect(200);
}

#[test]
fn names_and_keys_that_cannot_be_are_refused() {
    let process = Process::start(&[]);
    let long = format!("names/{}", "k".repeat(1025));
    let wide = format!("{}/k", "n".repeat(64));
    for address in [
        "Upper/k",
        "push/k",
        "-a/k",
        "under_score/k",
        "a%2Fb/k",
        "names/",
        "names//k",
        "names/a//b",
        "names/a/",
        "names/../k",
        "names/a/./b",
        "names/%2e%2e/k",
        "names/%00",
        "names/%0a",
        "names/%zz",
        "names/%ff",
        &long,
        &wide,
    ] {
        for method in ["PUT", "GET", "DELETE"] {
            let problem = process.request(method, &object(address), &[], b"").expect_problem(400, "invalid");
            assert!(!problem["detail"].as_str().unwrap().is_empty());
        }
    }
    let longest = format!("names/{}", "k".repeat(1024));
    for address in ["names/%C3%A9t%C3%A9", "names/a%20b%25", "names/..a", longest.as_str()] {
        process.put(address, address.as_bytes()).expect(201);
        assert_eq!(process.get(address).expect(200).body, address.as_bytes());
    }
    process.request("PUT", &object("names/k"), &[("Mesh-Durability", "stone")], b"").expect_problem(400, "invalid");
    process.request("GET", "/v1/nothing", &[], b"").expect_problem(404, "not_found");
    let wrong = process.request("POST", &object("names/k"), &[], b"").expect(405);
    assert_eq!(wrong.header("allow"), Some("GET, HEAD, PUT, DELETE"));
}

#[test]
fn what_is_not_built_yet_says_so() {
    let process = Process::start(&[]);
    for class in ["replicas:2", "cloud"] {
        let header = ("Mesh-Durability", class);
        process.request("PUT", &object("later/k"), &[header], b"x").expect_problem(501, "unimplemented");
    }
    // A promise that cannot be kept is refused, not kept in part.
    process.get("later/k").expect_problem(404, "not_found");
    for path in ["/v1/functions", "/v1/tasks/1", "/v1/state/g/k"] {
        process.request("GET", path, &[], b"").expect_problem(501, "unimplemented");
    }
}

#[test]
fn a_container_says_that_it_lives_and_is_ready() {
    let process = Process::start(&[]);
    process.request("GET", "/healthz", &[], b"").expect(200);
    process.request("GET", "/readyz", &[], b"").expect(200);
}

#[test]
fn an_object_above_the_limit_is_refused_with_and_without_a_length() {
    let process = Process::start_with_env(&[], &[("MESHSTORE__LIMITS__OBJECT_BYTES_MAX", "1MiB")]);
    process.put("limit/fits", &vec![1; 1 << 20]).expect(201);
    process.put("limit/over", &vec![1; (1 << 20) + 1]).expect_problem(413, "too_large");
    let mut connection = process.connect();
    connection.begin("PUT", &object("limit/over"), &[("Transfer-Encoding", "chunked")], 0).unwrap();
    // The container may have answered and closed before the last of it is sent.
    for _ in 0..32 {
        if connection.send(format!("10000\r\n{}\r\n", "x".repeat(0x10000)).as_bytes()).is_err() {
            break;
        }
    }
    assert_eq!(connection.answer().unwrap().status, 413);
    process.get("limit/over").expect_problem(404, "not_found");
}

#[test]
fn two_containers_never_share_a_data_folder() {
    let mut process = Process::start(&[]);
    process.put("alone/k", b"mine").expect(201);
    let refused = process.start_second();
    assert_eq!(refused.code, Some(23), "unavailable; {refused:?}");
    let lock = process.data().join("lock");
    assert!(refused.stderr.contains(lock.to_str().unwrap()), "{refused:?}");
    assert!(refused.stderr.contains("another container is running"), "{refused:?}");
    assert_eq!(process.get("alone/k").expect(200).body, b"mine", "the first one goes on");
    // A killed container leaves no lock behind.
    process.kill9();
    process.restart();
    assert_eq!(process.get("alone/k").expect(200).body, b"mine");
}

#[test]
fn a_wrong_configuration_is_refused_by_name() {
    let output = |args: &[&str], env: &[(&str, &str)]| {
        let refused = Process::refused(args, env);
        (refused.code, refused.stderr)
    };
    assert_eq_code(&output(&["--set", "memory.bugdet=1"], &[]), 10, &["memory.bugdet"]);
    assert_eq_code(&output(&["--set", "memory.budget_bytes=lots"], &[]), 10, &["memory.budget_bytes", "lots"]);
    assert_eq_code(&output(&[], &[("MESHSTORE__MEMORY__BUGDET", "1")]), 10, &["MESHSTORE__MEMORY__BUGDET"]);
    assert_eq_code(&output(&["--http", "0.0.0.0:0"], &[]), 10, &["http.addr", "0.0.0.0:0"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("site.toml");
    fs::write(&file, "[site]\nname = \"edge\"\ncolour = \"red\"\n[store]\ncache_bytes = \"much\"\n").unwrap();
    let name = file.to_str().unwrap();
    // All faults at once, each with its place.
    let told = output(&["--config", name], &[]);
    assert_eq_code(&told, 10, &["site.colour", "site.toml:3", "store.cache_bytes", "site.toml:5"]);
    assert_eq_code(&output(&["--config", "/no/such/site.toml"], &[]), 13, &["/no/such/site.toml"]);
}

fn refused_output(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn assert_eq_code((code, stderr): &(Option<i32>, String), expected: i32, words: &[&str]) {
    assert_eq!(*code, Some(expected), "{stderr}");
    words.iter().for_each(|word| assert!(stderr.contains(word), "{word}: {stderr}"));
}

#[test]
fn a_keyring_that_others_can_read_or_that_is_gone_is_refused() {
    let mut process = Process::start(&[]);
    let keys = process.data().join("keys.toml");
    let mode = |mode| fs::set_permissions(&keys, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o600, "made private");
    process.put("keys/k", b"sealed").expect(201);
    process.terminate();

    let refused = |process: &mut Process, words: [&str; 2]| {
        let refused = process.try_restart().expect_err("it must not start");
        assert_eq_code(&(refused.code, refused.stderr), 10, &words);
    };
    mode(0o644);
    refused(&mut process, [keys.to_str().unwrap(), "chmod 600"]);
    mode(0o600);
    let aside = process.folder().join("aside");
    fs::rename(&keys, &aside).unwrap();
    refused(&mut process, [keys.to_str().unwrap(), "missing"]);
    assert!(!keys.exists(), "a fresh keyring could open nothing that is here");
    let other = Process::start(&[]);
    fs::copy(other.data().join("keys.toml"), &keys).unwrap();
    refused(&mut process, [keys.to_str().unwrap(), "does not open the objects"]);
    fs::remove_file(&keys).unwrap();
    fs::write(&keys, "").unwrap();
    mode(0o600);
    refused(&mut process, [keys.to_str().unwrap(), "keyring"]);

    fs::rename(&aside, &keys).unwrap();
    process.restart();
    assert_eq!(process.get("keys/k").expect(200).body, b"sealed");
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn files_and_stdin_go_in_and_come_out_at_the_command_line() {
    let process = Process::start(&[]);
    let folder = process.folder();
    let (file, piped) = (body_of("cli/file", 1, 1_300_000), body_of("cli/piped", 1, 2_100_000));
    fs::write(folder.join("in.bin"), &file).unwrap();
    let told = done(&process.cli(&["push", "in.bin", "cli/file", "--content-type", "text/csv", "--json"], b""));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["address"], told["size"].as_u64()), (&Value::from("cli/file"), Some(file.len() as u64)));
    assert_eq!(told["durability"], "disk");
    done(&process.cli(&["push", "-", "cli/piped", "--durability", "ram", "--meta", "from=edge"], &piped));

    done(&process.cli(&["pull", "cli/file", "out.bin"], b""));
    assert!(fs::read(folder.join("out.bin")).unwrap() == file);
    let out = process.cli(&["pull", "cli/piped", "-"], b"");
    assert!(out.status.success() && out.stdout == piped);
    let out = process.cli(&["pull", "cli/file", "-", "--range", "5-9"], b"");
    assert!(out.status.success() && out.stdout == file[5..10]);

    let stat: Value = serde_json::from_str(&done(&process.cli(&["stat", "cli/piped", "--json"], b""))).unwrap();
    assert_eq!((stat["size"].as_u64(), stat["durability"].as_str()), (Some(piped.len() as u64), Some("ram")));
    assert_eq!(
        (stat["digest"].as_str(), &stat["meta"]["from"]),
        (Some(blake3_of(&piped).as_str()), &Value::from("edge"))
    );
    let stat = done(&process.cli(&["stat", "cli/file"], b""));
    assert!(stat.contains("text/csv") && stat.contains("1300000"), "{stat}");

    done(&process.cli(&["rm", "cli/file"], b""));
    done(&process.cli(&["rm", "cli/file"], b""));
    let listed = done(&process.cli(&["ls", "cli", "--json"], b""));
    let items: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(items.len(), 1, "{listed}");
    assert_eq!((&items[0]["address"], items[0]["size"].as_u64()), (&"cli/piped".into(), Some(piped.len() as u64)));
}

#[test]
fn folders_go_in_and_come_out_at_the_command_line() {
    let process = Process::start(&[]);
    let folder = process.folder();
    let files = ["top.txt", "sub/one.bin", "sub/deep/two.bin"];
    fs::create_dir_all(folder.join("in/sub/deep")).unwrap();
    files.iter().for_each(|name| fs::write(folder.join("in").join(name), body_of(name, 1, 70_000)).unwrap());
    done(&process.cli(&["push", "-r", "in", "tree/copy"], b""));
    let mut listed: Vec<_> = done(&process.cli(&["ls", "tree/copy/"], b"")).lines().map(str::to_owned).collect();
    listed.sort_unstable();
    assert_eq!(listed, ["copy/sub/deep/two.bin", "copy/sub/one.bin", "copy/top.txt"]);

    done(&process.cli(&["pull", "-r", "tree/copy", "out"], b""));
    for name in files {
        assert!(fs::read(folder.join("out").join(name)).unwrap() == body_of(name, 1, 70_000), "{name}");
    }
    done(&process.cli(&["rm", "-r", "tree/copy/sub"], b""));
    assert_eq!(done(&process.cli(&["ls", "tree"], b"")), "copy/top.txt\n");
}

#[test]
fn keys_that_cannot_lie_in_one_folder_do_not_keep_the_others() {
    let process = Process::start(&[]);
    for key in ["a", "a/b", "z"] {
        process.put(&format!("tree/{key}"), key.as_bytes()).expect(201);
    }
    let output = process.cli(&["pull", "-r", "tree", "out"], b"");
    assert_eq_code(&refused_output(&output), 10, &["left out a/b", "left_out: 1", "of: 3"]);
    let out = process.folder().join("out");
    assert_eq!((fs::read(out.join("a")).unwrap(), fs::read(out.join("z")).unwrap()), (b"a".into(), b"z".into()));
}

#[test]
fn a_list_of_what_is_not_there_is_no_empty_list() {
    let process = Process::start(&[]);
    assert_eq_code(&refused_output(&process.cli(&["ls", "nothere"], b"")), 13, &["nothere"]);
    process.put("there/k", b"x").expect(201);
    process.delete("there/k").expect(204);
    assert_eq!(done(&process.cli(&["ls", "there"], b"")), "");
}

#[test]
fn the_exit_code_names_the_kind_of_failure() {
    let mut process = Process::start(&[]);
    for (code, args) in [
        (13, &["stat", "codes/missing"][..]),
        (13, &["pull", "codes/missing", "out"]),
        (13, &["push", "no-such-file", "codes/k"]),
        (10, &["push", "-", "UPPER/k"]),
        (10, &["push", ".", "codes/k"]),
        (2, &["push"]),
        (2, &["push", "-", "codes/k", "--durability", "replicas:2"]),
    ] {
        let output = process.cli(args, b"x");
        assert_eq_code(&refused_output(&output), code, &["error: "]);
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    assert!(!process.folder().join("out").exists(), "a pull that fails leaves no file");
    done(&process.cli(&["push", "-", "codes/k"], b"x"));
    assert_eq_code(&refused_output(&process.cli(&["pull", "codes/k", "-", "--range", "9-"], b"")), 17, &["range"]);
    let addr = process.addr();
    process.terminate();
    let mut command = crate::harness::binary();
    let url = format!("http://{addr}");
    let output = command.args(["stat", "codes/k", "--url", &url]).output().unwrap();
    assert_eq_code(&refused_output(&output), 23, &[&addr.to_string()]);
}
