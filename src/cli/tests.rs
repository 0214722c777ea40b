//! What can be typed, and what each kind of failure exits with.

use clap::CommandFactory;

use super::*;

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_kind_has_the_exit_code_of_its_position() {
    assert_eq!(exit_code(Kind::Invalid), 10);
    assert_eq!(exit_code(Kind::NotFound), 13);
    assert_eq!(exit_code(Kind::Deadline), 24);
}

#[test]
fn commands_of_the_contract_are_understood() {
    for line in [
        "meshstore demo --keep",
        "meshstore serve --config f --site s --name n --data d --keys k --http 127.0.0.1:0 --bus auto --cloud u --role container --set a.b=c --json",
        "meshstore push a b c/d/ -r --durability ram --nfr compress=none --content-type text/plain --meta a=b --meta c=d",
        "meshstore push - c/k",
        "meshstore pull c/k -",
        "meshstore pull c/k --range -5",
        "meshstore pull -r c out",
        "meshstore --url http://h ls c/p -l --json",
        "meshstore stat c/k --json --url http://h",
        "meshstore locate c/k --json",
        "meshstore rm -r c/k c/l",
        "meshstore sync status c/k --json",
        "meshstore sync flush c",
        "meshstore admin tiers",
        "meshstore admin --json actors",
        "meshstore admin queues --json",
        "meshstore admin sites",
        "meshstore admin peers --json",
        "meshstore admin containers",
        "meshstore site ls --json",
        "meshstore site init edge --name c2 --config f --data d --keys k --bus nats://h:4222",
        "meshstore site init cloud --hub cloud.example:7422",
        "meshstore site join edge --invite i --name c1 --config f --data d --keys k --bus nats://h:4222 --store s",
        "meshstore ready --url http://h",
        "meshstore ready --nats nats://127.0.0.1:4222",
        "meshstore admin objects disk c/p",
        "meshstore admin evict c/k",
        "meshstore admin evict --collection c --bytes 7",
        "meshstore admin drain",
        "meshstore token create --subject s --group g --scope read:meteo --scope admin --expires 30d --json",
        "meshstore token ls --json --token-file t",
        "meshstore token revoke 0123456789abcdef",
        "meshstore push a c/k --if-none-match --ttl 7d --session AQAA --json",
        "meshstore push a c/k --if-match *",
        "meshstore pull c/k --version 0000000000000001-0000000000000002 --session AQAA",
        "meshstore stat c/k --version 0000000000000001-0000000000000002 --session AQAA",
        "meshstore rm c/k --if-match 0000000000000001-0000000000000002 --session AQAA",
        "meshstore ls c --session AQAA",
        "meshstore collection create c",
        "meshstore collection create c ttl_s=7d levels=ram,disk --json",
        "meshstore collection show c --json",
        "meshstore collection set c quota_bytes=1GiB --if-match 3",
        "meshstore collection ls --json",
        "meshstore collection rm -r c",
        "meshstore config check site.toml",
        "meshstore config show --json",
        "meshstore config reference --markdown",
        "meshstore metrics reference --markdown",
        "meshstore version --json",
    ] {
        assert!(parsed(line).is_ok(), "{line}: {}", parsed(line).unwrap_err());
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for line in [
        "meshstore",
        "meshstore fly",
        "meshstore push a",
        "meshstore ls",
        "meshstore locate",
        "meshstore locate c",
        "meshstore push a c/k --durability paper",
        "meshstore pull -r --range 0-1 c",
        "meshstore ls c --token x",
        "meshstore admin",
        "meshstore site",
        "meshstore site init",
        "meshstore site init EDGE",
        "meshstore site init cloud --hub nats://cloud",
        "meshstore site join edge",
        "meshstore admin evict c/k --bytes 7",
        "meshstore admin evict --bytes many",
        "meshstore token create --subject s",
        "meshstore token create --subject s --scope rad",
        "meshstore push a c/k --if-match 3",
        "meshstore push a c/k --if-match * --if-none-match",
        "meshstore push a c/k --ttl 7w",
        "meshstore pull c/k --version 3",
        "meshstore pull -r c --version 0000000000000001-0000000000000002",
        "meshstore rm -r c --if-match *",
        "meshstore collection",
        "meshstore collection create",
        "meshstore collection create UPPER",
        "meshstore collection create c ttl_s",
        "meshstore collection set c",
        "meshstore collection set c a=1 --if-match 0",
    ] {
        assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn flags_of_serve_become_a_configuration() {
    let serve = |line: &str| match parsed(line).unwrap().command {
        Command::Serve(serve) => serve,
        other => panic!("{other:?}"),
    };
    let (config, origins) =
        serve("meshstore serve --site a --http 127.0.0.1:0 --data /d --set site.name=b --set log.level=warn")
            .config()
            .unwrap();
    assert_eq!(origins["site.name"], crate::config::Origin::Flag);
    assert_eq!((config.site.name.as_str(), config.http.addr.port()), ("a", 0));
    assert_eq!(config.keys.file, std::path::Path::new("/d/keys.toml"));
    let refused = |line: &str| serve(line).config().unwrap_err().kind();
    assert_eq!(refused("meshstore serve --data /d --bus hub:4222"), Kind::Invalid);
    assert_eq!(refused("meshstore serve --data /d --http 0.0.0.0:1"), Kind::Invalid);
    assert_eq!(refused("meshstore serve --data /d --role endpoint"), Kind::Unimplemented);
    assert_eq!(refused("meshstore serve --config /no/such/file"), Kind::NotFound);
}
