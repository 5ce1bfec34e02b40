//! What `dtr-lb top` shows and how: statuses and keys in, the next picture out. Pure: it reads no clock and no keyboard.

use std::{net::IpAddr, time::Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::rates::{Change, Place, Rates, Sample};
use crate::status::{ReplicaStatus, ServiceStatus, Status};

/// By what the replicas of a service are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// As in the config.
    #[default]
    Config,
    NewFlows,
    Flows,
    Bytes,
    Failed,
    /// Those that are not up come first.
    Trouble,
}

impl Order {
    const ALL: [Self; 6] =
        [Self::Config, Self::NewFlows, Self::Flows, Self::Bytes, Self::Failed, Self::Trouble];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::NewFlows => "new/s",
            Self::Flows => "flows",
            Self::Bytes => "bytes/s",
            Self::Failed => "failed/s",
            Self::Trouble => "trouble",
        }
    }

    fn next(self) -> Self {
        let place = Self::ALL.iter().position(|order| *order == self).unwrap_or_default();
        Self::ALL[(place + 1) % Self::ALL.len()]
    }

    /// The larger, the further up.
    fn rank(self, replica: &ReplicaStatus, rates: &Rates) -> f64 {
        match self {
            Self::Config => 0.0,
            Self::NewFlows => rates.new_flows,
            Self::Flows => replica.flows as f64,
            Self::Bytes => rates.bytes_to_replica + rates.bytes_to_client,
            Self::Failed => rates.failed,
            Self::Trouble => match replica.state.as_str() {
                "down" => 3.0,
                "starting" => 2.0,
                "up" => 0.0,
                _ => 1.0,
            },
        }
    }
}

/// What is shown.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) last: Option<Sample>,
    /// `None` before the second status.
    pub(super) change: Option<Change>,
    /// Why there is no newer status.
    pub(super) trouble: Option<String>,
    pub(super) order: Order,
    /// Of the replicas as they are shown.
    pub(super) selected: usize,
    pub(super) help: bool,
}

/// A line of the table.
#[derive(Debug)]
pub(super) enum Row<'a> {
    Service(&'a ServiceStatus),
    /// `place`: among the replicas that are shown.
    Replica {
        place: usize,
        replica: &'a ReplicaStatus,
        rates: Option<Rates>,
    },
}

impl State {
    /// Takes in what the agent has answered.
    pub(super) fn take(&mut self, at: Instant, answer: Result<Status, String>) {
        match answer {
            Ok(status) => {
                let sample = Sample { at, status };
                // Across a gap it would be no rate of now.
                let before = self.last.take().filter(|_| self.trouble.is_none());
                self.change = before.map(|before| Change::between(&before, &sample));
                self.last = Some(sample);
                self.trouble = None;
                self.selected = self.selected.min(self.replicas().saturating_sub(1));
            }
            Err(trouble) => {
                self.change = None;
                self.trouble = Some(trouble);
            }
        }
    }

    /// Takes in a key. Returns whether it ends the program.
    pub(super) fn key(&mut self, key: KeyEvent) -> bool {
        if key.kind == KeyEventKind::Release {
            return false;
        }
        let last = self.replicas().saturating_sub(1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Char('q') => return true,
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc => return true,
            KeyCode::Char('s') => self.order = self.order.next(),
            KeyCode::Down | KeyCode::Char('j') => self.selected = (self.selected + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::PageDown => self.selected = (self.selected + 10).min(last),
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(10),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = last,
            _ => {}
        }
        false
    }

    fn replicas(&self) -> usize {
        let services = self.last.iter().flat_map(|sample| &sample.status.services);
        services.map(|service| service.replicas.len()).sum()
    }

    /// The table's lines: each service, and below it its replicas in the order that was asked for.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        let mut place = 0;
        for service in self.last.iter().flat_map(|sample| &sample.status.services) {
            rows.push(Row::Service(service));
            let mut replicas: Vec<_> = service
                .replicas
                .iter()
                .map(|replica| (replica, self.rates(&service.name, service.vip, replica)))
                .collect();
            let rank = |(replica, rates): &(&ReplicaStatus, Option<Rates>)| {
                self.order.rank(replica, &rates.unwrap_or_default())
            };
            // Stable: those that are equal stay as in the config, and do not jump.
            replicas.sort_by(|a, b| rank(b).total_cmp(&rank(a)));
            for (replica, rates) in replicas {
                rows.push(Row::Replica { place, replica, rates });
                place += 1;
            }
        }
        rows
    }

    fn rates(&self, service: &str, vip: IpAddr, replica: &ReplicaStatus) -> Option<Rates> {
        self.change.as_ref()?.replicas.get(&Place::new(service, vip, replica)).copied()
    }
}
