//! Servers that behave as a test wants: plain and TLS, on a loopback port of their own, gone when dropped.

use std::{
    future::Future,
    io::{Read, Write},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

use super::{AMPLE, LOOPBACK};

/// What a server does with each connection.
#[derive(Debug, Clone)]
pub(super) enum Script {
    /// Reads the request, sends this, closes.
    Answer(Vec<u8>),
    /// Reads the request, sends this, keeps the connection open and says no more.
    AnswerAndHang(Vec<u8>),
    /// Sends this at once, without a request.
    Greet(Vec<u8>),
    /// Closes at once.
    Close,
    /// Reads the request and closes.
    ReadAndClose,
    /// Resets the connection at once, or after the request.
    Reset { after_request: bool },
    /// Reads the request, sends this a byte at a time, with a pause before each, and closes.
    Drip(Vec<u8>, Duration),
    /// Reads the request, sends the first, and then the second over and over until nobody listens.
    Endless(Vec<u8>, Vec<u8>),
    /// The same without a request, as one who does not speak the protocol would.
    Babble(Vec<u8>),
    /// Reads the request, sends this, ends its own side, and keeps the other one open.
    HalfClose(Vec<u8>),
    /// Takes these turns, then keeps the connection open until the other side ends it.
    Talk(Vec<Turn>),
    /// The same, and closes at once.
    TalkAndClose(Vec<Turn>),
}

/// What a server does in a conversation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Turn {
    /// Says this.
    Say(&'static str),
    /// Hears a line.
    Hear,
}

impl Script {
    pub(super) fn answer(text: &str) -> Self {
        Self::Answer(text.as_bytes().to_vec())
    }

    /// A whole answer with this status line and body.
    pub(super) fn http(status: &str, body: &str) -> Self {
        let length = body.len();
        Self::answer(&format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"))
    }
}

/// What a server was asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Connections taken so far.
    pub(super) connections: usize,
    /// The requests' heads, with the bodies whose lengths are told; the lines of conversations.
    pub(super) requests: Vec<String>,
    /// Handshakes that took up an earlier session.
    pub(super) resumed: usize,
    /// The TLS server names that clients asked for.
    pub(super) names: Vec<Option<String>>,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    pub(super) async fn plain(script: Script) -> Self {
        Self::plain_at((LOOPBACK, 0).into(), script).await
    }

    pub(super) async fn plain_at(address: SocketAddr, script: Script) -> Self {
        Self::start(address, move |stream, seen| {
            let script = script.clone();
            async move { converse(stream, script, seen).await }
        })
        .await
    }

    /// Answers every request with 200 over TLS.
    pub(super) async fn tls(config: ServerConfig) -> Self {
        let config = Arc::new(config);
        Self::blocking_tls(config, answer_tls).await
    }

    /// Takes these turns over TLS.
    pub(super) async fn tls_talking(config: ServerConfig, turns: Vec<Turn>) -> Self {
        Self::blocking_tls(Arc::new(config), move |tls, seen| talk_tls(tls, &turns, seen)).await
    }

    async fn blocking_tls<F>(config: Arc<ServerConfig>, converse: F) -> Self
    where
        F: Fn(&mut TlsStream, &Mutex<Seen>) + Clone + Send + 'static,
    {
        Self::start((LOOPBACK, 0).into(), move |stream, seen| {
            let (config, converse) = (Arc::clone(&config), converse.clone());
            async move {
                let stream = stream.into_std().expect("a blocking stream");
                tokio::task::spawn_blocking(move || converse(&mut tls_on(stream, config), &seen))
                    .await
                    .expect("the TLS server's thread");
            }
        })
        .await
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().expect("not poisoned").clone()
    }

    async fn start<S, F>(address: SocketAddr, serve: S) -> Self
    where
        S: Fn(TcpStream, Arc<Mutex<Seen>>) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("bind to loopback");
        let address = listener.local_addr().expect("address of a bound socket");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let accepting = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                loop {
                    let Ok((stream, _from)) = listener.accept().await else {
                        // A test has taken all descriptors.
                        sleep(Duration::from_millis(5)).await;
                        continue;
                    };
                    seen.lock().expect("not poisoned").connections += 1;
                    tokio::spawn(serve(stream, Arc::clone(&seen)));
                }
            }
        });
        Self { address, seen, accepting }
    }
}

async fn converse(mut stream: TcpStream, script: Script, seen: Arc<Mutex<Seen>>) {
    match &script {
        Script::Close => return,
        Script::Greet(bytes) => {
            let _ = stream.write_all(bytes).await;
        }
        Script::Reset { after_request: false } => return reset(&stream),
        Script::Babble(bytes) => return babble(stream, bytes).await,
        Script::Talk(turns) => {
            if talk(&mut stream, turns, &seen).await {
                while stream.read_u8().await.is_ok() {}
            }
            return;
        }
        Script::TalkAndClose(turns) => {
            talk(&mut stream, turns, &seen).await;
            return;
        }
        Script::Answer(_)
        | Script::AnswerAndHang(_)
        | Script::ReadAndClose
        | Script::Reset { after_request: true }
        | Script::Drip(..)
        | Script::Endless(..)
        | Script::HalfClose(_) => {}
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_gone) => return,
        }
    }
    let mut request = String::from_utf8_lossy(&head).into_owned();
    let lengths = request
        .lines()
        .filter_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
    let mut body = vec![0; lengths.sum()];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    request.push_str(&String::from_utf8_lossy(&body));
    seen.lock().expect("not poisoned").requests.push(request);
    match script {
        Script::Talk(_) | Script::TalkAndClose(_) => {}
        Script::Greet(_) | Script::Close | Script::ReadAndClose | Script::Babble(_) => {}
        Script::Reset { .. } => reset(&stream),
        Script::Drip(bytes, pause) => {
            for byte in bytes {
                sleep(pause).await;
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        }
        Script::Endless(head, rest) => {
            if stream.write_all(&head).await.is_ok() {
                babble(stream, &rest).await;
            }
        }
        Script::HalfClose(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_u8().await;
        }
        // Writing fails when the probe has heard enough and left; that is for the test to judge.
        Script::Answer(bytes) => {
            let _ = stream.write_all(&bytes).await;
        }
        Script::AnswerAndHang(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.read_u8().await;
        }
    }
}

/// Until nobody listens.
async fn babble(mut stream: TcpStream, bytes: &[u8]) {
    let many = bytes.repeat(4096_usize.div_ceil(bytes.len()));
    while stream.write_all(&many).await.is_ok() {}
}

/// Has the connection end by a RST when it is dropped.
fn reset(stream: &TcpStream) {
    stream.set_zero_linger().expect("a socket that can be reset");
}

/// Takes the turns; whether the other side took its own.
async fn talk(stream: &mut TcpStream, turns: &[Turn], seen: &Mutex<Seen>) -> bool {
    for turn in turns {
        match turn {
            Turn::Say(text) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return false;
                }
            }
            Turn::Hear => {
                let mut line = Vec::new();
                while !line.ends_with(b"\n") {
                    match stream.read_u8().await {
                        Ok(byte) => line.push(byte),
                        Err(_gone) => return false,
                    }
                }
                seen.lock().expect("not poisoned").requests.push(String::from_utf8_lossy(&line).into_owned());
            }
        }
    }
    true
}

type TlsStream = StreamOwned<ServerConnection, std::net::TcpStream>;

fn tls_on(stream: std::net::TcpStream, config: Arc<ServerConfig>) -> TlsStream {
    stream.set_nonblocking(false).expect("a blocking stream");
    stream.set_read_timeout(Some(AMPLE)).expect("a read timeout");
    StreamOwned::new(ServerConnection::new(config).expect("a valid server config"), stream)
}

fn talk_tls(tls: &mut TlsStream, turns: &[Turn], seen: &Mutex<Seen>) {
    for turn in turns {
        match turn {
            Turn::Say(text) => {
                let _ = tls.write_all(text.as_bytes());
                let _ = tls.flush();
            }
            Turn::Hear => {
                let mut line = Vec::new();
                let mut byte = [0];
                while !line.ends_with(b"\n") {
                    match tls.read_exact(&mut byte) {
                        Ok(()) => line.push(byte[0]),
                        Err(_gone) => return,
                    }
                }
                seen.lock().expect("not poisoned").requests.push(String::from_utf8_lossy(&line).into_owned());
            }
        }
    }
    let _ = tls.read(&mut [0]);
}

fn answer_tls(tls: &mut TlsStream, seen: &Mutex<Seen>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match tls.read_exact(&mut byte) {
            Ok(()) => head.push(byte[0]),
            // The client did not like the certificate.
            Err(_gone) => return,
        }
    }
    {
        let mut seen = seen.lock().expect("not poisoned");
        seen.resumed += usize::from(tls.conn.handshake_kind() == Some(HandshakeKind::Resumed));
        seen.names.push(tls.conn.server_name().map(str::to_owned));
        seen.requests.push(String::from_utf8_lossy(&head).into_owned());
    }
    let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let _ = tls.flush();
}
