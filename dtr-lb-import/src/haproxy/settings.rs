//! What holds in a proxy: what its `defaults` say, and then what it says itself. The last one that says it counts.

use std::{rc::Rc, time::Duration};

use super::{
    sections::{Line, Section},
    server::Options,
    time,
};
use crate::{
    job::Said,
    report::{At, Ledger},
};

/// What a proxy reads of what it passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Tcp,
    Http,
    /// It is no proxy of connections.
    Other,
}

/// How servers are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckKind {
    Http,
    /// By `tcp-check` rules, or by a connection where there are none.
    Tcp,
    TlsHello,
    Redis,
    Smtp,
    Postgres,
    Mysql,
    Ldap,
    /// In a way that dtr-lb does not know: by a connection.
    Connection,
}

/// A list that proxies have in common with their `defaults`.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules<'a> {
    pub(super) list: Rc<Vec<&'a Line>>,
    /// None of them stands in the proxy itself.
    pub(super) is_inherited: bool,
}

impl<'a> Rules<'a> {
    /// Its own rules stand in the place of those of its `defaults`.
    fn replace(&mut self, line: &'a Line) {
        if self.is_inherited {
            *self = Self::default();
        }
        self.push(line);
    }

    /// Its own rules stand behind those of its `defaults`.
    fn push(&mut self, line: &'a Line) {
        self.is_inherited = false;
        Rc::make_mut(&mut self.list).push(line);
    }

    fn inherited(&self) -> Self {
        Self { list: Rc::clone(&self.list), is_inherited: true }
    }
}

/// All that holds in a proxy.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings<'a> {
    pub(super) mode: Option<Said<Mode>>,
    pub(super) client: Option<Said<Duration>>,
    pub(super) server: Option<Said<Duration>>,
    pub(super) tunnel: Option<Said<Duration>>,
    pub(super) check_timeout: Option<Said<Duration>>,
    pub(super) check: Option<(CheckKind, &'a Line)>,
    pub(super) http_check: Rules<'a>,
    pub(super) tcp_check: Rules<'a>,
    pub(super) balance: Option<&'a Line>,
    pub(super) default_server: Rc<Options>,
    pub(super) default_backend: Option<&'a Line>,
    pub(super) source: Option<&'a Line>,
    pub(super) all_backups: bool,
    pub(super) disabled: bool,
    /// Pages about HAProxy itself, or about its health.
    pub(super) has_pages: bool,
    /// `tcp-request` and those of HTTP that let clients in or keep them out, in the order of the file.
    pub(super) access: Rules<'a>,
    pub(super) stick_table: Option<&'a Line>,
    // What `defaults` do not hand on.
    pub(super) binds: Vec<&'a Line>,
    pub(super) servers: Vec<&'a Line>,
    pub(super) acls: Vec<&'a Line>,
    pub(super) use_backend: Vec<&'a Line>,
    pub(super) stick: Vec<&'a Line>,
}

impl<'a> Settings<'a> {
    /// What is handed on to those that follow.
    pub(super) fn inherited(&self) -> Self {
        Self {
            http_check: self.http_check.inherited(),
            tcp_check: self.tcp_check.inherited(),
            access: self.access.inherited(),
            default_server: Rc::clone(&self.default_server),
            binds: Vec::new(),
            servers: Vec::new(),
            acls: Vec::new(),
            use_backend: Vec::new(),
            stick: Vec::new(),
            stick_table: None,
            ..*self
        }
    }

    /// Takes in all lines of a section.
    pub(super) fn read(&mut self, section: &'a Section, ledger: &mut Ledger) {
        for line in &section.lines {
            self.line(line, ledger);
        }
    }

    pub(super) fn is_http(&self) -> bool {
        self.mode.is_some_and(|mode| mode.value == Mode::Http)
    }

    /// It sends clients elsewhere by itself.
    pub(super) fn is_redirecting(&self, section: &Section) -> bool {
        let redirects = |line: &Line| {
            line.word(0) == "redirect" || (line.word(0) == "http-request" && line.word(1) == "redirect")
        };
        section.lines.iter().any(redirects)
    }

    fn line(&mut self, line: &'a Line, ledger: &mut Ledger) {
        let at = line.at;
        match (line.word(0), line.word(1)) {
            ("mode", mode) => {
                let value = match mode {
                    "tcp" => Mode::Tcp,
                    "http" => Mode::Http,
                    _ => Mode::Other,
                };
                self.mode = Some(Said { value, at });
            }
            ("timeout", "client") => self.client = read_time(line, 2, ledger),
            ("timeout", "server") => self.server = read_time(line, 2, ledger),
            ("timeout", "tunnel") => self.tunnel = read_time(line, 2, ledger),
            ("timeout", "check") => self.check_timeout = read_time(line, 2, ledger),
            ("clitimeout", _) => self.client = read_time(line, 1, ledger),
            ("srvtimeout", _) => self.server = read_time(line, 1, ledger),
            ("option", "allbackups") => self.all_backups = !line.negated,
            ("option", option) => {
                if let Some(kind) = check_kind(option) {
                    self.check = (!line.negated).then_some((kind, line));
                }
            }
            ("http-check", _) => self.http_check.replace(line),
            ("tcp-check", _) => self.tcp_check.replace(line),
            ("balance", _) => self.balance = Some(line),
            ("default-server", _) => Rc::make_mut(&mut self.default_server).read(line, 1, ledger),
            ("default_backend", _) => self.default_backend = Some(line),
            ("source", _) => self.source = Some(line),
            ("disabled", _) => self.disabled = true,
            ("enabled", _) => self.disabled = false,
            ("stats", "socket" | "timeout" | "maxconn") => {}
            ("stats" | "monitor-uri" | "monitor-net", _) | ("http-request", "use-service" | "return") => {
                self.has_pages = true
            }
            ("tcp-request", "connection" | "session" | "content")
            | ("http-request", "deny" | "allow" | "reject" | "silent-drop" | "tarpit")
            | ("block", _) => self.access.push(line),
            ("stick-table", _) => self.stick_table = Some(line),
            ("bind", _) => self.binds.push(line),
            ("server" | "server-template" | "dispatch", _) => self.servers.push(line),
            ("acl", _) => self.acls.push(line),
            ("use_backend", _) => self.use_backend.push(line),
            ("stick", _) => self.stick.push(line),
            _ => {}
        }
    }
}

fn check_kind(option: &str) -> Option<CheckKind> {
    Some(match option {
        "httpchk" => CheckKind::Http,
        "tcp-check" => CheckKind::Tcp,
        "ssl-hello-chk" => CheckKind::TlsHello,
        "redis-check" => CheckKind::Redis,
        "smtpchk" => CheckKind::Smtp,
        "pgsql-check" => CheckKind::Postgres,
        "mysql-check" => CheckKind::Mysql,
        "ldap-check" => CheckKind::Ldap,
        "spop-check" | "external-check" => CheckKind::Connection,
        _ => return None,
    })
}

fn read_time(line: &Line, index: usize, ledger: &mut Ledger) -> Option<Said<Duration>> {
    let text = line.word(index);
    let value = time_or_fault(text, line.at, ledger)?;
    // None at all.
    let value = if value.is_zero() { time::LONGEST } else { value };
    Some(Said { value, at: line.at })
}

/// A time; what is none is told.
pub(super) fn time_or_fault(text: &str, at: At, ledger: &mut Ledger) -> Option<Duration> {
    let value = time::read(text);
    if value.is_none() {
        ledger.fault(at, format!("{text:?} is no time for HAProxy, which reads one number and one of us, ms, s, m, h and d: nothing is made of it"));
    }
    value
}
