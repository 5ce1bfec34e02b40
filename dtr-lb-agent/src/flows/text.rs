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
        table.set_header(["client", "vip", "service", "nat", "replica", "mode", "state", "idle"]);
        for FlowLine { client, vip, service, nat, replica, mode, state, idle_seconds, .. } in &self.flows {
            table.add_row([
                client.to_string(),
                vip.to_string(),
                service.clone().unwrap_or_else(|| "-".into()),
                nat.map_or_else(|| "-".into(), |nat| nat.to_string()),
                replica.clone(),
                mode.clone(),
                state.clone(),
                idle(*idle_seconds),
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
fn idle(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..10 => format!("{seconds:.1}s"),
        10..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_without_packets_is_short_to_read() {
        let cases = [(0.0, "0.0s"), (9.94, "9.9s"), (59.9, "59s"), (185.0, "3m05s"), (7260.0, "2h01m")];
        for (seconds, expected) in cases {
            assert_eq!(idle(seconds), expected);
        }
    }

    #[test]
    fn an_empty_list_says_what_there_is() {
        let none = Listing { flows: Vec::new(), matched: 0, left_out: 0, in_all: 0, carrying: 0 };
        assert_eq!(none.text(), "there are no flows: no client is connected\n");
        let others = Listing { in_all: 1234, ..none };
        assert_eq!(others.text(), "no flow matches; 1234 flows in all\n");
    }
}
