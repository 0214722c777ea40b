//! Who may use a container: tokens, scopes, foreign pages, TLS, limits, and what the log says of it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{Connection, Process, Response, binary, object};

/// A container that asks everybody for a token.
fn closed() -> Process {
    Process::start(&["--set", "auth.required=true"])
}

fn root_token(process: &Process) -> String {
    fs::read_to_string(process.data().join("root.token")).unwrap().trim().to_owned()
}

fn with(process: &Process, token: &str, method: &str, path: &str, body: &[u8]) -> Response {
    process.request(method, path, &[("Authorization", &format!("Bearer {token}"))], body)
}

/// The command line with variables of its own.
fn cli(process: &Process, env: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = binary();
    command.env("MESHSTORE_URL", format!("http://{}", process.addr())).envs(env.iter().copied());
    command.args(args).output().unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().trim().to_owned()
}

fn create(process: &Process, root: &str, document: &Value) -> Response {
    with(process, root, "POST", "/v1/admin/tokens", document.to_string().as_bytes())
}

#[test]
fn without_a_token_only_health_is_answered() {
    let process = closed();
    for open in ["/healthz", "/readyz"] {
        process.request("GET", open, &[], b"").expect(200);
    }
    for path in ["/v1/objects/c/k", "/v1/objects/c", "/v1/admin/tokens", "/v1/batch", "/metrics", "/nothing"] {
        let answer = process.request("GET", path, &[], b"");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{path}");
        answer.expect_problem(401, "unauthorised");
    }
    let output = process.cli(&["ls", "c"], b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(11) && said.contains("MESHSTORE_TOKEN"), "{said}");
}

#[test]
fn a_refused_upload_is_answered_before_its_body_is_sent() {
    let process = closed();
    let mut connection = process.connect();
    // Not one byte of the body follows.
    connection.begin("PUT", &object("c/k"), &[], 50_000_000).unwrap();
    assert_eq!(connection.answer().unwrap().status, 401);
}

#[test]
fn a_root_token_makes_others_and_each_reaches_as_far_as_its_scopes() {
    let process = closed();
    let path = process.data().join("root.token");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let root = root_token(&process);
    let file = path.to_str().unwrap();
    let env = [("MESHSTORE_TOKEN_FILE", file)];
    let writer = printed(&cli(
        &process,
        &env,
        &["token", "create", "--subject", "ada", "--scope", "write:meteo", "--scope", "read:meteo"],
    ));
    let reader = create(&process, &root, &json!({"subject": "bob", "groups": ["lab"], "scopes": ["read:meteo"]}));
    let reader = reader.expect(201).json();
    let reader = reader["token"].as_str().unwrap();

    with(&process, &writer, "PUT", &object("meteo/k"), b"cold").expect(201);
    assert_eq!(with(&process, reader, "GET", &object("meteo/k"), b"").expect(200).body, b"cold");
    let narrow = with(&process, reader, "PUT", &object("meteo/k"), b"warm").expect_problem(403, "forbidden");
    assert!(narrow["detail"].as_str().unwrap().contains("write:meteo"), "{narrow}");
    for (method, path) in [("GET", object("other/k")), ("GET", object("other")), ("DELETE", object("meteo/k"))] {
        with(&process, reader, method, &path, b"").expect_problem(403, "forbidden");
    }
    with(&process, &writer, "GET", "/v1/admin/tokens", b"").expect_problem(403, "forbidden");
    assert_eq!(with(&process, reader, "GET", &object("meteo/k"), b"").expect(200).body, b"cold");

    let listed = printed(&cli(&process, &env, &["token", "ls"]));
    assert!(listed.contains("ada") && listed.contains("read:meteo") && listed.lines().count() == 4, "{listed}");
    for secret in [&root, &writer, reader] {
        assert!(!listed.contains(&secret[21..]), "{listed}");
    }
    // The command line carries a token of its own.
    let pulled = cli(&process, &[("MESHSTORE_TOKEN", reader)], &["pull", "meteo/k", "-"]);
    assert_eq!(printed(&pulled), "cold");
    let pulled = cli(&process, &[("MESHSTORE_TOKEN", &writer)], &["pull", "meteo/k", "-", "--token-file", file]);
    assert_eq!(printed(&pulled), "cold");
    assert_eq!(cli(&process, &[], &["pull", "meteo/k", "-"]).status.code(), Some(11));
    assert_eq!(cli(&process, &[("MESHSTORE_TOKEN", reader)], &["rm", "meteo/k"]).status.code(), Some(12));
}

#[test]
fn the_last_token_that_may_make_others_is_not_revoked() {
    let process = closed();
    let root = root_token(&process);
    let id = root.split('_').nth(1).unwrap();
    create(&process, &root, &json!({"subject": "ada", "scopes": ["read"]})).expect(201);
    let said = cli(&process, &[("MESHSTORE_TOKEN", &root)], &["token", "revoke", id]);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.code() == Some(15) && text.contains("root.token"), "{text}");
    let other = create(&process, &root, &json!({"subject": "eve", "scopes": ["admin"]})).expect(201).json();
    printed(&cli(&process, &[("MESHSTORE_TOKEN", &root)], &["token", "revoke", id]));
    with(&process, &root, "GET", "/v1/admin/tokens", b"").expect_problem(401, "unauthorised");
    with(&process, other["token"].as_str().unwrap(), "GET", "/v1/admin/tokens", b"").expect(200);
}

#[test]
fn a_revoked_token_ends_at_once_and_stays_ended_after_a_restart() {
    let mut process = closed();
    let root = root_token(&process);
    let made = create(&process, &root, &json!({"subject": "ada", "scopes": ["read"]})).expect(201).json();
    let kept = create(&process, &root, &json!({"subject": "bob", "scopes": ["read"]})).expect(201).json();
    let (token, kept) = (made["token"].as_str().unwrap(), kept["token"].as_str().unwrap());
    with(&process, token, "GET", &object("c"), b"").expect(200);
    let id = made["id"].as_str().unwrap();
    printed(&cli(&process, &[("MESHSTORE_TOKEN", &root)], &["token", "revoke", id]));
    let refused = with(&process, token, "GET", &object("c"), b"").expect_problem(401, "unauthorised");
    assert!(refused["detail"].as_str().unwrap().contains("revoked"), "{refused}");
    process.kill9();
    process.restart();
    with(&process, token, "GET", &object("c"), b"").expect_problem(401, "unauthorised");
    with(&process, kept, "GET", &object("c"), b"").expect(200);
    with(&process, &root, "DELETE", "/v1/admin/tokens/0000000000000000", b"").expect_problem(404, "not_found");
    with(&process, &root, "GET", &format!("/v1/admin/tokens/{id}"), b"").expect(200);
}

#[test]
fn a_wrong_expired_or_malformed_token_is_refused_also_on_loopback() {
    let process = Process::start(&[]);
    let document = json!({"subject": "ada", "scopes": ["read"], "expires_in_s": 1});
    // On loopback nobody needs a token, not even to make one.
    let made = process.request("POST", "/v1/admin/tokens", &[], document.to_string().as_bytes()).expect(201).json();
    let token = made["token"].as_str().unwrap();
    assert!(!process.data().join("root.token").exists());
    let wrong = format!("{}{}", &token[..token.len() - 1], if token.ends_with('0') { '1' } else { '0' });
    for bad in [wrong.as_str(), "ms1_", "nonsense", "", &token.to_uppercase()] {
        let answer = with(&process, bad, "GET", &object("c"), b"");
        let problem = answer.expect_problem(401, "unauthorised");
        assert!(bad.is_empty() || bad.len() < 9 || !problem.to_string().contains(bad), "{problem}");
    }
    process.request("GET", &object("c"), &[("Authorization", "Basic eDp5")], b"").expect_problem(401, "unauthorised");
    process.request("GET", &object("c"), &[], b"").expect(200);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let answer = with(&process, token, "GET", &object("c"), b"");
        if answer.status == 401 {
            let problem = answer.expect_problem(401, "unauthorised");
            assert!(problem["detail"].as_str().unwrap().contains("expired"), "{problem}");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the token did not expire");
    }
}

#[test]
fn impossible_tokens_are_refused_with_what_is_wrong() {
    let process = Process::start(&[]);
    for (document, word) in [
        (json!({"subject": "a", "scopes": ["fly"]}), "fly"),
        (json!({"subject": "a", "scopes": []}), "scope"),
        (json!({"subject": "", "scopes": ["read"]}), "subject"),
        (json!({"subject": "a", "scopes": ["read:A"]}), "name"),
        (json!({"subject": "a", "scopes": ["read"], "expires_in_s": 0}), "expires"),
        (json!({"subject": "a", "scopes": ["read"], "admin": true}), "admin"),
        (json!(7), "JSON"),
    ] {
        let answer = process.request("POST", "/v1/admin/tokens", &[], document.to_string().as_bytes());
        let problem = answer.expect_problem(400, "invalid");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
    let large = vec![b' '; 70_000];
    process.request("POST", "/v1/admin/tokens", &[], &large).expect_problem(413, "too_large");
    process.request("PUT", "/v1/admin/tokens", &[], b"").expect(405);
}

#[test]
fn a_root_token_that_others_can_read_is_refused_and_a_removed_one_is_replaced() {
    let mut process = closed();
    let first = root_token(&process);
    process.terminate();
    let path = process.data().join("root.token");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = process.try_restart().unwrap_err();
    assert!(refused.stderr.contains("root.token") && refused.stderr.contains("chmod 600"), "{refused:?}");
    assert!(!refused.stderr.contains(&first[21..]));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    process.restart();
    with(&process, &first, "GET", &object("c"), b"").expect(200);
    process.terminate();
    fs::remove_file(&path).unwrap();
    process.restart();
    let second = root_token(&process);
    with(&process, &second, "GET", &object("c"), b"").expect(200);
    with(&process, &first, "GET", &object("c"), b"").expect_problem(401, "unauthorised");
    process.terminate();
    // A root token that was made for the whole site is put there by hand.
    fs::write(&path, format!("ms1_{}_{}\n", "1".repeat(16), "2".repeat(64))).unwrap();
    process.restart();
    with(&process, &root_token(&process), "GET", &object("c"), b"").expect(200);
    process.terminate();
    fs::write(&path, "no token at all").unwrap();
    let refused = process.try_restart().unwrap_err();
    assert!(refused.stderr.contains("root.token") && !refused.stderr.contains("no token at all"), "{refused:?}");
}

#[test]
fn a_page_of_another_origin_is_refused_whatever_token_it_has() {
    let process = closed();
    let bearer = format!("Bearer {}", root_token(&process));
    for foreign in [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site"), ("Host", "evil.example")] {
        let headers = [("Authorization", bearer.as_str()), foreign];
        process.request("GET", &object("c"), &headers, b"").expect_problem(403, "forbidden");
    }
}

#[test]
fn beyond_loopback_there_are_tokens_and_plain_text_only_by_name() {
    let refused = Process::refused(&["--http", "0.0.0.0:0"], &[]);
    assert!(refused.stderr.contains("http.plaintext"), "{refused:?}");
    let off =
        Process::refused(&["--http", "0.0.0.0:0", "--set", "http.plaintext=true", "--set", "auth.required=false"], &[]);
    assert!(off.stderr.contains("auth.required"), "{off:?}");
    let process = Process::start(&["--http", "0.0.0.0:0", "--set", "http.plaintext=true"]);
    let mut near = Connection::open(SocketAddr::from(([127, 0, 0, 1], process.addr().port()))).unwrap();
    assert_eq!(near.request("GET", &object("c"), &[], b"").unwrap().status, 401);
    let bearer = format!("Bearer {}", root_token(&process));
    assert_eq!(near.request("GET", &object("c"), &[("Authorization", &bearer)], b"").unwrap().status, 200);
    assert!(Path::new(&process.data().join("root.token")).exists());
}

#[test]
fn each_administrative_action_leaves_a_line_that_says_who_did_what() {
    let process = closed();
    let root = root_token(&process);
    let made = create(&process, &root, &json!({"subject": "ada", "scopes": ["read:meteo"]})).expect(201).json();
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    with(&process, token, "PUT", "/v1/collections/meteo", b"{}").expect_problem(403, "forbidden");
    with(&process, &root, "PUT", "/v1/collections/meteo", b"{}").expect(201);
    with(&process, "ms1_no", "POST", "/v1/admin/drain", b"").expect_problem(401, "unauthorised");
    // A whole token where its id is meant.
    with(&process, &root, "DELETE", &format!("/v1/admin/tokens/{token}"), b"").expect_problem(400, "invalid");
    with(&process, &root, "DELETE", &format!("/v1/admin/tokens/{id}"), b"").expect(204);
    // Reading and storing are no administration.
    with(&process, &root, "PUT", &object("meteo/k"), b"x").expect(201);
    let lines = with(&process, &root, "GET", "/v1/admin/audit", b"").expect(200).json();
    let lines: Vec<String> = lines["audit"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {} {}", text("subject"), text("action"), text("on"), line["status"], text("note"))
        })
        .collect();
    let expected = [
        format!("root DELETE /v1/admin/tokens/{id} 204 -"),
        "root DELETE /v1/admin/tokens/ms1_… 400 -".to_owned(),
        "- POST /v1/admin/drain 401 -".to_owned(),
        "root PUT /v1/collections/meteo 201 -".to_owned(),
        "- PUT /v1/collections/meteo 403 -".to_owned(),
        format!("root POST /v1/admin/tokens 201 token {id} for ada: read:meteo"),
    ];
    assert_eq!(lines, expected);
    // In the log as well, though it is told to be quiet.
    let said = process.said();
    assert_eq!(
        said.lines().filter(|line| line.contains("audit") && line.contains("administered")).count(),
        6,
        "{said}"
    );
    let shown = printed(&cli(&process, &[("MESHSTORE_TOKEN", &root)], &["admin", "audit"]));
    assert!(shown.contains("read:meteo") && !shown.contains(&token[21..]), "{shown}");
}

#[test]
fn no_secret_is_in_a_log_an_answer_a_command_line_or_the_configuration() {
    let mut process = Process::start(&["--set", "auth.required=true", "--set", "log.level=trace"]);
    let root = root_token(&process);
    let made = create(&process, &root, &json!({"subject": "ada", "scopes": ["read"]})).expect(201).json();
    let token = made["token"].as_str().unwrap();
    let keyring = fs::read_to_string(process.data().join("keys.toml")).unwrap();
    let key = keyring.lines().find_map(|line| line.strip_prefix("secret = \"")).unwrap().trim_end_matches('"');
    assert_eq!(key.len(), 64);
    with(&process, &root, "PUT", &object("c/k"), &[7; 100_000]).expect(201);

    let mut seen = Vec::new();
    // Wherever a token is put by mistake, it is not repeated to others.
    let broken = format!("{}0", &token[..token.len() - 1]);
    for (sent, method, path) in [
        (token, "GET", object("c/k")),
        (token, "PUT", object("c/k")),
        (&broken, "GET", object("c/k")),
        (&root, "GET", "/v1/admin/tokens".to_owned()),
        (&root, "GET", "/v1/admin/config".to_owned()),
        (&root, "GET", "/v1/admin/audit".to_owned()),
    ] {
        seen.push(with(&process, sent, method, &path, b"x").text());
    }
    with(&process, &root, "DELETE", &format!("/v1/admin/tokens/{token}"), b"").expect(400);
    for (method, path) in [("POST", "/v1/admin/keys/rotate"), ("POST", "/v1/admin/keys"), ("GET", "/v1/admin/keys")] {
        seen.push(with(&process, &root, method, path, b"").text());
    }
    // The passphrase of an export, right and wrong; the export itself holds neither it nor a key in the plain.
    let (passphrase, export) = ("correct horse battery staple", process.folder().join("backup.keys"));
    let keys = process.data().join("keys.toml");
    for (passphrase, task) in
        [(passphrase, "export"), (passphrase, "import"), ("correct horse battery stapler", "import")]
    {
        let args = ["key", task, export.to_str().unwrap(), "--keys", keys.to_str().unwrap()];
        let output = cli(&process, &[("MESHSTORE_PASSPHRASE", passphrase)], &args);
        seen.extend([output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    }
    seen.push(fs::read_to_string(&export).unwrap());
    for args in [&["token", "ls"][..], &["config", "show"], &["admin", "config"], &["token", "revoke", token]] {
        let output = cli(&process, &[("MESHSTORE_TOKEN", &root)], args);
        seen.extend([output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    }
    for file in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{}/{file}", process.pid())).unwrap();
        seen.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    process.terminate();
    seen.push(process.said());
    assert!(seen.iter().any(|text| text.contains("administered")));
    for (name, secret) in
        [("root token", &root[21..]), ("token", &token[21..]), ("key", key), ("passphrase", passphrase)]
    {
        let found = seen.iter().find(|text| text.contains(&secret[..secret.len() - 1]));
        assert!(found.is_none(), "the {name} shows in {found:?}");
    }
}
