//! Staying awake for what follows.
//!
//! Who pushes one long body after the other begins the next one as soon as the answer to the last is there. A thread
//! that went to sleep meanwhile takes as long to wake as a third of the next body takes to be sent.

use std::time::{Duration, Instant};

use actix_web::rt::spawn;
use tokio::task::yield_now;

/// How long a thread looks for work before it sleeps. About as long as a caller on the same machine takes to read an
/// answer and to send again; longer brings nothing.
const LOOKING: Duration = Duration::from_micros(40);

/// Keeps this thread looking for requests for a moment.
pub(super) fn linger() {
    spawn(look_until(Instant::now() + LOOKING));
}

/// Whatever else there is to do goes first, on this thread and on this processor.
async fn look_until(end: Instant) {
    while Instant::now() < end {
        std::thread::yield_now();
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn others_have_their_turns_and_it_ends() {
        let end = Instant::now() + Duration::from_millis(5);
        let mut turns = 0;
        tokio::select! {
            () = look_until(end) => {}
            () = async { loop { turns += 1; yield_now().await; } } => {}
        }
        assert!(turns > 10 && Instant::now() >= end);
    }
}
