//! What every [`Bus`] must do.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::Kind;

const SOON: Duration = Duration::from_secs(5);

fn message(subject: &str, body: &str) -> Message {
    let headers = vec![("Mesh-Address".to_owned(), "c/k".to_owned())];
    Message { subject: subject.parse().unwrap(), headers, body: Bytes::from(body.to_owned()) }
}

fn echo(name: &'static str) -> Responder {
    Box::new(move |mut message: Message| {
        Box::pin(async move {
            message.body = Bytes::from(format!("{name}:{}", String::from_utf8_lossy(&message.body)));
            Ok(message)
        })
    })
}

async fn subscribers_hear_what_they_asked_for_in_order(bus: &dyn Bus) {
    let mut all = bus.subscribe(&"mesh.event.>".parse().unwrap()).unwrap();
    let mut one = bus.subscribe(&"mesh.event.edge.*".parse().unwrap()).unwrap();
    for (subject, body) in [("mesh.event.fog.push", "1"), ("mesh.event.edge.push", "2"), ("mesh.other", "3")] {
        bus.publish(message(subject, body)).unwrap();
    }
    assert_eq!(all.next().await, Some(Delivery::Message(message("mesh.event.fog.push", "1"))));
    assert_eq!(all.next().await, Some(Delivery::Message(message("mesh.event.edge.push", "2"))));
    assert_eq!(one.next().await, Some(Delivery::Message(message("mesh.event.edge.push", "2"))));
    drop(all);
    bus.publish(message("mesh.event.edge.gone", "4")).unwrap();
    assert_eq!(one.next().await, Some(Delivery::Message(message("mesh.event.edge.gone", "4"))));
}

async fn a_slow_subscriber_is_told_of_its_loss(bus: &dyn Bus) {
    let mut slow = bus.subscribe(&"flood".parse().unwrap()).unwrap();
    for _ in 0..SUBSCRIBER_QUEUE_MAX + 7 {
        bus.publish(message("flood", "x")).unwrap();
    }
    assert_eq!(slow.next().await, Some(Delivery::Lost(7)));
    assert!(matches!(slow.next().await, Some(Delivery::Message(_))));
}

async fn requests_are_shared_and_answered(bus: &dyn Bus) {
    let subject: Subject = "mesh.edge.head".parse().unwrap();
    let nobody = bus.request(message("mesh.edge.head", "q"), SOON).await.unwrap_err();
    assert_eq!(nobody.kind(), Kind::Unavailable);
    let first = bus.serve(&subject, echo("first")).unwrap();
    let _second = bus.serve(&subject, echo("second")).unwrap();
    let mut answers = std::collections::BTreeSet::new();
    for _ in 0..4 {
        answers.insert(bus.request(message("mesh.edge.head", "q"), SOON).await.unwrap().body);
    }
    assert_eq!(answers.len(), 2, "both answer in turn");
    drop(first);
    for _ in 0..4 {
        assert_eq!(bus.request(message("mesh.edge.head", "q"), SOON).await.unwrap().body, "second:q");
    }
}

async fn an_answer_that_never_comes_is_a_deadline(bus: &dyn Bus) {
    let silent: Responder = Box::new(|_| Box::pin(std::future::pending()));
    let _serving = bus.serve(&"silent".parse().unwrap(), silent).unwrap();
    let error = bus.request(message("silent", ""), Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Deadline);
}

#[tokio::test]
async fn the_local_bus() {
    let bus = LocalBus::new();
    subscribers_hear_what_they_asked_for_in_order(&bus).await;
    a_slow_subscriber_is_told_of_its_loss(&bus).await;
    requests_are_shared_and_answered(&bus).await;
    an_answer_that_never_comes_is_a_deadline(&bus).await;
}
