//! Many short connections: each asks `/whoami` over plain HTTP on a connection of its own, as fast as asked for
//! or at a steady pace, and nothing that happens to one is lost.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use super::{error::Error, namespace::Namespace, topology::SERVICE_NAME};

/// The limit of one request in [`connections`].
const LIMIT: Duration = Duration::from_secs(5);

/// One request, from connecting to the last byte.
#[derive(Clone, Debug)]
pub struct Request {
    /// When connecting began.
    pub started: Instant,
    /// Until the answer was complete, or until it failed.
    pub took: Duration,
    /// The name of the replica that answered, or what went wrong.
    pub outcome: Result<String, String>,
}

/// The outcome of many requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many each replica answered.
    pub replicas: BTreeMap<String, usize>,
    /// Those that failed.
    pub errors: Vec<Request>,
    /// How long the slowest took that did not.
    pub slowest: Duration,
}

impl FromIterator<Request> for Tally {
    fn from_iter<I: IntoIterator<Item = Request>>(requests: I) -> Self {
        let mut tally = Self::default();
        for request in requests {
            match &request.outcome {
                Ok(replica) => {
                    *tally.replicas.entry(replica.clone()).or_default() += 1;
                    tally.slowest = tally.slowest.max(request.took);
                }
                Err(_) => tally.errors.push(request),
            }
        }
        tally
    }
}

/// Asks once, from the namespace that the calling thread is in; all of it within `limit`.
pub fn whoami(address: SocketAddr, limit: Duration) -> Request {
    let started = Instant::now();
    let outcome = ask(address, started + limit);
    Request { started, took: started.elapsed(), outcome }
}

/// Makes `total` requests with `concurrency` threads, from the namespace that the calling thread is in.
pub(super) fn connections(address: SocketAddr, total: usize, concurrency: usize) -> Tally {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let worker = || {
            let mut requests = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < total {
                requests.push(whoami(address, LIMIT));
            }
            requests
        };
        let workers: Vec<_> = (0..concurrency.clamp(1, total.max(1))).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked)))
            .collect()
    })
}

/// Requests that go on in the background until stopped, or dropped.
#[derive(Debug)]
pub struct BackgroundLoad {
    /// Hanging up stops the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<Vec<Request>>>,
}

impl BackgroundLoad {
    pub(super) fn start(
        namespace: &Namespace,
        address: SocketAddr,
        pause: Duration,
        limit: Duration,
    ) -> Result<Self, Error> {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = namespace.spawn(move || {
            let mut requests = Vec::new();
            loop {
                requests.push(whoami(address, limit));
                if stopped.recv_timeout(pause) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return requests;
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Stops after the request under way, and returns all of them in order.
    pub fn stop(mut self) -> Vec<Request> {
        self.finish()
    }

    fn finish(&mut self) -> Vec<Request> {
        drop(self.stop.take());
        // A request never panics; if it did, its message is on stderr and the missing requests fail the test.
        self.thread.take().map(|thread| thread.join().unwrap_or_default()).unwrap_or_default()
    }
}

impl Drop for BackgroundLoad {
    fn drop(&mut self) {
        self.finish();
    }
}

fn ask(address: SocketAddr, deadline: Instant) -> Result<String, String> {
    let step = |doing: &'static str| move |error: io::Error| format!("{doing}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)).map_err(step("connect"))?;
    stream.set_write_timeout(Some(left(deadline))).map_err(step("write"))?;
    let request = format!("GET /whoami HTTP/1.1\r\nHost: {SERVICE_NAME}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(step("write"))?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left(deadline))).map_err(step("read"))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err("read: timed out".to_owned());
            }
            Err(error) => return Err(step("read")(error)),
        }
    }
    body(&String::from_utf8_lossy(&answer))
}

/// The time left; never zero, which the socket calls take for "no limit".
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// The trimmed body of an HTTP answer of status 200.
fn body(answer: &str) -> Result<String, String> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("cut off: {answer:?}"))?;
    let status = head.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") if !body.trim().is_empty() => Ok(body.trim().to_owned()),
        Some("200") => Err("cut off: no body".to_owned()),
        _ => Err(format!("status: {status}")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_a_complete_200_is_an_answer() {
        for (answer, want) in [
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\nr1\n", Ok("r1")),
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\n", Err("cut off")),
            ("HTTP/1.1 200 OK\r\nA: b", Err("cut off")),
            ("", Err("cut off")),
            ("HTTP/1.1 502 Bad Gateway\r\n\r\nr1", Err("502")),
        ] {
            match (body(answer), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want),
                (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
                (got, _) => panic!("{answer:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn every_request_is_accounted_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            for index in 0..20 {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]).unwrap();
                let body = if index % 4 == 0 { "" } else { "r1\n" };
                stream.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{body}").as_bytes()).unwrap();
            }
        });
        let tally = connections(address, 20, 3);
        server.join().unwrap();
        assert_eq!(tally.replicas, BTreeMap::from([("r1".to_owned(), 15)]));
        assert_eq!(tally.errors.len(), 5);
    }

    #[test]
    fn a_server_that_never_answers_is_left_at_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let request = whoami(listener.local_addr().unwrap(), Duration::from_millis(50));
        assert_eq!(request.outcome, Err("read: timed out".to_owned()));
        assert!(request.took >= Duration::from_millis(50));
    }
}
