//! The answer to a client whose connection is not served any further, where hyper cannot give one: it gets the reason, and a
//! moment to read it.

use std::{io::Write as _, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};

use super::refusal::Refusal;

/// Connections that are waited for at once. Each needs a file descriptor, so further ones are closed without waiting.
pub(super) const WAITING: usize = 32;
/// How long a client has to read the reason.
const WAIT: Duration = Duration::from_secs(1);

/// Those that are waited for.
#[derive(Debug)]
pub(super) struct Farewells(Semaphore);

impl Default for Farewells {
    fn default() -> Self {
        Self(Semaphore::new(WAITING))
    }
}

impl Farewells {
    /// Answers and closes. `heard`: something of the request has come; else it is waited for, as some clients take an answer
    /// to nothing for an error. While the client still sends, a close is a reset, which can overtake the answer (RFC 9112
    /// section 9.6): so the sending half goes first, and what comes is read and dropped.
    pub(super) async fn refuse(&self, mut stream: TcpStream, heard: bool, refusal: Refusal) {
        let answer = refusal.to_http();
        let Ok(_one_of_few) = self.0.try_acquire() else {
            // Without waiting: tokio would first ask the kernel whether there is room.
            if let Ok(mut stream) = stream.into_std() {
                let _ = stream.write_all(answer.as_bytes());
            }
            return;
        };
        let mut dropped = [0; 4096];
        let told = async {
            if !heard && stream.read(&mut dropped).await? == 0 {
                return Ok(());
            }
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            while stream.read(&mut dropped).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        // A client that is gone, or does not close, is not waited for any longer.
        let _ = timeout(WAIT, told).await;
    }
}
