//! New inputs out of old ones: what a tired operator or a hostile program would write, and noise.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::{Target, api::PATHS};

/// Values that have made trouble somewhere.
const VALUES: &[&str] = &[
    "0",
    "1",
    "-1",
    "256",
    "257",
    "65535",
    "65536",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "nan",
    "inf",
    "true",
    "false",
    "\"\"",
    "[]",
    "{}",
    "[[]]",
    "\"10.0.0.10\"",
    "\"10.0.0.11\"",
    "\"0.0.0.0\"",
    "\"255.255.255.255\"",
    "\"::\"",
    "\"::1\"",
    "\"::ffff:10.0.0.10\"",
    "\"fe80::1%eth0\"",
    "\"fd00::10\"",
    "[\"10.0.0.10\", \"fd00::10\"]",
    "\"0s\"",
    "\"1ns\"",
    "\"1h 30m\"",
    "\"584942417355y\"",
    "\"18446744073709551615s\"",
    "\"-1s\"",
    "\"10000-32767\"",
    "\"1-65535\"",
    "\"2-1\"",
    "\"0%\"",
    "\"50%\"",
    "\"1e9%\"",
    "\"dsr\"",
    "\"ipip\"",
    "\"tc\"",
    "\"none\"",
    "\"200-399\"",
    "[\"200\", \"0-65535\"]",
    "\"(a*)*\"",
    "\"\\\\p{L}{1000}\"",
    "\"x{1000}{1000}\"",
    "\"[\"",
    "\"/\"",
    "\"../../x\"",
    "\"/\\u0000\"",
    "\"\\u202e\"",
    "\"eth0\"",
    "\"eth0.4094\"",
    "1979-05-27T07:32:00Z",
    "0x7fffffffffffffff",
    "'''\n'''",
    "\"0.0.0.0/0\"",
    "\"10.0.0.0/33\"",
    "\"100::/64\"",
    "\"a.example.com\"",
];

/// What a request may be made of.
const METHODS: &[&str] = &["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "X"];
const QUERIES: &[&str] = &[
    "?",
    "?limit=18446744073709551616",
    "?source=10.0.0.1:70000",
    "?destination=[::1]:80",
    "?filter=%00",
    "?a=b&a=b",
    "?%zz",
    "?service=https&replica=r1",
    "?for=1s",
    "?count=-1",
    "?source=10.0.0.1&destination=10.0.0.10:443",
    "?format=json",
];
const HEADERS: &[&str] = &[
    "content-type: application/json",
    "content-type: text/plain",
    "host: 127.0.0.1:8181",
    "host: evil.example",
    "origin: http://evil.example",
    "authorization: Bearer x",
    "authorization: Bearer ",
    "authorization: \u{fffd}",
    "content-length: 99999999999999999999",
    "transfer-encoding: chunked",
    "accept: text/html",
    "sec-fetch-site: cross-site",
    "content-encoding: gzip",
    "expect: 100-continue",
    "x-dtr-lb: 1",
];
const BODIES: &[&str] = &[
    "{}",
    "[]",
    "null",
    "\"\"",
    "{\"action\":\"drain\",\"replica\":\"r1\"}",
    "{\"action\":\"weight\",\"replica\":\"r1\",\"weight\":257}",
    "{\"action\":\"add\",\"replica\":\"10.0.0.11\",\"save\":true}",
    "{\"action\":\"remove\",\"replica\":\"r1\",\"service\":null}",
    "{\"action\":\"maint\",\"replica\":[]}",
    "{\"action\":\"ready\",\"replica\":\"r1\",\"service\":\"https\",\"extra\":1}",
    "{\"action\":\"weight\",\"replica\":\"r1\",\"weight\":-1}",
    "{\"action\":\"weight\",\"replica\":\"r1\",\"weight\":1e400}",
];

/// A new input, from these. `kept` is never empty.
pub fn mutate(target: Target, kept: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    if target == Target::Api && random.random_ratio(1, 4) {
        return request(random);
    }
    // What it began with is among the first.
    let from = if random.random() { &kept[..kept.len().min(16)] } else { kept };
    let mut input = from.choose(random).cloned().unwrap_or_default();
    // One change to a valid config may leave it valid; four seldom do.
    let steps = if random.random() { 1 } else { random.random_range(2..=4) };
    for _ in 0..steps {
        step(target, &mut input, kept, random);
    }
    // A file that is longer is no other case.
    input.truncate(16 << 10);
    input
}

fn step(target: Target, input: &mut Vec<u8>, kept: &[Vec<u8>], random: &mut StdRng) {
    match random.random_range(0..10) {
        0 => bytes(input, random),
        1 => {
            // A part of it is gone, or there twice.
            let (start, end) = range(input.len(), random);
            let part = input[start..end].to_vec();
            if random.random() {
                input.drain(start..end);
            } else {
                input.splice(start..start, part);
            }
        }
        2 => {
            let other = kept.choose(random).cloned().unwrap_or_default();
            let (at, from) = (range(input.len(), random).0, range(other.len(), random).0);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        3 => {
            // Deep, or long.
            let (start, end) = range(input.len().min(1 << 12), random);
            let part = input[start..end.min(start + 16)].to_vec();
            let times = [2, 10, 100, 1000][random.random_range(0..4)];
            input.splice(start..start, part.repeat(times));
        }
        4 | 5 => lines(input, kept, random),
        _ => match target {
            Target::Config => value(input, random),
            Target::Api => part_of_request(input, random),
            Target::Import => word(input, kept, random),
        },
    }
}

fn range(length: usize, random: &mut StdRng) -> (usize, usize) {
    let (a, b) = (random.random_range(0..=length), random.random_range(0..=length));
    // Most often short ones.
    let (start, end) = (a.min(b), a.max(b));
    if random.random_ratio(3, 4) { (start, end.min(start + 24)) } else { (start, end) }
}

/// A word in the place of another one, or before it.
fn word(input: &mut Vec<u8>, kept: &[Vec<u8>], random: &mut StdRng) {
    let words = |text: &[u8]| -> Vec<(usize, usize)> {
        let mut words = Vec::new();
        let mut start = None;
        for (at, byte) in text.iter().chain(b" ").enumerate() {
            match (byte.is_ascii_whitespace(), start) {
                (false, None) => start = Some(at),
                (true, Some(first)) => {
                    words.push((first, at));
                    start = None;
                }
                _ => {}
            }
        }
        words
    };
    let other = kept.choose(random).cloned().unwrap_or_default();
    let Some(&(from, to)) = words(&other).choose(random) else { return };
    let Some(&(start, end)) = words(input).choose(random) else { return };
    let end = if random.random() { end } else { start };
    let new = [&other[from..to], b" "].concat();
    input.splice(start..end, new);
}

fn bytes(input: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..=8) {
        let byte = match random.random_range(0..3) {
            0 => random.random(),
            1 => *b"[]{}\"'=.,#\n \\".choose(random).unwrap_or(&0),
            _ => random.random_range(b' '..=b'~'),
        };
        let at = random.random_range(0..=input.len());
        match input.get_mut(at) {
            Some(there) if random.random() => *there = byte,
            _ => input.insert(at, byte),
        }
    }
}

/// A line goes, comes twice, goes elsewhere, or comes from another input.
fn lines(input: &mut Vec<u8>, kept: &[Vec<u8>], random: &mut StdRng) {
    let mut all: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let at = random.random_range(0..all.len());
    let to = random.random_range(0..all.len());
    match random.random_range(0..4) {
        0 => drop(all.remove(at)),
        1 => all.insert(to, all[at].clone()),
        2 => all.swap(at, to),
        _ => {
            let other = kept.choose(random).cloned().unwrap_or_default();
            let others: Vec<_> = other.split(|byte| *byte == b'\n').collect();
            if let Some(line) = others.choose(random) {
                all.insert(to, line.to_vec());
            }
        }
    }
    *input = all.join(&b'\n');
}

/// One key of a config gets another value.
fn value(input: &mut Vec<u8>, random: &mut StdRng) {
    let Some(value) = VALUES.choose(random) else { return };
    let places: Vec<_> = (0..input.len()).filter(|at| input[*at] == b'=').collect();
    let Some(&at) = places.choose(random) else { return };
    let end = input[at..].iter().position(|byte| *byte == b'\n').map_or(input.len(), |line| at + line);
    input.splice(at + 1..end, format!(" {value}").into_bytes());
}

fn part_of_request(input: &mut Vec<u8>, random: &mut StdRng) {
    let fresh = request(random);
    let split = |input: &[u8]| {
        let text = String::from_utf8_lossy(input).into_owned();
        let (head, body) =
            text.split_once("\n\n").map_or((text.clone(), String::new()), |(a, b)| (a.into(), b.into()));
        let (first, headers) =
            head.split_once('\n').map_or((head.clone(), String::new()), |(a, b)| (a.into(), b.into()));
        [first, headers, body]
    };
    let (mut own, other) = (split(input), split(&fresh));
    let part = random.random_range(0..3);
    own[part].clone_from(&other[part]);
    let [first, headers, body] = own;
    *input = format!("{first}\n{headers}\n\n{body}").into_bytes();
}

fn request(random: &mut StdRng) -> Vec<u8> {
    let mut pick = |from: &[&'static str]| from.choose(random).copied().unwrap_or_default();
    let (method, path, body) = (pick(METHODS), pick(PATHS), pick(BODIES));
    let (query, header, other) = (pick(QUERIES), pick(HEADERS), pick(HEADERS));
    let query = if random.random() { query } else { "" };
    let method = if random.random() { "POST" } else { method };
    format!("{method} {path}{query}\n{header}\n{other}\n\n{body}").into_bytes()
}
