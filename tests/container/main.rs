//! A container as its users meet it: a process of its own with an HTTP door and a command line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod admin;
mod api;
mod batch;
#[path = "../common/bed/mod.rs"]
mod bed;
mod begin;
mod between;
mod bits;
mod broken;
mod clock;
mod cloud;
mod collections;
mod comings;
mod compose;
mod conditions;
mod deciding;
mod demo;
mod doors;
mod durability;
mod events;
mod eviction;
mod far;
mod faulty;
mod full;
mod harness;
mod hostile;
mod keys;
mod kill;
mod limits;
mod locate;
mod mesh;
mod misuse;
#[path = "../common/nats_client.rs"]
mod nats_client;
#[path = "../common/nats_server.rs"]
mod nats_server;
mod openmetrics;
mod overload;
mod policies;
mod room;
mod routes;
mod safety;
mod salvage;
mod scrub;
mod silence;
mod simulate;
mod site;
mod spares;
mod strangers;
mod streaming;
mod subjects;
mod telemetry;
mod tls;
mod tools;
mod upheaval;
