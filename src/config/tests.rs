//! Laws of the whole configuration: layers, faults, reference.

use super::*;
use crate::error::Kind;

fn host() -> Host {
    Host { home: Some("/home/ada".into()), data_home: None, cores: 8 }
}

fn from(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, Vec<Fault>> {
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let file = Some((PathBuf::from("site.toml"), file.to_owned()));
    Config::load(&Sources { file, env: owned(env), flags: owned(flags), host: host() })
}

fn faults(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Vec<String> {
    from(file, env, flags).unwrap_err().iter().map(Fault::to_string).collect()
}

#[test]
fn defaults_need_no_source() {
    let config = Config::load(&Sources { host: host(), ..Sources::default() }).unwrap();
    assert_eq!(config.site.name.as_str(), "local");
    assert_eq!(config.data.dir, PathBuf::from("/home/ada/.local/share/meshstore"));
    assert_eq!(config.keys.file, PathBuf::from("/home/ada/.local/share/meshstore/keys.toml"));
    assert_eq!(config.http.addr.to_string(), "127.0.0.1:7700");
    assert_eq!((config.http.workers, config.nfr.workers), (4, 0));
    assert_eq!(
        (config.memory.budget_bytes, config.memory.level1_bytes, config.store.cache_bytes),
        (512 << 20, 256 << 20, 32 << 20)
    );
    assert_eq!((config.limits.requests_max, config.limits.object_bytes_max), (1024, 1 << 40));
    assert_eq!(config.limits.request_deadline_ms, crate::limits::REQUEST_DEADLINE_DEFAULT.as_millis() as u64);
    assert_eq!(config.bus.mode, BusMode::Auto);
}

#[test]
fn the_data_folder_follows_the_host() {
    let at = |home: Option<&str>, data_home: Option<&str>| {
        Host { home: home.map(Into::into), data_home: data_home.map(Into::into), cores: 1 }.data_dir()
    };
    assert_eq!(at(Some("/h"), Some("/x")), PathBuf::from("/x/meshstore"));
    assert_eq!(at(Some("/h"), Some("relative")), PathBuf::from("/h/.local/share/meshstore"));
    let homeless = Config::load(&Sources::default()).unwrap_err();
    assert_eq!(homeless.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), ["data.dir"]);
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file() {
    let file = "[site]\nname = \"a\"\n[container]\nname = \"a\"\n[data]\ndir = \"/a\"\n";
    let env =
        [("MESHSTORE__SITE__NAME", "b"), ("MESHSTORE__CONTAINER__NAME", "b"), ("MESHSTORE_URL", "x"), ("HOME", "y")];
    let config = from(file, &env, &[("site.name", "c"), ("site.name", "d")]).unwrap();
    assert_eq!((config.site.name.as_str(), config.container.name.as_str()), ("d", "b"));
    assert_eq!(config.keys.file, PathBuf::from("/a/keys.toml"));
}

#[test]
fn derived_defaults_follow_what_was_given() {
    let config = from("[memory]\nbudget_bytes = 0x4000000", &[], &[]).unwrap();
    assert_eq!((config.memory.level1_bytes, config.store.cache_bytes), (32 << 20, 8 << 20));
}

#[test]
fn every_fault_is_reported_with_key_and_place() {
    let file = "[http]\naddr = \"0.0.0.0:http\"\nport = 3\n\n[memory]\nlevel1_bytes = \"2GiB\"\neviction = [1]\n[sight]\nname='x'\n";
    let env = [("MESHSTORE__LIMITS__REQUESTS_MAX", "none"), ("MESHSTORE__NO__SUCH", "1")];
    let found = faults(file, &env, &[("bus.mode", "hub:4222"), ("site.nam", "x")]);
    let expected = [
        ("http.addr: ", "[site.toml:2]"),
        ("http.port: ", "[site.toml:3]"),
        ("memory.level1_bytes: ", "[site.toml:6]"),
        ("memory.eviction: ", "[site.toml:7]"),
        ("sight.name: ", "[site.toml:9]"),
        ("limits.requests_max: ", "[MESHSTORE__LIMITS__REQUESTS_MAX]"),
        ("no key has this variable", "[MESHSTORE__NO__SUCH]"),
        ("bus.mode: ", "[flag]"),
        ("site.nam: ", "[flag]"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (start, end) in expected {
        assert!(
            found.iter().any(|fault| fault.starts_with(start) && fault.ends_with(end)),
            "{start} {end}: {found:#?}"
        );
    }
    let beyond = found.iter().find(|fault| fault.starts_with("http.addr")).unwrap();
    assert!(beyond.contains("an address is IP:PORT"), "{beyond}");
}

#[test]
fn a_value_that_a_higher_layer_replaces_is_not_judged() {
    assert!(from("[http]\naddr = \"0.0.0.0:80\"", &[], &[("http.addr", "127.0.0.1:0")]).is_ok());
}

#[test]
fn a_broken_file_names_its_lines() {
    let found = faults("[site]\nname = \n", &[("MESHSTORE__SITE__NAME", "-")], &[]);
    assert!(found.iter().any(|fault| fault.contains("not TOML") && fault.contains("site.toml:2")), "{found:?}");
    assert!(found.iter().any(|fault| fault.starts_with("site.name")), "{found:?}");
    assert!(faults("site = 3", &[], &[])[0].contains("section"));
    assert!(faults("[nonsense]", &[], &[])[0].contains("there are site, container"));
}

#[test]
fn budgets_must_fit() {
    assert!(faults("[memory]\nbudget_bytes = 1000", &[], &[])[0].starts_with("memory.budget_bytes"));
    assert!(faults("[store]\ncache_bytes = '300MiB'", &[], &[])[0].starts_with("store.cache_bytes"));
}

#[test]
fn beyond_loopback_there_are_tokens_and_tls_or_a_word_that_allows_plain_text() {
    let open = "[http]\naddr = '0.0.0.0:80'\n";
    let found = faults(&format!("{open}[auth]\nrequired = false"), &[], &[]);
    assert!(found[0].starts_with("http.addr") && found[0].contains("http.plaintext"), "{found:?}");
    assert!(found[1].starts_with("auth.required"), "{found:?}");
    let config = from(&format!("{open}plaintext = true"), &[], &[]).unwrap();
    assert!(config.auth.required);
    let config = from(&format!("{open}[tls]\ncert = 'c'\nkey = 'k'"), &[], &[]).unwrap();
    assert!(config.auth.required && config.tls.cert == Some("c".into()) && config.limits.requests_per_s == 1000);
    assert!(faults("[tls]\ncert = 'c'", &[], &[])[0].starts_with("tls.key"));
    assert!(faults("[tls]\nkey = 'k'", &[], &[])[0].starts_with("tls.cert"));
    let config = from("", &[], &[]).unwrap();
    assert!(!config.auth.required && config.limits.requests_per_s == 0 && config.tls.cert.is_none());
}

#[test]
fn the_cloud_is_a_folder_of_its_own() {
    let cloud = |flags: &[(&str, &str)]| from("[data]\ndir = '/data'", &[], flags).map(|config| config.cloud.url);
    assert_eq!(cloud(&[]).unwrap().unwrap().to_string(), "/data/cloud");
    assert_eq!(cloud(&[("cloud.url", "none")]).unwrap(), None);
    for good in ["/data/framesets", "/data/cloud", "/clouds/frames", "/"] {
        assert_eq!(cloud(&[("cloud.url", good)]).is_ok(), good != "/", "{good}");
    }
    for bad in ["/data", "/data/", "file:///data/frames", "/data/./staging/x", "/data/quarantine"] {
        let found = cloud(&[("cloud.url", bad)]).unwrap_err();
        assert!(found.len() == 1 && found[0].key == "cloud.url" && found[0].to_string().contains("level 2"), "{bad}");
    }
}

#[test]
fn a_default_cloud_that_could_not_be_shown_is_a_fault() {
    for bad in ["a://b", "s3:x", "/a\u{7}b"] {
        let found = from("", &[], &[("data.dir", bad)]).unwrap_err();
        assert!(found.len() == 1 && found[0].key == "cloud.url", "{bad}");
        assert!(!found[0].to_string().contains('\u{7}'));
    }
    for good in ["./a://b", "./s3:x", "/a://b"] {
        let config = from("", &[], &[("data.dir", good)]).unwrap();
        assert_eq!(config.cloud.url.unwrap().to_string(), format!("{good}/cloud"));
    }
}

#[test]
fn faults_become_one_error() {
    let only = Fault::combine(&from("", &[], &[("cloud.url", "s3://x")]).unwrap_err());
    assert_eq!(only.kind(), Kind::Unimplemented);
    let mixed = Fault::combine(&from("", &[], &[("cloud.url", "s3://x"), ("http.addr", "0.0.0.0:1")]).unwrap_err());
    assert_eq!(mixed.kind(), Kind::Invalid);
    assert!(mixed.message().contains("2 faults") && mixed.message().contains("http.addr"));
}

#[test]
fn what_is_shown_reads_back_the_same() {
    let config =
        from("[memory]\nbudget_bytes = '100MB'\n[log]\nlevel='debug'", &[], &[("http.addr", "[::1]:0")]).unwrap();
    let shown: Vec<(String, String)> =
        config.entries().into_iter().map(|(key, value)| (key.path.to_owned(), value)).collect();
    assert_eq!(shown.len(), KEYS.len());
    let again = Config::load(&Sources { flags: shown, ..Sources::default() }).unwrap();
    assert_eq!(again, config);
}

#[test]
fn every_key_is_in_the_reference_and_the_page_is_current() {
    let text = reference();
    for key in KEYS {
        assert!(text.contains(key.path) && text.contains(&key.variable()) && !key.text().is_empty(), "{}", key.path);
    }
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap_or_default();
    assert!(
        page == reference_markdown(),
        "docs/configuration.md is out of date; write it with `meshstore config reference --markdown`"
    );
}

#[test]
fn a_bus_beyond_loopback_asks_for_tokens_and_may_be_named_as_others_name_it() {
    let config = from("", &[("NATS_URL", "nats://127.0.0.1:4333")], &[]).unwrap();
    assert_eq!(config.bus.url.as_ref().map(BusUrl::expose), Some("nats://127.0.0.1:4333"));
    assert!(!config.auth.required);
    let config = from("[bus]\nurl = 'off'", &[("NATS_URL", "nats://127.0.0.1:4333")], &[]).unwrap();
    assert_eq!(config.bus.url, None);
    assert!(from("", &[], &[("bus.mode", "nats://u:p@hub:4222")]).unwrap().auth.required);
    let found = faults("", &[], &[("bus.mode", "nats://hub:4222"), ("auth.required", "false")]);
    assert!(found[0].starts_with("auth.required: "), "{found:?}");
}
