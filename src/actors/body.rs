//! Bodies on their way in and out: bounded windows of chunks, never a whole object.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Result};
use crate::limits::{BODY_WINDOW_PIECES, CHUNK_BYTES};

/// The body of a push, in pieces of any size as the door receives them.
#[derive(Debug)]
pub struct Body {
    stream: Option<mpsc::Receiver<Result<Bytes>>>,
    /// What is left of the last piece received.
    rest: Bytes,
    /// Pieces that were given back, and come again before anything else.
    again: VecDeque<Bytes>,
    /// How long a chunk is.
    chunk_bytes: usize,
    /// Told when the first piece is wanted, and how long pieces had best be.
    wanted: Option<oneshot::Sender<usize>>,
    /// Says that all of the body was handed over. A stream that closes without it was cut short,
    /// whatever became of its sender.
    whole_sent: Option<oneshot::Receiver<()>>,
}

/// The door's end of a streamed [`Body`].
///
/// Dropping it without [`BodySender::finish`] means that the sender went away half-way: the push fails.
#[derive(Debug)]
pub struct BodySender {
    pieces: mpsc::Sender<Result<Bytes>>,
    wanted: Option<oneshot::Receiver<usize>>,
    whole_sent: oneshot::Sender<()>,
}

impl Body {
    /// A body that is already here.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Body { rest: bytes.into(), ..Body::empty() }
    }

    /// A body that arrives piece by piece; the sender waits while the window is full.
    pub fn streamed() -> (BodySender, Body) {
        let (pieces, stream) = mpsc::channel(BODY_WINDOW_PIECES);
        let (tell, wanted) = oneshot::channel();
        let (whole_sent, end) = oneshot::channel();
        let body = Body { stream: Some(stream), wanted: Some(tell), whole_sent: Some(end), ..Body::empty() };
        (BodySender { pieces, wanted: Some(wanted), whole_sent }, body)
    }

    fn empty() -> Self {
        Body {
            stream: None,
            rest: Bytes::new(),
            again: VecDeque::new(),
            chunk_bytes: CHUNK_BYTES,
            wanted: None,
            whole_sent: None,
        }
    }

    /// From here on chunks are this long; it is [`CHUNK_BYTES`] if nothing else is said.
    pub fn in_chunks_of(&mut self, bytes: usize) {
        self.chunk_bytes = bytes;
    }

    /// Gives back chunks that were taken last, to have them again.
    pub fn give_back(&mut self, chunks: impl IntoIterator<Item = Bytes>) {
        let rest = std::mem::take(&mut self.rest);
        self.again = chunks.into_iter().chain([rest]).chain(self.again.drain(..)).collect();
    }

    /// The next chunk: as long as chunks are unless it is the last, never empty; `None` at the end.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        // A chunk made of several pieces gets a buffer of just its size: it may stay in memory for
        // long, and a buffer that grew by doubling would keep up to twice its bytes there.
        let mut chunk = BytesMut::new();
        loop {
            let missing = self.chunk_bytes - chunk.len();
            if self.rest.len() >= missing {
                let end = self.rest.split_to(missing);
                if chunk.is_empty() {
                    return Ok(Some(end));
                }
                chunk.extend_from_slice(&end);
                return Ok(Some(chunk.freeze()));
            }
            match self.receive().await? {
                Some(piece) => {
                    if chunk.capacity() == 0 && !self.rest.is_empty() {
                        chunk = BytesMut::with_capacity(self.chunk_bytes);
                    }
                    chunk.extend_from_slice(&self.rest);
                    self.rest = piece;
                }
                None if chunk.is_empty() => {
                    let last = std::mem::take(&mut self.rest);
                    return Ok((!last.is_empty()).then_some(last));
                }
                None => {
                    chunk.extend_from_slice(&std::mem::take(&mut self.rest));
                    return Ok(Some(Bytes::copy_from_slice(&chunk)));
                }
            }
        }
    }

    /// The next piece from the door; `None` at the end of the body.
    async fn receive(&mut self) -> Result<Option<Bytes>> {
        if let Some(piece) = self.again.pop_front() {
            return Ok(Some(piece));
        }
        let Some(stream) = &mut self.stream else { return Ok(None) };
        if let Some(tell) = self.wanted.take() {
            // A sender that is gone has left its reason in the stream.
            let _ = tell.send(self.chunk_bytes);
        }
        let piece = stream.recv().await.transpose()?;
        if piece.is_none() {
            self.stream = None;
            let whole = self.whole_sent.take().is_some_and(|mut end| end.try_recv().is_ok());
            if !whole {
                return Err(Error::invalid("the body ended before all of it arrived"));
            }
        }
        Ok(piece)
    }
}

impl BodySender {
    /// Waits until the push takes its first piece, or is over. Until then it has no permit for the
    /// bytes of its body, so nothing of it should be read into memory. Says how long the pieces had best
    /// be: such a piece is a chunk already.
    pub async fn wanted(&mut self) -> usize {
        match self.wanted.take() {
            Some(wanted) => wanted.await.unwrap_or(CHUNK_BYTES),
            None => CHUNK_BYTES,
        }
    }

    /// Hands over the next piece; an error when the push has already failed and no more is wanted.
    pub async fn send(&mut self, piece: Bytes) -> Result<()> {
        self.pieces.send(Ok(piece)).await.map_err(|_| Error::unavailable("the push was given up by its receiver"))
    }

    /// Ends the body: all of it was handed over.
    pub fn finish(self) {
        // A receiver that is gone needs no end. The end is there before the stream closes.
        let _ = self.whole_sent.send(());
    }

    /// Ends the body with the reason why the rest will not come.
    pub async fn fail(self, error: Error) {
        // A receiver that is gone has failed already.
        let _ = self.pieces.send(Err(error)).await;
    }
}

/// The body of a pull.
pub struct PullBody {
    ready: VecDeque<Bytes>,
    stream: Option<mpsc::Receiver<Result<Bytes>>>,
}

impl PullBody {
    /// A body whose pieces are all in memory.
    pub fn ready(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        PullBody { ready: pieces.into_iter().collect(), stream: None }
    }

    /// A body that starts with checked pieces and goes on with a stream of checked pieces.
    pub fn streamed(first: impl IntoIterator<Item = Bytes>, rest: mpsc::Receiver<Result<Bytes>>) -> Self {
        PullBody { ready: first.into_iter().collect(), stream: Some(rest) }
    }

    /// Whether every piece is already in memory.
    pub fn is_ready(&self) -> bool {
        self.stream.is_none()
    }

    /// The next piece; `None` at the end. After an error nothing more comes, and the door must not
    /// let the body look complete.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        if let Some(piece) = self.ready.pop_front() {
            return Some(Ok(piece));
        }
        let stream = self.stream.as_mut()?;
        let piece = stream.recv().await;
        if !matches!(piece, Some(Ok(_))) {
            self.stream = None;
        }
        piece
    }

    /// All pieces in one buffer; for small objects and tests.
    pub async fn collect(mut self) -> Result<Bytes> {
        let mut out = BytesMut::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if out.is_empty() && self.ready.is_empty() && self.stream.is_none() {
                return Ok(piece);
            }
            out.extend_from_slice(&piece);
        }
        Ok(out.freeze())
    }
}

impl fmt::Debug for PullBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullBody").field("ready", &self.ready.len()).field("streamed", &self.stream.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_of_any_size_become_chunks() {
        let (mut sender, mut body) = Body::streamed();
        let total = 2 * CHUNK_BYTES + 17;
        tokio::spawn(async move {
            let mut left = total;
            while left > 0 {
                let piece = left.min(300_000);
                sender.send(Bytes::from(vec![1; piece])).await.unwrap();
                left -= piece;
            }
            sender.finish();
        });
        let mut sizes = Vec::new();
        while let Some(chunk) = body.next_chunk().await.unwrap() {
            sizes.push(chunk.len());
        }
        assert_eq!(sizes, [CHUNK_BYTES, CHUNK_BYTES, 17]);
    }

    #[tokio::test]
    async fn chunks_given_back_come_again_in_another_size() {
        let data: Vec<u8> = (0..3 * CHUNK_BYTES / 2 + 9).map(|i| (i / 11) as u8).collect();
        let mut body = Body::whole(data.clone());
        body.in_chunks_of(CHUNK_BYTES / 4);
        let taken = [body.next_chunk().await.unwrap().unwrap(), body.next_chunk().await.unwrap().unwrap()];
        assert!(taken.iter().all(|chunk| chunk.len() == CHUNK_BYTES / 4));
        body.give_back(taken);
        body.in_chunks_of(CHUNK_BYTES);
        let mut chunks = Vec::new();
        while let Some(chunk) = body.next_chunk().await.unwrap() {
            chunks.push(chunk);
        }
        assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [CHUNK_BYTES, CHUNK_BYTES / 2 + 9]);
        assert_eq!(chunks.concat(), data);
    }

    #[tokio::test]
    async fn nothing_is_wanted_before_the_push_asks_for_it() {
        let (mut early, _body) = Body::streamed();
        let waited = tokio::time::timeout(std::time::Duration::ZERO, early.wanted()).await;
        assert!(waited.is_err());
        let (mut sender, mut body) = Body::streamed();
        let feed = async {
            sender.wanted().await;
            sender.send(Bytes::from_static(b"here")).await.unwrap();
            sender.finish();
        };
        let (chunk, ()) = tokio::join!(body.next_chunk(), feed);
        assert_eq!(chunk.unwrap().unwrap(), "here");
        // A push that is over wants nothing more, and its sender must not wait for ever.
        let (mut late, body) = Body::streamed();
        drop(body);
        late.wanted().await;
    }

    #[tokio::test]
    async fn a_sender_that_goes_away_fails_the_body() {
        let (mut sender, mut body) = Body::streamed();
        for _ in 0..BODY_WINDOW_PIECES {
            sender.send(Bytes::from_static(b"half")).await.unwrap();
        }
        drop(sender);
        assert!(body.next_chunk().await.is_err());
    }

    #[test]
    fn a_torn_body_never_looks_whole_however_its_sender_ends() {
        let full = || {
            let (sender, body) = Body::streamed();
            let filled = (0..BODY_WINDOW_PIECES).map(|_| sender.pieces.try_send(Ok(Bytes::from_static(b"half"))));
            filled.for_each(|sent| sent.unwrap());
            (sender, body)
        };
        let end = |mut body: Body| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                while body.next_chunk().await?.is_some() {}
                Ok::<(), Error>(())
            })
        };
        // Dropped with a full window where no runtime is left to wait for room.
        let (sender, body) = full();
        drop(sender);
        assert!(end(body).is_err());
        // Cancelled while it waits for room to say why it fails.
        let (sender, body) = full();
        let mut failing = Box::pin(sender.fail(Error::invalid("the reason")));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(failing.as_mut().poll(&mut context).is_pending());
        drop(failing);
        assert!(end(body).is_err());
        let (sender, body) = full();
        sender.finish();
        end(body).unwrap();
    }
}
