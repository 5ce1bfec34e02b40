//! A connection that gives up on a peer that says too much: whatever the protocol above allows without an end (interim
//! answers, trailers, empty chunks, TLS records of nothing), a probe is over after so many bytes.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream from which only so many bytes can be read.
#[derive(Debug)]
pub(super) struct Bounded<S> {
    inner: S,
    /// Bytes that may still come.
    left: usize,
    limit: usize,
}

/// The peer has said more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch {
    /// What it may say, in bytes.
    pub(super) limit: usize,
}

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer goes on after {} KiB", self.limit / 1024)
    }
}

impl std::error::Error for TooMuch {}

impl<S> Bounded<S> {
    /// Lets `limit` bytes through; the read after them fails with [`TooMuch`].
    pub(super) fn new(inner: S, limit: usize) -> Self {
        Self { inner, left: limit, limit }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other(TooMuch { limit: self.limit })));
        }
        let room = buffer.remaining().min(self.left);
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.inner).poll_read(context, &mut part))?;
        let came = part.filled().len();
        buffer.advance(came);
        self.left -= came;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, repeat};

    use super::*;

    #[tokio::test]
    async fn so_many_bytes_come_through_and_then_an_error() {
        for limit in [0, 1, 100, 5000] {
            let mut stream = Bounded::new(repeat(7), limit);
            let mut came = Vec::new();
            let error = stream.read_to_end(&mut came).await.expect_err("it has no end");
            assert_eq!(came, vec![7; limit]);
            let inner = error.get_ref().and_then(|error| error.downcast_ref::<TooMuch>());
            assert_eq!(inner, Some(&TooMuch { limit }));
        }
    }

    #[tokio::test]
    async fn what_ends_before_is_let_through() {
        let mut came = String::new();
        Bounded::new(&b"ok"[..], 3).read_to_string(&mut came).await.expect("it is short");
        assert_eq!(came, "ok");
    }
}
