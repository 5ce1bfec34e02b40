//! Which keys go with which scheme: one that would be ignored is refused, so that no probe asks less than an operator
//! wrote down. `scheme = "none"` takes them all: it turns a probe off and leaves it as it is written.

use toml::Spanned;

use super::super::field::Table;
use super::super::problems::Problems;
use super::super::raw::RawProbe;
use super::Scheme;

const HTTP: &[Scheme] = &[Scheme::Http, Scheme::Https];
const TLS: &[Scheme] = &[Scheme::Https, Scheme::Tls];
const NAMED: &[Scheme] = &[Scheme::Http, Scheme::Https, Scheme::Tls];
const CONVERSATION: &[Scheme] = &[Scheme::Tcp, Scheme::Tls];

/// A key that not every scheme has.
struct Bound {
    key: &'static str,
    /// Where it is written, if it is.
    at: Option<usize>,
    schemes: &'static [Scheme],
}

fn bound(raw: &RawProbe) -> Vec<Bound> {
    fn of<T>(key: &'static str, value: Option<&Spanned<T>>, schemes: &'static [Scheme]) -> Bound {
        Bound { key, at: value.map(|value| value.span().start), schemes }
    }
    // Named one by one, so that a new key is not forgotten here.
    let RawProbe {
        scheme: _,
        port: _,
        method,
        path,
        host,
        headers,
        request_body,
        verify,
        alpn,
        status,
        body,
        reject_body,
        expect_headers,
        reject_headers,
        steps,
        interval: _,
        fast_interval: _,
        down_interval: _,
        timeout: _,
        rise: _,
        fall: _,
        jitter: _,
        agent_port: _,
    } = raw;
    vec![
        of("method", method.as_ref(), HTTP),
        of("path", path.as_ref(), HTTP),
        of("host", host.as_ref(), NAMED),
        of("headers", headers.as_ref(), HTTP),
        of("request_body", request_body.as_ref(), HTTP),
        of("verify", verify.as_ref(), TLS),
        of("alpn", alpn.as_ref(), TLS),
        of("status", status.as_ref(), HTTP),
        of("body", body.as_ref(), HTTP),
        of("reject_body", reject_body.as_ref(), HTTP),
        of("expect_headers", expect_headers.as_ref(), HTTP),
        of("reject_headers", reject_headers.as_ref(), HTTP),
        of("steps", steps.as_ref(), CONVERSATION),
    ]
}

fn strangers(raw: &RawProbe, scheme: Scheme) -> impl Iterator<Item = (usize, Bound)> {
    let all = if scheme == Scheme::None { Vec::new() } else { bound(raw) };
    all.into_iter()
        .filter_map(move |key| Some((key.at?, key)))
        .filter(move |(_, key)| !key.schemes.contains(&scheme))
}

/// Refuses each key that the written scheme would ignore.
pub(super) fn written(table: &Table, raw: &RawProbe, scheme: Scheme, problems: &mut Problems<'_>) {
    for (at, Bound { key, schemes, .. }) in strangers(raw, scheme) {
        let what = format!("means nothing with scheme = \"{scheme}\"; it goes with {}", list(schemes));
        problems.plain(at, &table.key_of(key), what);
    }
}

/// Whether the scheme that is taken because none is written fits the other keys; if not, it is to be written.
pub(super) fn unwritten(
    table: &Table,
    raw: &RawProbe,
    scheme: Scheme,
    port: u16,
    problems: &mut Problems<'_>,
) -> bool {
    let Some((_, Bound { key, schemes, .. })) = strangers(raw, scheme).next() else { return true };
    let what = format!(
        "unwritten, so it is \"{scheme}\" for replica_port {port}, and `{key}` here needs {}; write which",
        list(schemes)
    );
    problems.missing(table, "scheme", what);
    false
}

/// `"http", "https" or "tls"`.
fn list(schemes: &[Scheme]) -> String {
    let words: Vec<_> = schemes.iter().map(|scheme| format!("\"{scheme}\"")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
