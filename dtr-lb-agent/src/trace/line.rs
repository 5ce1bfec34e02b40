//! What is told of a packet: as JSON, a line each, and for people.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// A line of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first one: from here on packets are seen.
    Begin(Begin),
    Packet(Box<PacketLine>),
    /// The last one.
    End(Finish),
}

/// How a trace begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// `xdp` or `tc`.
    pub hook: String,
    pub interfaces: Vec<String>,
    pub seconds: u64,
    pub count: u64,
    /// Whether packets that concern no service are left out.
    pub services_only: bool,
}

/// How it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// `time`, `count`, `reader` (who asked has gone) or `agent` (it ended, or could not go on).
    pub why: String,
    /// Packets that were shown.
    pub shown: u64,
    /// Packets that were to be shown and are not: the reader was too slow.
    pub lost: u64,
}

/// Both ends of a packet, with ports if they were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    pub source: String,
    pub destination: String,
}

/// A frame on one side of the datapath.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ways {
    pub interface: String,
    /// None where addresses were not read, or are not told: an answer goes back to where the packet came from.
    pub ends: Option<Ends>,
    /// Bytes of the frame, all of it.
    pub length: u32,
    /// Its first bytes, if they were asked for, in base64.
    pub frame: Option<String>,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketLine {
    pub time: Timestamp,
    /// As it came.
    #[serde(rename = "in")]
    pub came: Ways,
    /// `tcp`, `icmp`, `icmpv6`; none if it is none of these, or was not looked at.
    pub protocol: Option<String>,
    /// Of a TCP packet, as `SYN ACK`.
    pub flags: Option<String>,
    pub verdict: String,
    /// The verdict in words.
    pub reason: String,
    /// The client of its connection, if it is of one or opens one.
    pub client: Option<String>,
    pub service: Option<String>,
    pub replica: Option<String>,
    /// As it left; none if it did not.
    #[serde(rename = "out")]
    pub left: Option<Ways>,
}

impl PacketLine {
    /// For people, with the time of day here.
    pub fn text(&self) -> String {
        let Self { time, came, flags, verdict, replica, left, .. } = self;
        let time = time.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.6f");
        let mut text = format!("{time} {}", came.interface);
        match &came.ends {
            Some(ends) => _ = write!(text, " {} > {}", ends.source, ends.destination),
            None => text.push_str(" (not looked at)"),
        }
        for word in self.protocol.iter().filter(|protocol| *protocol != "tcp").chain(flags) {
            _ = write!(text, " {word}");
        }
        _ = write!(text, " {} bytes: {verdict}", came.length);
        if let Some(replica) = replica {
            _ = write!(text, ", {replica}");
        }
        match left {
            Some(left) => {
                if let Some(ends) = &left.ends {
                    _ = write!(text, ", as {} > {}", ends.source, ends.destination);
                }
                _ = write!(text, " by {}", left.interface);
            }
            None => _ = write!(text, " ({})", self.reason.trim_end_matches('.')),
        }
        text
    }

    /// The verdict and what follows from it, for a comment beside the frame.
    pub fn comment(&self) -> String {
        let replica = self.replica.as_ref().map(|replica| format!(", replica {replica}")).unwrap_or_default();
        format!("{}{replica}: {}", self.verdict, self.reason)
    }
}

impl Begin {
    /// What people are told before the first packet.
    pub fn text(&self) -> String {
        let left_out = if self.services_only {
            "; what concerns no service (ssh, ARP, ...) is left out, --verdict passed shows it"
        } else {
            ""
        };
        let Self { hook, interfaces, seconds, count, .. } = self;
        format!(
            "tracing {} ({hook}) for {seconds} s or {count} packets, Ctrl-C ends it{left_out}",
            interfaces.join(", ")
        )
    }
}

impl Finish {
    /// What people are told after the last packet.
    pub fn text(&self) -> String {
        let why = match self.why.as_str() {
            "time" => "the time is over",
            "count" => "that many were asked for",
            "agent" => "the agent has ended it",
            other => other,
        };
        let lost = match self.lost {
            0 => String::new(),
            lost => format!("; {} more matched that are not shown: the reader was too slow", grouped(lost)),
        };
        format!("{} packets, {why}{lost}", grouped(self.shown))
    }
}

/// "1,203"
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> PacketLine {
        PacketLine {
            time: Timestamp::UNIX_EPOCH,
            came: Ways {
                interface: "eth0".into(),
                ends: Some(Ends { source: "192.0.2.1:40000".into(), destination: "10.0.0.10:443".into() }),
                length: 74,
                frame: None,
            },
            protocol: Some("tcp".into()),
            flags: Some("SYN".into()),
            verdict: "dropped_denied".into(),
            reason: "A SYN from a client that may not connect.".into(),
            client: Some("192.0.2.1:40000".into()),
            service: Some("https".into()),
            replica: None,
            left: None,
        }
    }

    #[test]
    fn a_packet_that_ends_here_is_told_with_the_reason() {
        let text = packet().text();
        let expected = "eth0 192.0.2.1:40000 > 10.0.0.10:443 SYN 74 bytes: dropped_denied (A SYN from a client that \
                        may not connect)";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn a_packet_that_goes_on_is_told_with_its_way() {
        let left = Ways {
            interface: "eth1".into(),
            ends: Some(Ends { source: "10.0.0.2:40000".into(), destination: "10.0.0.11:443".into() }),
            length: 74,
            frame: None,
        };
        let line = PacketLine {
            verdict: "forwarded".into(),
            replica: Some("r1".into()),
            left: Some(left),
            ..packet()
        };
        let text = line.text();
        let expected = "74 bytes: forwarded, r1, as 10.0.0.2:40000 > 10.0.0.11:443 by eth1";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn lines_are_told_apart_by_their_one_key() {
        let line = serde_json::to_value(Line::Packet(Box::new(packet()))).expect("it is JSON");
        assert_eq!(line["packet"]["in"]["interface"], "eth0");
        assert_eq!(line["packet"]["out"], serde_json::Value::Null);
        let end = Finish { why: "time".into(), shown: 12, lost: 1203 };
        assert_eq!(
            end.text(),
            "12 packets, the time is over; 1,203 more matched that are not shown: the reader was too slow"
        );
        assert_eq!(serde_json::to_value(Line::End(end)).expect("it is JSON")["end"]["lost"], 1203);
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), expected);
        }
    }
}
