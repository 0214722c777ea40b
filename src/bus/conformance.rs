//! What every [`Bus`] must do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::feed::{SUBSCRIBER_BYTES_MAX, SUBSCRIBER_QUEUE_MAX};
use super::*;
use crate::Kind;
use crate::nats_server::NatsServer;

const SOON: Duration = Duration::from_secs(5);

fn message(subject: &str, body: &str) -> Message {
    let headers = vec![("Mesh-Address".to_owned(), "c/k".to_owned())];
    Message { headers, ..Message::to(subject.parse().unwrap(), body.to_owned()) }
}

async fn listen(bus: &dyn Bus, pattern: &str, queue: Option<&str>) -> Subscription {
    bus.subscribe(&pattern.parse().unwrap(), queue).await.unwrap()
}

async fn heard(subscription: &mut Subscription) -> Message {
    match tokio::time::timeout(SOON, subscription.next()).await.unwrap() {
        Some(Delivery::Message(message)) => message,
        other => panic!("{other:?}"),
    }
}

/// Answers requests to a subject, as one of a queue, until the task is aborted.
async fn echo(bus: &Arc<dyn Bus>, subject: &str, name: &'static str) -> tokio::task::JoinHandle<()> {
    let mut requests = listen(&**bus, subject, Some("q")).await;
    let bus = Arc::clone(bus);
    tokio::spawn(async move {
        while let Some(Delivery::Message(request)) = requests.next().await {
            let body = format!("{name}:{}", String::from_utf8_lossy(&request.body));
            let answer = Message { headers: request.headers, ..Message::to(request.reply.unwrap(), body) };
            bus.publish(answer).await.unwrap();
        }
    })
}

async fn subscribers_hear_what_they_asked_for_in_order(bus: &dyn Bus) {
    let mut all = listen(bus, "mesh.event.>", None).await;
    let mut one = listen(bus, "mesh.event.edge.*", None).await;
    for (subject, body) in [("mesh.event.fog.push", "1"), ("mesh.event.edge.push", "2"), ("mesh.other", "3")] {
        bus.publish(message(subject, body)).await.unwrap();
    }
    assert_eq!(heard(&mut all).await, message("mesh.event.fog.push", "1"));
    assert_eq!(heard(&mut all).await, message("mesh.event.edge.push", "2"));
    assert_eq!(heard(&mut one).await, message("mesh.event.edge.push", "2"));
    drop(all);
    bus.publish(message("mesh.event.edge.gone", "4")).await.unwrap();
    assert_eq!(heard(&mut one).await, message("mesh.event.edge.gone", "4"));
}

async fn of_a_queue_one_hears_each_message(bus: &dyn Bus) {
    let (mut first, mut second) = (listen(bus, "shared", Some("q")).await, listen(bus, "shared", Some("q")).await);
    let mut all = listen(bus, "shared", None).await;
    for n in 0..64 {
        bus.publish(message("shared", &n.to_string())).await.unwrap();
    }
    let mut bodies = BTreeSet::new();
    let mut counts = [0, 0];
    for _ in 0..64 {
        heard(&mut all).await;
        let (message, who) = tokio::select! {
            message = heard(&mut first) => (message, 0),
            message = heard(&mut second) => (message, 1),
        };
        bodies.insert(message.body);
        counts[who] += 1;
    }
    assert_eq!(bodies.len(), 64);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

async fn a_slow_subscriber_is_told_of_its_loss(bus: &dyn Bus) {
    let mut slow = listen(bus, "flood", None).await;
    let mut quick = listen(bus, "flood", None).await;
    for n in 0..SUBSCRIBER_QUEUE_MAX + 7 {
        bus.publish(message("flood", &n.to_string())).await.unwrap();
        // One that keeps up loses nothing.
        assert_eq!(heard(&mut quick).await.body, n.to_string());
    }
    // What it has lost is known once the last message has had time to come.
    for _ in 0..500 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(slow.next().await, Some(Delivery::Lost(7)));
    assert_eq!(heard(&mut slow).await.body, "0");
}

async fn what_waits_is_bounded_in_bytes(bus: &dyn Bus) {
    let mut slow = listen(bus, "heavy", None).await;
    let large = Bytes::from(vec![7; bus.payload_max() / 2]);
    let most = SUBSCRIBER_BYTES_MAX / large.len();
    for _ in 0..most + 10 {
        bus.publish(Message::to("heavy".parse().unwrap(), large.clone())).await.unwrap();
    }
    let mut end = listen(bus, "end", None).await;
    bus.publish(message("end", "")).await.unwrap();
    heard(&mut end).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(matches!(slow.next().await, Some(Delivery::Lost(lost)) if lost >= 10));
}

async fn requests_are_shared_and_answered(bus: &Arc<dyn Bus>) {
    let ask = || bus.request(message("mesh.edge.head", "q"), SOON);
    assert_eq!(ask().await.unwrap_err().kind(), Kind::Unavailable);
    let first = echo(bus, "mesh.edge.head", "first").await;
    let second = echo(bus, "mesh.edge.head", "second").await;
    let mut answers = BTreeSet::new();
    for _ in 0..64 {
        let answer = ask().await.unwrap();
        assert_eq!(answer.header("mesh-address"), Some("c/k"));
        answers.insert(answer.body);
    }
    assert_eq!(answers.len(), 2, "both answer in turn");
    first.abort();
    let _ = first.await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..8 {
        assert_eq!(ask().await.unwrap().body, "second:q");
    }
    second.abort();
}

async fn an_answer_that_never_comes_is_a_deadline(bus: &dyn Bus) {
    let _silent = listen(bus, "silent", None).await;
    let error = bus.request(message("silent", ""), Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Deadline);
}

async fn what_is_too_large_is_refused_with_the_limit(bus: &dyn Bus) {
    let large = Message::to("large".parse().unwrap(), vec![0; bus.payload_max() + 1]);
    for error in [bus.publish(large.clone()).await.unwrap_err(), bus.request(large, SOON).await.unwrap_err()] {
        assert_eq!(error.kind(), Kind::TooLarge);
        assert_eq!(error.context("bytes_max"), Some(bus.payload_max().to_string().as_str()));
    }
    let forged = vec![("X".to_owned(), "a\r\nY: b".to_owned())];
    let forged = Message { headers: forged, ..message("mesh.event.forged", "") };
    assert_eq!(bus.publish(forged).await.unwrap_err().kind(), Kind::Invalid);
}

async fn a_log_keeps_order_knows_ids_and_wakes(bus: &dyn Bus) {
    let subjects: Pattern = "mesh.log.edge.>".parse().unwrap();
    let log = bus.log("MESH_LOG_EDGE", &subjects).await.unwrap();
    assert_eq!(log.bounds().await.unwrap(), None);
    assert_eq!(log.read(0, 10).await.unwrap(), []);
    let mut wakes = listen(bus, "mesh.log.edge.catalog", None).await;
    let entry = |n: u64| message("mesh.log.edge.catalog", &n.to_string());
    let mut places = Vec::new();
    for n in 0..20 {
        places.push(log.append(&format!("id-{n}"), entry(n)).await.unwrap());
        // The wake-up carries the entry.
        assert_eq!(heard(&mut wakes).await.body, n.to_string());
    }
    assert_eq!(log.append("id-7", entry(7)).await.unwrap(), places[7], "known by its id");
    assert_eq!(log.bounds().await.unwrap(), Some((places[0], places[19])));
    // Another handle on it reads the same, page by page.
    let again = bus.log("MESH_LOG_EDGE", &subjects).await.unwrap();
    let (mut at, mut read) = (0, Vec::new());
    loop {
        let page = again.read(at, 6).await.unwrap();
        assert!(page.len() <= 6);
        let Some(last) = page.last() else { break };
        at = last.place;
        read.extend(page);
    }
    assert_eq!(read.iter().map(|logged| logged.place).collect::<Vec<_>>(), places);
    for (n, logged) in read.iter().enumerate() {
        assert_eq!(logged.message.body, n.to_string());
        assert_eq!(logged.message.subject, entry(0).subject);
        assert_eq!(logged.message.header("Mesh-Address"), Some("c/k"));
    }
}

/// A log whose entries have two subjects.
async fn records(bus: &dyn Bus) -> Box<dyn Log> {
    bus.log("MESH_RECORD_EDGE", &"mesh.record.edge.>".parse().unwrap()).await.unwrap()
}

async fn the_last_entry_of_a_subject_is_found(bus: &dyn Bus) {
    let log = records(bus).await;
    let record = |body: &str| message("mesh.record.edge.members", body);
    let (ours, other) = (record("").subject, message("mesh.record.edge.other", ""));
    assert_eq!(log.last(&ours).await.unwrap(), None, "of an empty log");
    log.append("other-1", other.clone()).await.unwrap();
    assert_eq!(log.last(&ours).await.unwrap(), None, "of a subject without entries");
    log.append("1", record("1")).await.unwrap();
    let place = log.append("2", record("2")).await.unwrap();
    let place_of_other = log.append("other-2", other.clone()).await.unwrap();
    // As it was appended, without what the bus adds on its way.
    assert_eq!(log.last(&ours).await.unwrap(), Some(Logged { place, message: record("2") }));
    assert_eq!(log.last(&other.subject).await.unwrap().unwrap().place, place_of_other);
    assert_eq!(log.last(&"mesh.record.edge.members.x".parse().unwrap()).await.unwrap(), None, "of a longer subject");
}

async fn a_record_is_changed_only_behind_what_was_read(bus: &dyn Bus) {
    let log = records(bus).await;
    let record = |body: &str| message("mesh.record.edge.changed", body);
    let mut wakes = listen(bus, "mesh.record.edge.changed", None).await;
    let stale = async |place| log.append_behind(place, record("stale")).await.unwrap_err();
    assert_eq!(stale(1).await.kind(), Kind::PreconditionFailed, "there is none");
    let first = log.append_behind(0, record("1")).await.unwrap();
    for place in [0, first - 1, first + 1] {
        assert_eq!(stale(place).await.kind(), Kind::PreconditionFailed, "{place}");
    }
    log.append("between", message("mesh.record.edge.other", "")).await.unwrap();
    // The same bytes again: another change, without an id that it could be known by.
    let second = log.append_behind(first, record("1")).await.unwrap();
    assert!(second > first + 1);
    assert_eq!(stale(first).await.kind(), Kind::PreconditionFailed);
    assert_eq!(log.last(&record("").subject).await.unwrap(), Some(Logged { place: second, message: record("1") }));
    let third = log.append("any", record("3")).await.unwrap();
    assert_eq!(stale(second).await.kind(), Kind::PreconditionFailed, "others append as well");
    log.append_behind(third, record("4")).await.unwrap();
    for body in ["1", "1", "3", "4"] {
        // A server hands out what the log is about to refuse.
        while heard(&mut wakes).await.body != body {}
    }
    let foreign = message("mesh.elsewhere.members", "");
    assert_eq!(log.append_behind(0, foreign.clone()).await.unwrap_err().kind(), Kind::Internal);
    assert_eq!(log.append("foreign", foreign).await.unwrap_err().kind(), Kind::Internal);
}

async fn of_two_who_change_a_record_one_wins(bus: &Arc<dyn Bus>) {
    const ROUNDS: u64 = 20;
    let subject: Subject = "mesh.record.edge.raced".parse().unwrap();
    let write = async |body: String, place| {
        let (bus, subject) = (Arc::clone(bus), subject.clone());
        // On threads of their own where there are several, each with a handle of its own.
        let written = tokio::spawn(async move {
            let log = records(&*bus).await;
            log.append_behind(place, Message::to(subject, body)).await
        });
        written.await.unwrap()
    };
    for round in 0..ROUNDS {
        let log = records(&**bus).await;
        let place = log.last(&subject).await.unwrap().map_or(0, |logged| logged.place);
        let outcomes: [_; 2] =
            tokio::join!(write(format!("a{round}"), place), write(format!("b{round}"), place)).into();
        let won = outcomes.iter().position(|outcome| outcome.is_ok()).expect("nobody won");
        assert_eq!(outcomes[1 - won].as_ref().unwrap_err().kind(), Kind::PreconditionFailed);
        let last = log.last(&subject).await.unwrap().unwrap();
        assert_eq!(Some(last.place), outcomes[won].as_ref().ok().copied());
        assert_eq!(last.message.body, format!("{}{round}", ["a", "b"][won]));
    }
    let entries = records(&**bus).await.read(0, 1000).await.unwrap();
    assert_eq!(entries.iter().filter(|logged| logged.message.subject == subject).count() as u64, ROUNDS);
}

async fn a_drained_bus_takes_nothing_more(bus: &dyn Bus) {
    let mut last = listen(bus, "last", None).await;
    bus.publish(message("last", "1")).await.unwrap();
    assert_eq!(heard(&mut last).await.body, "1");
    bus.drain().await.unwrap();
    assert_eq!(tokio::time::timeout(SOON, last.next()).await.unwrap(), None);
    let late = tokio::time::timeout(SOON, bus.publish(message("last", "2"))).await.unwrap();
    assert_eq!(late.unwrap_err().kind(), Kind::Unavailable);
}

async fn conforms(bus: Arc<dyn Bus>) {
    subscribers_hear_what_they_asked_for_in_order(&*bus).await;
    of_a_queue_one_hears_each_message(&*bus).await;
    a_slow_subscriber_is_told_of_its_loss(&*bus).await;
    what_waits_is_bounded_in_bytes(&*bus).await;
    requests_are_shared_and_answered(&bus).await;
    an_answer_that_never_comes_is_a_deadline(&*bus).await;
    what_is_too_large_is_refused_with_the_limit(&*bus).await;
    a_log_keeps_order_knows_ids_and_wakes(&*bus).await;
    the_last_entry_of_a_subject_is_found(&*bus).await;
    a_record_is_changed_only_behind_what_was_read(&*bus).await;
    of_two_who_change_a_record_one_wins(&bus).await;
    a_drained_bus_takes_nothing_more(&*bus).await;
}

#[tokio::test]
async fn the_local_bus() {
    conforms(Arc::new(LocalBus::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_over_nats() {
    let server = NatsServer::start();
    conforms(Arc::new(NatsBus::connect(server.url(), "conformance").await.unwrap())).await;
}

#[tokio::test]
async fn what_a_url_says_of_who_comes_opens_the_server() {
    let server = NatsServer::opened_by(&["--user", "ada", "--pass", "p@ss"]);
    let place = server.url().strip_prefix("nats://").unwrap();
    NatsBus::connect(&format!("nats://ada:p%40ss@{place}"), "opened").await.unwrap();
    for url in [format!("nats://ada:planted@{place}"), format!("nats://ada@{place}"), server.url().to_owned()] {
        let refused = NatsBus::connect(&url, "refused").await.err().unwrap();
        assert!(refused.kind() == Kind::Unavailable && !refused.to_string().contains("planted"), "{refused}");
    }
    let server = NatsServer::opened_by(&["--auth", "t0ken"]);
    let place = server.url().strip_prefix("nats://").unwrap();
    NatsBus::connect(&format!("nats://t0ken@{place}"), "opened").await.unwrap();
}

/// The server dies and comes back: subscriptions live on, and the log has kept what it acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_comes_back_by_itself() {
    let mut server = NatsServer::start();
    let bus = NatsBus::connect(server.url(), "reconnect").await.unwrap();
    let mut heard_here = listen(&bus, "after", None).await;
    let log = bus.log("MESH_LOG_BACK", &"mesh.log.back.>".parse().unwrap()).await.unwrap();
    log.append("1", message("mesh.log.back.catalog", "1")).await.unwrap();
    server.kill();
    let away = bus.request(message("anybody", ""), Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(away.kind(), Kind::Unavailable | Kind::Deadline), "{away}");
    server.restart();
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !bus.describe().connected {
        assert!(std::time::Instant::now() < end, "the connection does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(bus.describe().disconnects, 1);
    bus.publish(message("after", "x")).await.unwrap();
    assert_eq!(heard(&mut heard_here).await.body, "x");
    assert_eq!(log.read(0, 10).await.unwrap().len(), 1);
}
