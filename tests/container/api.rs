//! What the door says of itself holds.

use serde_json::Value;

use crate::harness::Process;

const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"];

/// A path with something in the place of its parameters.
fn filled(path: &str, token: &str) -> String {
    let path = path.replace("{collection}", "api").replace("{name}", "api").replace("{key}", "some/key");
    path.replace("{level}", "ram").replace("{id}", token)
}

#[test]
fn what_is_listed_works_and_nothing_else_is_answered_there() {
    let process = Process::start(&[]);
    let answer = process.request("GET", "/openapi.json", &[], b"").expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    process.put("api/some/key", b"x").expect(201);
    let set_policy = || {
        let rule = br#"{"collections":["other"],"cloud":false}"#;
        process.request("PUT", "/v1/policies/api", &[], rule).status
    };
    assert_eq!(set_policy(), 201);
    let token = br#"{"subject":"api","scopes":["read"]}"#;
    let token = process.request("POST", "/v1/admin/tokens", &[], token).expect(201).json();
    let token = token["id"].as_str().unwrap();
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        for method in METHODS {
            let listed = methods.get(method.to_ascii_lowercase());
            // A drain would end the rest; a stream of events has no end.
            if listed.is_some() && ["/v1/admin/drain", "/v1/events"].contains(&path.as_str()) {
                continue;
            }
            let status = process.request(method, &filled(path, token), &[], b"").status;
            match listed {
                Some(one) => {
                    assert!(![404, 405, 500, 501].contains(&status), "{method} {path}: {status}");
                    let told = one["responses"].as_object().unwrap();
                    assert!(told.contains_key(&status.to_string()), "{method} {path}: {status} is not told");
                }
                // HEAD is answered as GET is, without being listed for each path.
                None if method == "HEAD" => {}
                None => assert_eq!(status, 405, "{method} {path}"),
            }
            process.put("api/some/key", b"x");
            set_policy();
        }
    }
    // What is not built is not listed.
    for later in ["/v1/state/{keygroup}/{key}", "/v1/tasks", "/ui"] {
        assert!(!paths.contains_key(later), "{later}");
    }
}

#[test]
fn the_page_is_one_file_that_may_load_nothing_else() {
    let process = Process::start(&[]);
    let page = process.request("GET", "/api", &[], b"").expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'nonce-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    let text = String::from_utf8(page.body.clone()).unwrap();
    assert_eq!(text.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    assert!(!text.contains("{nonce}"));
    process.request("POST", "/api", &[], b"").expect(405);
    process.request("GET", "/api?frob=1", &[], b"").expect_problem(400, "invalid");
    let other = [("Sec-Fetch-Site", "cross-site")];
    process.request("GET", "/api", &other, b"").expect_problem(403, "forbidden");
    let document: Value = process.request("GET", "/openapi.json", &[], b"").expect(200).json();
    assert_eq!(document["info"]["version"], "0.1.0");
}
