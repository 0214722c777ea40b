//! The chunks of one body, fetched and opened ahead of who takes them, in their order.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::cpu::{CpuPool, blocking};
use crate::error::{Error, Result};
use crate::limits::BODY_WINDOW_CHUNKS;
use crate::nfr::Opener;
use crate::telemetry::trace;
use crate::tiers::{Run, Source};

/// Who takes nothing for so long holds nothing at another container meanwhile.
const SLOW: Duration = Duration::from_millis(100);

type Work = oneshot::Receiver<Result<Bytes>>;

/// Chunks that are on their way.
pub struct Supply {
    ahead: mpsc::Receiver<Work>,
    left: usize,
}

/// Where they come from, and what opens them.
pub struct Stock {
    /// Sealed bytes.
    pub frame: Arc<dyn Source>,
    /// Whether reading them takes no network.
    pub local: bool,
    pub opener: Arc<Opener>,
    pub cpu: CpuPool,
}

impl Supply {
    /// Begins to fetch these chunks, from where `run` is if it stands at the first of them already.
    pub fn start(stock: Stock, chunks: Range<u32>, run: Option<Box<dyn Run>>) -> Self {
        let run = run.or_else(|| stock.run(&chunks));
        // Parts that come in one go are ahead by themselves, in the sockets between here and there.
        let (send, ahead) = mpsc::channel(if run.is_some() { BODY_WINDOW_CHUNKS / 2 } else { BODY_WINDOW_CHUNKS });
        let left = chunks.len();
        tokio::spawn(trace::within(trace::here(), async move {
            match run {
                Some(run) => stock.feed_in_one_go(run, chunks, send).await,
                None => stock.feed(chunks, send).await,
            }
        }));
        Supply { ahead, left }
    }

    /// The next chunk; `None` once all were taken. After an error nothing more comes.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let given_up = || Error::internal("a worker gave up");
        let work = self.ahead.recv().await.ok_or_else(given_up)?;
        work.await.map_err(|_| given_up())?.map(Some)
    }
}

impl Stock {
    /// Several chunks from where each journey costs are asked for once.
    fn run(&self, chunks: &Range<u32>) -> Option<Box<dyn Run>> {
        let last = chunks.end.checked_sub(1).filter(|last| *last > chunks.start)?;
        let range = self.opener.extent(chunks.start).start..self.opener.extent(last).end;
        Arc::clone(&self.frame).run(range)
    }

    async fn feed(self, chunks: Range<u32>, send: mpsc::Sender<Work>) {
        for index in chunks {
            let Ok(place) = send.reserve().await else { return };
            place.send(self.open_later(index));
        }
    }

    async fn feed_in_one_go(self, mut run: Box<dyn Run>, chunks: Range<u32>, send: mpsc::Sender<Work>) {
        for index in chunks {
            let place = match timeout(SLOW, send.reserve()).await {
                Ok(place) => place,
                Err(_) => {
                    run.pause();
                    send.reserve().await
                }
            };
            let Ok(place) = place else { return };
            let extent = self.opener.extent(index);
            let fetched = tokio::select! {
                () = send.closed() => return,
                fetched = run.next((extent.end - extent.start) as usize) => fetched,
            };
            match fetched {
                // What has just come is still in this processor's cache: that is worth more than another thread.
                Ok(sealed) if self.opener.is_light() => place.send(done(self.opener.open_buffer(index, sealed))),
                Ok(sealed) => {
                    let opener = Arc::clone(&self.opener);
                    place.send(self.cpu.run(move || opener.open_buffer(index, sealed)));
                }
                Err(error) => return place.send(done(Err(error))),
            }
        }
    }

    fn open_later(&self, index: u32) -> Work {
        let (opener, frame, cpu) = (Arc::clone(&self.opener), Arc::clone(&self.frame), self.cpu.clone());
        let extent = opener.extent(index);
        if self.local {
            return cpu.run(move || opener.open_buffer(index, frame.load(extent)?));
        }
        // The network is waited for on a thread that may wait, not on a worker.
        let (done, outcome) = oneshot::channel();
        tokio::spawn(async move {
            let opened = match blocking(move || frame.load(extent)).await {
                Ok(sealed) => cpu.wait(move || opener.open_buffer(index, sealed)).await,
                Err(error) => Err(error),
            };
            // Whoever wanted it may have gone.
            let _ = done.send(opened);
        });
        outcome
    }
}

fn done(opened: Result<Bytes>) -> Work {
    let (done, outcome) = oneshot::channel();
    // The other end is in our hands.
    let _ = done.send(opened);
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::limits::CHUNK_BYTES;
    use crate::model::{Buffer, Chunks, NfrSpec, Rng, SeededRng};
    use crate::nfr::{HEADER_BYTES, seal_whole};

    /// A frame that is read in one go, or where that is not wanted part by part.
    struct Far {
        bytes: Bytes,
        in_one_go: bool,
        paused: Arc<AtomicBool>,
    }

    struct Going {
        of: Arc<Far>,
        at: u64,
    }

    impl Source for Far {
        fn len(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn read(&self, range: Range<u64>) -> Result<Bytes> {
            Source::read(&self.bytes, range)
        }

        fn run(self: Arc<Self>, range: Range<u64>) -> Option<Box<dyn Run>> {
            self.in_one_go.then(|| Box::new(Going { of: Arc::clone(&self), at: range.start }) as Box<dyn Run>)
        }
    }

    impl Run for Going {
        fn next(&mut self, bytes: usize) -> BoxFuture<'_, Result<Buffer>> {
            let range = self.at..self.at + bytes as u64;
            self.at = range.end;
            std::future::ready(self.of.load(range)).boxed()
        }

        fn pause(&mut self) {
            self.of.paused.store(true, Ordering::Relaxed);
        }
    }

    /// A frame of so many chunks, and what it holds.
    fn frame(chunks: usize, in_one_go: bool, packs: bool) -> (Arc<Far>, Arc<Opener>, Vec<u8>) {
        let mut plain = vec![7; chunks * CHUNK_BYTES - 9];
        if !packs {
            SeededRng::new(2).fill(&mut plain);
        }
        let spec = NfrSpec::default();
        let (bytes, finished, sealer) =
            seal_whole(spec, &SeededRng::new(1), &Chunks::from(Bytes::from(plain.clone()))).unwrap();
        let footer = bytes.slice(bytes.len() - finished.footer.len()..);
        let opener = Opener::new(&finished.seal, &bytes[..HEADER_BYTES], &footer, sealer.data_key()).unwrap();
        (Arc::new(Far { bytes, in_one_go, paused: Arc::default() }), Arc::new(opener), plain)
    }

    fn supply(frame: Arc<Far>, opener: Arc<Opener>, chunks: Range<u32>) -> Supply {
        Supply::start(Stock { frame, local: false, opener, cpu: CpuPool::new(1).unwrap() }, chunks, None)
    }

    async fn all(supply: &mut Supply) -> Result<Vec<u8>> {
        let mut got = Vec::new();
        while let Some(chunk) = supply.next().await? {
            got.extend_from_slice(&chunk);
        }
        Ok(got)
    }

    #[tokio::test]
    async fn chunks_come_in_order_however_they_are_read() {
        for (in_one_go, packs) in [(false, false), (false, true), (true, false), (true, true)] {
            let (frame, opener, plain) = frame(12, in_one_go, packs);
            assert_eq!(opener.is_light(), !packs);
            assert_eq!(all(&mut supply(Arc::clone(&frame), Arc::clone(&opener), 0..12)).await.unwrap(), plain);
            let some = all(&mut supply(frame, opener, 3..5)).await.unwrap();
            assert_eq!(some, plain[3 * CHUNK_BYTES..5 * CHUNK_BYTES]);
        }
    }

    #[tokio::test]
    async fn damage_ends_them_with_an_error() {
        for in_one_go in [false, true] {
            let (frame, opener, _) = frame(6, in_one_go, false);
            let mut bytes = frame.bytes.to_vec();
            bytes[opener.extent(4).start as usize + 100] ^= 1;
            let frame = Arc::new(Far { bytes: bytes.into(), in_one_go, paused: Arc::default() });
            let mut supply = supply(frame, opener, 0..6);
            for _ in 0..4 {
                supply.next().await.unwrap().unwrap();
            }
            assert_eq!(supply.next().await.unwrap_err().kind(), crate::Kind::Corrupt);
        }
    }

    #[tokio::test]
    async fn who_takes_nothing_holds_nothing_and_gets_the_rest_all_the_same() {
        let (frame, opener, plain) = frame(12, true, false);
        let paused = Arc::clone(&frame.paused);
        let mut supply = supply(frame, opener, 0..12);
        let is_paused = async {
            while !paused.load(Ordering::Relaxed) {
                tokio::time::sleep(SLOW / 10).await;
            }
        };
        timeout(100 * SLOW, is_paused).await.unwrap();
        assert_eq!(all(&mut supply).await.unwrap(), plain);
    }
}
