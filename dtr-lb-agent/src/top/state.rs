//! What `dtr-lb top` shows and how: statuses and keys in, the next picture and what is to be ordered out. Pure: it reads no clock and
//! no keyboard, and orders nothing itself. What would change something is asked about first.

use std::{net::IpAddr, time::Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::rates::{Change, Place, Rates, Sample};
use crate::{
    api::{Ordered, ReplicaOrder, Replicas},
    status::{AgentStatus, LastOrder, ReplicaStatus, ServiceStatus, Status},
};

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

/// What follows from a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Quit,
    Do(Act),
}

/// What changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Order(ReplicaOrder),
    Undo,
}

/// What is done if the next key is a y.
#[derive(Debug)]
pub(super) struct Question {
    act: Act,
    pub(super) text: String,
}

/// What became of an act.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) text: String,
    pub(super) is_refusal: bool,
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
    pub(super) asking: Option<Question>,
    /// Shown until the next key.
    pub(super) told: Option<Told>,
    /// The name of this host; may be empty.
    pub(super) host: String,
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
    /// Below a replica that is not up, or not as it should be.
    Why(&'a ReplicaStatus, String),
    /// Below a replica that takes much longer than its peers.
    Slow(&'a str),
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

    /// Takes in what became of an act.
    pub(super) fn done(&mut self, result: Result<Ordered, String>) {
        self.told = Some(match result {
            Ok(Ordered { done, notes }) => {
                let notes = notes.into_iter().map(|note| format!("note: {note}"));
                Told { text: done.into_iter().chain(notes).collect::<Vec<_>>().join("; "), is_refusal: false }
            }
            Err(why) => Told { text: format!("not done: {why}"), is_refusal: true },
        });
    }

    /// Takes in a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Stay;
        }
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Next::Quit;
        }
        self.told = None;
        if let Some(Question { act, text: _ }) = self.asking.take() {
            return if matches!(key.code, KeyCode::Char('y' | 'Y')) { Next::Do(act) } else { Next::Stay };
        }
        let last = self.replicas().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc => return Next::Quit,
            KeyCode::Char(letter @ ('d' | 'r' | 'm' | 'u')) if !self.help => self.ask(letter),
            KeyCode::Char('s') => self.order = self.order.next(),
            KeyCode::Down | KeyCode::Char('j') => self.selected = (self.selected + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::PageDown => self.selected = (self.selected + 10).min(last),
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(10),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = last,
            _ => {}
        }
        Next::Stay
    }

    /// Asks whether to do what the key stands for.
    fn ask(&mut self, letter: char) {
        match self.question(letter) {
            Ok(question) => self.asking = Some(question),
            Err(why) => self.told = Some(Told { text: why.to_owned(), is_refusal: true }),
        }
    }

    fn question(&self, letter: char) -> Result<Question, &'static str> {
        let status =
            self.last.as_ref().map(|sample| &sample.status).ok_or("there is no answer of an agent yet")?;
        if letter == 'u' {
            let LastOrder { order, .. } =
                status.last_order.as_ref().ok_or("there is no order to take back")?;
            return Ok(Question { act: Act::Undo, text: format!("take back `{order}`? y/n") });
        }
        let (service, replica) = self.selected_replica().ok_or("there is no replica")?;
        let (named, of) = (Replicas(vec![replica.name.clone()]), Some(service.name.clone()));
        let (verb, order) = match letter {
            'd' => ("drain", ReplicaOrder::Drain { replica: named, service: of }),
            'r' => ("ready", ReplicaOrder::Ready { replica: named, service: of }),
            _ => ("maint", ReplicaOrder::Maint { replica: named, service: of }),
        };
        let connections = match (letter, replica.flows) {
            ('m', 1) => " and reset its connection".to_owned(),
            ('m', flows @ 2..) => format!(" and reset its {flows} connections"),
            _ => String::new(),
        };
        let text = format!("{verb} {} of {}{connections}? y/n", replica.name, service.name);
        Ok(Question { act: Act::Order(order), text })
    }

    fn selected_replica(&self) -> Option<(&ServiceStatus, &ReplicaStatus)> {
        let mut of = None;
        for row in self.rows() {
            match row {
                Row::Service(service) => of = Some(service),
                Row::Replica { place, replica, .. } if place == self.selected => return Some((of?, replica)),
                Row::Replica { .. } | Row::Why(..) | Row::Slow(_) => {}
            }
        }
        None
    }

    fn replicas(&self) -> usize {
        let services = self.last.iter().flat_map(|sample| &sample.status.services);
        services.map(|service| service.replicas.len()).sum()
    }

    /// The table's lines: each service, and below it its replicas in the order that was asked for, each with why it is not up.
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
                rows.extend(why(replica).map(|why| Row::Why(replica, why)));
                let slow = service.slow.iter().filter(|slow| slow.replica == replica.name);
                rows.extend(slow.map(|slow| Row::Slow(&slow.text)));
                place += 1;
            }
        }
        rows
    }

    fn rates(&self, service: &str, vip: IpAddr, replica: &ReplicaStatus) -> Option<Rates> {
        self.change.as_ref()?.replicas.get(&Place::new(service, vip, replica)).copied()
    }
}

/// Why a replica is not up, and what else is wrong with it; nothing of one that is well.
fn why(replica: &ReplicaStatus) -> Option<String> {
    let words = words(replica);
    let is_well = replica.state == "up" && replica.warning.is_none();
    (!is_well && !words.is_empty()).then(|| words.join("; "))
}

/// The reason of its state, what its last probe found, what it says of itself, what is wrong besides; each once.
pub(super) fn words(replica: &ReplicaStatus) -> Vec<String> {
    let ReplicaStatus { reason, last_probe, agent, warning, .. } = replica;
    let error = last_probe
        .as_ref()
        .and_then(|probe| probe.error.as_ref())
        .filter(|error| Some(*error) != reason.as_ref());
    let agent = agent.as_ref().and_then(AgentStatus::words);
    [reason.as_ref(), error, agent.as_ref(), warning.as_ref()].into_iter().flatten().cloned().collect()
}

#[cfg(test)]
mod tests;
