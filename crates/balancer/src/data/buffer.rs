//! Buffers that are reused: a connection holds one only while it has something in it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::ReadHalf;

/// Size of a fresh buffer, in bytes: enough for nearly every head, and for a good stretch of a body.
pub(crate) const BUFFER_BYTES: usize = 16 << 10;
/// Most spare buffers that a worker keeps: 16 MiB of each kind.
const SPARE_MAX: usize = 1024;
/// A scratch vector that grew beyond this is not kept.
const SCRATCH_BYTES_MAX: usize = 2 * BUFFER_BYTES;

/// Bytes that were read but not used yet.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether it can take no more bytes.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start == self.bytes.len()
    }

    pub(crate) fn consume(&mut self, n: usize) {
        self.start += n;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Makes room for more, up to `bytes_max` in all. False if that is reached.
    pub(crate) fn grow(&mut self, bytes_max: usize) -> bool {
        if !self.is_full() {
            return true;
        }
        if self.bytes.len() >= bytes_max {
            return false;
        }
        let mut bigger = vec![0; (self.bytes.len() * 2).clamp(BUFFER_BYTES, bytes_max)].into_boxed_slice();
        let n = self.end - self.start;
        bigger[..n].copy_from_slice(self.data());
        (self.bytes, self.start, self.end) = (bigger, 0, n);
        true
    }

    /// Reads once. 0 is the end of the stream; a full buffer is the caller's mistake and reads as the end.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut ReadHalf<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.start > 0 && self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let mut room = ReadBuf::new(&mut self.bytes[self.end..]);
        ready!(Pin::new(from).poll_read(cx, &mut room))?;
        let n = room.filled().len();
        self.end += n;
        Poll::Ready(Ok(n))
    }

    /// Reads once, as [`Buffer::fill`]; as long as there is nothing to read, an empty buffer is with the spares.
    pub(crate) async fn fill_when_ready(
        &mut self,
        from: &mut ReadHalf<'_>,
        spares: &Spares,
    ) -> io::Result<usize> {
        std::future::poll_fn(|cx| {
            if self.is_empty() && from.as_ref().poll_read_ready(cx).is_pending() {
                spares.give_back(std::mem::take(self));
                return Poll::Pending;
            }
            if self.bytes.is_empty() {
                *self = spares.buffer();
            }
            self.poll_fill(cx, from)
        })
        .await
    }

    /// Reads once; see [`Buffer::poll_fill`].
    pub(crate) async fn fill(&mut self, from: &mut ReadHalf<'_>) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx, from)).await
    }
}

/// A worker's spare buffers.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    buffers: RefCell<Vec<Box<[u8]>>>,
    scratches: RefCell<Vec<Vec<u8>>>,
}

impl Spares {
    pub(crate) fn buffer(&self) -> Buffer {
        let spare = self.buffers.borrow_mut().pop();
        let bytes = spare.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
        Buffer { bytes, start: 0, end: 0 }
    }

    pub(crate) fn give_back(&self, buffer: Buffer) {
        let mut buffers = self.buffers.borrow_mut();
        if buffer.bytes.len() == BUFFER_BYTES && buffers.len() < SPARE_MAX {
            buffers.push(buffer.bytes);
        }
    }

    /// An empty vector to compose in.
    pub(crate) fn scratch(&self) -> Vec<u8> {
        self.scratches.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    pub(crate) fn give_back_scratch(&self, mut scratch: Vec<u8>) {
        let mut scratches = self.scratches.borrow_mut();
        if scratch.capacity() <= SCRATCH_BYTES_MAX && scratches.len() < SPARE_MAX {
            scratch.clear();
            scratches.push(scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn silence_needs_no_buffer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let (mut reads, _) = near.split();
        let spares = Spares::default();
        let mut buffer = spares.buffer();
        let mut filling = Box::pin(buffer.fill_when_ready(&mut reads, &spares));
        std::future::poll_fn(|cx| Poll::Ready(assert!(filling.as_mut().poll(cx).is_pending()))).await;
        assert_eq!(spares.buffers.borrow().len(), 1);
        far.write_all(b"x").await.unwrap();
        assert_eq!(filling.await.unwrap(), 1);
        assert!(buffer.data() == b"x" && spares.buffers.borrow().is_empty());
    }
}
