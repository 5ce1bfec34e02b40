//! A connection of a client's that stays open.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::lab::SERVICE_NAME;

use crate::Stage;

/// One connection on which requests follow each other.
pub(crate) struct Session {
    pub(crate) stream: TcpStream,
    pub(crate) replica: String,
}

/// Of opening it, and of its first request.
const OPENED_WITHIN: Duration = Duration::from_secs(3);
/// The answers to requests that are on their way: a packet that is lost is sent again after 0.2 s, 0.4 s, 0.8 s.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

impl Session {
    /// Opens it and makes a first request.
    pub(crate) fn open(stage: &Stage, vip: IpAddr) -> Result<Self> {
        let stream = Self::connect(stage, vip)??;
        let mut session = Self { stream, replica: String::new() };
        session.replica = session.ask(OPENED_WITHIN).context("the first request")?;
        Ok(session)
    }

    /// Opens a connection for one.
    pub(crate) fn connect(stage: &Stage, vip: IpAddr) -> Result<io::Result<TcpStream>> {
        let address = SocketAddr::new(vip, 80);
        let connect = || TcpStream::connect_timeout(&address, OPENED_WITHIN);
        Ok(stage.lab.client().namespace().run(connect)?)
    }

    pub(crate) fn ask(&mut self, limit: Duration) -> io::Result<String> {
        self.say()?;
        self.answer(limit)
    }

    /// Makes a request.
    pub(crate) fn say(&mut self) -> io::Result<()> {
        let request = format!("GET /whoami HTTP/1.1\r\nHost: {SERVICE_NAME}\r\n\r\n");
        self.stream.write_all(request.as_bytes())
    }

    /// Waits for an answer, and returns its body.
    pub(crate) fn answer(&mut self, limit: Duration) -> io::Result<String> {
        // A time-out of 0 would be none.
        self.stream.set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
        let mut text = String::new();
        loop {
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && body.ends_with('\n')
            {
                return Ok(body.trim().to_owned());
            }
            let mut buffer = [0; 2048];
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => text.push_str(&String::from_utf8_lossy(&buffer[..read])),
            }
        }
    }
}

/// All of them carry a request and its answer, by the replica that they were opened to.
pub(crate) fn all_live<'a>(stage: &Stage, sessions: impl Iterator<Item = &'a mut Session>) -> Result<()> {
    let mut sessions: Vec<_> = sessions.collect();
    let said: Vec<_> = sessions.iter_mut().map(|session| session.say()).collect();
    let deadline = Instant::now() + ANSWERED_WITHIN;
    let mut dead = Vec::new();
    for (session, said) in sessions.iter_mut().zip(said) {
        let left = deadline.saturating_duration_since(Instant::now());
        match said.and_then(|()| session.answer(left)) {
            Ok(replica) if replica == session.replica => {}
            Ok(other) => dead.push(format!("`{other}` answers for `{}`", session.replica)),
            Err(error) => dead.push(error.to_string()),
        }
    }
    ensure!(
        dead.is_empty(),
        "{} of {} connections live; the first that does not: {}; verdicts {:?}",
        sessions.len() - dead.len(),
        sessions.len(),
        dead[0],
        stage.balancer.status(&stage.lab)?.verdicts
    );
    Ok(())
}
