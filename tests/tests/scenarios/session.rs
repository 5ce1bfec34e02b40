//! A connection of a client's that stays open.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};
use dtr_lb_tests::lab::SERVICE_NAME;

use crate::Stage;

/// One connection on which requests follow each other.
pub(crate) struct Session {
    pub(crate) stream: TcpStream,
    pub(crate) replica: String,
}

/// Of opening it, and of its first request.
const OPENED_WITHIN: Duration = Duration::from_secs(3);

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
