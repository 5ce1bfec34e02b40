//! Parameters of `listen` and of an upstream's `server`.

use super::{Becomes, Becomes::*, Rows};

/// Those of `listen`, without what stands behind `=`.
pub(in super::super) const LISTEN: Rows = &[
    ("ssl udp quic proxy_protocol ipv6only", Read),
    (
        "backlog rcvbuf sndbuf reuseport so_keepalive fastopen deferred bind accept_filter setfib multipath",
        Differs("settings of a listening socket: dtr-lb has none, connections pass through it"),
    ),
    (
        "default_server default",
        Differs("dtr-lb has one service for an address and port, and no default among several"),
    ),
    ("http2 spdy http3", Differs("clients and replicas agree on HTTP's version themselves")),
];

/// Those of `server` in `upstream`.
pub(in super::super) const SERVER: Rows = &[
    ("weight max_fails fail_timeout backup down max_conns slow_start service resolve", Read),
    ("route", Differs("no cookie of a client's names its server: affinity goes by its address")),
    ("drain", Read),
    ("sid id", Differs("a name of the server in cookies and in the API, which dtr-lb does not need")),
];

/// The same as [`LISTEN`], named so that the documentation can tell them from directives.
pub(super) const LISTEN_NAMES: Rows = &[
    ("listen:ipv6only", Read),
    ("listen:ssl listen:udp listen:quic listen:proxy_protocol", Decides("")),
    (
        "listen:backlog listen:rcvbuf listen:sndbuf listen:reuseport listen:so_keepalive listen:fastopen listen:deferred \
         listen:bind listen:accept_filter listen:setfib listen:multipath listen:default_server listen:default listen:http2 \
         listen:spdy listen:http3",
        Differs(""),
    ),
];

/// The same as [`SERVER`].
pub(super) const SERVER_NAMES: Rows = &[
    (
        "server:weight server:max_fails server:fail_timeout server:backup server:down server:max_conns server:slow_start \
         server:resolve server:drain",
        Read,
    ),
    ("server:route server:sid server:id", Differs("")),
    ("server:service", Decides("")),
];

/// What becomes of a parameter (`weight=5`, `backup`).
pub(in super::super) fn parameter(rows: Rows, parameter: &str) -> Option<Becomes> {
    let name = parameter.split('=').next().unwrap_or(parameter);
    super::names(rows).find(|(known, _)| *known == name).map(|(_, becomes)| becomes)
}

#[cfg(test)]
mod tests {
    use super::{super::names, *};

    #[test]
    fn the_documentation_names_every_parameter() {
        for (prefix, rows, documented) in
            [("listen:", LISTEN, LISTEN_NAMES), ("server:", SERVER, SERVER_NAMES)]
        {
            let rows: std::collections::BTreeSet<_> =
                names(rows).map(|(name, _)| format!("{prefix}{name}")).collect();
            assert_eq!(rows, names(documented).map(|(name, _)| name.to_owned()).collect());
        }
    }
}
