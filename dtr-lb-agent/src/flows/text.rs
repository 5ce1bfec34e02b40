//! Connections for people.

use comfy_table::{Table, presets};

use super::{FlowLine, Listing};

impl Listing {
    /// A line a connection, and how many there are.
    pub fn text(&self) -> String {
        if self.flows.is_empty() && self.matched == 0 {
            return match self.in_all {
                0 => "there are no flows: no client is connected\n".into(),
                all => format!("no flow matches; {all} flows in all\n"),
            };
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "client", "vip", "service", "nat", "replica", "mode", "state", "age", "idle", "packets", "bytes",
        ]);
        for line in &self.flows {
            let FlowLine {
                client, vip, service, nat, replica, mode, state, age_seconds, idle_seconds, ..
            } = line;
            let both = |there: Option<u64>, back: Option<u64>, show: fn(u64) -> String| {
                let show = |count: Option<u64>| count.map_or_else(|| "-".into(), show);
                if there.or(back).is_none() { "-".into() } else { format!("{}/{}", show(there), show(back)) }
            };
            table.add_row([
                client.to_string(),
                vip.to_string(),
                service.clone().unwrap_or_else(|| "-".into()),
                nat.map_or_else(|| "-".into(), |nat| nat.to_string()),
                replica.clone(),
                mode.clone(),
                state.clone(),
                age_seconds.map_or_else(|| "-".into(), span),
                span(*idle_seconds),
                both(line.packets_to_replica, line.packets_to_client, |count| count.to_string()),
                both(line.bytes_to_replica, line.bytes_to_client, bytes),
            ]);
        }
        let table: String = table.trim_fmt().lines().map(|line| format!("{}\n", line.trim())).collect();
        let left_out = match self.left_out {
            0 => String::new(),
            more => format!("; {more} more match and are left out (--limit)"),
        };
        let Self { matched, in_all, carrying, .. } = self;
        format!(
            "{table}{matched} match of {in_all} flows, of which {carrying} may still carry data{left_out}\n"
        )
    }
}

/// "0.4s", "12s", "3m05s", "2h00m".
pub(crate) fn span(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..10 => format!("{seconds:.1}s"),
        10..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
    }
}

/// "512B", "1.2KiB", "3.4GiB".
pub(crate) fn bytes(count: u64) -> String {
    let mut units = ["KiB", "MiB", "GiB", "TiB"].into_iter();
    let (mut number, mut unit) = (count as f64, "B");
    while number >= 1024.0
        && let Some(larger) = units.next()
    {
        (number, unit) = (number / 1024.0, larger);
    }
    if unit == "B" { format!("{count}B") } else { format!("{number:.1}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_without_packets_is_short_to_read() {
        let cases = [(0.0, "0.0s"), (9.94, "9.9s"), (59.9, "59s"), (185.0, "3m05s"), (7260.0, "2h01m")];
        for (seconds, expected) in cases {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn bytes_are_short_to_read() {
        let cases = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (1_300_000, "1.2MiB"),
            (5 << 40, "5.0TiB"),
            (5 << 50, "5120.0TiB"),
        ];
        for (count, expected) in cases {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn each_direction_has_its_number() {
        let line = FlowLine {
            client: "192.0.2.1:40000".parse().expect("an end"),
            vip: "10.0.0.10:443".parse().expect("an end"),
            service: Some("https".into()),
            nat: None,
            replica: "r1".into(),
            replica_address: None,
            mode: "nat".into(),
            state: "established".into(),
            half_open: false,
            idle_seconds: 0.1,
            age_seconds: Some(185.0),
            packets_to_replica: Some(7),
            bytes_to_replica: Some(900),
            packets_to_client: None,
            bytes_to_client: None,
        };
        let uncounted = FlowLine { packets_to_replica: None, bytes_to_replica: None, ..line.clone() };
        let listing =
            Listing { flows: vec![line, uncounted], matched: 2, left_out: 0, in_all: 2, carrying: 2 };
        let text = listing.text();
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1][6..], ["established", "3m05s", "0.1s", "7/-", "900B/-"]);
        assert_eq!(words[2][6..], ["established", "3m05s", "0.1s", "-", "-"]);
    }

    #[test]
    fn an_empty_list_says_what_there_is() {
        let none = Listing { flows: Vec::new(), matched: 0, left_out: 0, in_all: 0, carrying: 0 };
        assert_eq!(none.text(), "there are no flows: no client is connected\n");
        let others = Listing { in_all: 1234, ..none };
        assert_eq!(others.text(), "no flow matches; 1234 flows in all\n");
    }
}
