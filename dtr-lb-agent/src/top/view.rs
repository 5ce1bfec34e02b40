//! The picture: a [`State`] drawn into a frame of any size. What does not fit is left out, the least needed first.

use std::net::SocketAddr;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Cell, Clear, Paragraph, Row as TableRow, Table, TableState, Wrap},
};

use super::{
    rates::Rates,
    state::{Row, State, Told, words},
};
use crate::status::{ReplicaStatus, Status};

/// From so many columns on, addresses are shown, too.
const WIDE: u16 = 110;
/// Verdicts are shown in so many lines at most.
const VERDICT_LINES: u16 = 4;

/// What became of an order, too.
const TOLD_LINES: u16 = 4;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let verdicts = verdict_lines(state, frame.area().width);
    let verdict_height = (verdicts.len() as u16).min(VERDICT_LINES);
    let told = state.told.as_ref().map(|told| Paragraph::new(told_line(told)).wrap(Wrap { trim: false }));
    let told_height = state.told.as_ref().map_or(0, |told| told_lines(told, frame.area().width));
    let [head, table, detail, below, message, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(3),
        Constraint::Length(1),
        Constraint::Length(verdict_height),
        Constraint::Length(told_height),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(header(state)), head);
    draw_table(frame, state, table);
    frame.render_widget(Paragraph::new(selected(state)), detail);
    frame.render_widget(Paragraph::new(verdicts), below);
    if let Some(told) = told {
        frame.render_widget(told, message);
    }
    let last = match &state.asking {
        Some(question) => Paragraph::new(question.text.clone()).style(BOLD.fg(Color::Yellow)),
        None => Paragraph::new(format!(
            "q quit  ? help  s sort: {}  j/k select  d drain  r ready  m maint  u undo",
            state.order.name()
        ))
        .style(Style::new().add_modifier(Modifier::REVERSED)),
    };
    frame.render_widget(last, foot);
    if state.help {
        draw_help(frame);
    }
}

fn told_line(told: &Told) -> Line<'static> {
    let style = if told.is_refusal { Style::new().fg(Color::Red).add_modifier(Modifier::BOLD) } else { BOLD };
    Line::styled(told.text.clone(), style)
}

/// How many lines it takes, about: words that do not fit into the rest of a line leave it empty.
fn told_lines(told: &Told, width: u16) -> u16 {
    let letters = u16::try_from(told.text.chars().count()).unwrap_or(u16::MAX);
    (letters.div_ceil(width.saturating_sub(10).max(1))).min(TOLD_LINES)
}

fn header(state: &State) -> Vec<Line<'static>> {
    let Some(sample) = &state.last else { return vec![trouble(state)] };
    let Status { version, datapath, .. } = &sample.status;
    let places = datapath.attach.iter().map(|place| {
        let missing = if place.present { "" } else { " MISSING" };
        format!("{} {}{missing}", place.interface, place.hook)
    });
    let places: Vec<_> = places.collect();
    let places = if places.is_empty() { "not attached".to_owned() } else { places.join(", ") };
    let behind = if datapath.up_to_date { "" } else { "  TABLES NOT UP TO DATE" };
    let host = if state.host.is_empty() { String::new() } else { format!(" on {}", state.host) };
    let first = format!(
        "dtr-lb {version}{host}  {places}  flows {} of {}{behind}",
        count(datapath.flows as f64),
        count(datapath.max_flows as f64)
    );
    if state.trouble.is_some() {
        return vec![Line::styled(first, BOLD), trouble(state)];
    }
    let second = match &state.change {
        None => "rates: from the second answer on".to_owned(),
        Some(change) => {
            let Rates { new_flows, failed, packets, bytes_to_replica, bytes_to_client } = change.total();
            format!(
                "new {}/s  failed {}/s  packets {}/s  to replicas {}B/s  to clients {}B/s",
                count(new_flows),
                count(failed),
                count(packets),
                count(bytes_to_replica),
                count(bytes_to_client)
            )
        }
    };
    vec![Line::styled(first, BOLD), Line::raw(second)]
}

/// Why what is shown is old.
fn trouble(state: &State) -> Line<'static> {
    match &state.trouble {
        Some(trouble) => Line::styled(
            format!("no answer, retrying every second: {trouble}"),
            Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        ),
        None => Line::raw("waiting for the agent's first answer"),
    }
}

fn draw_table(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let wide = area.width >= WIDE;
    let rows = state.rows();
    let is_selected = |row: &Row<'_>| matches!(row, Row::Replica { place, .. } if *place == state.selected);
    let mut place = TableState::new().with_selected(rows.iter().position(is_selected));
    // At the first replica its service's name is to be seen, too.
    if state.selected == 0 {
        *place.offset_mut() = 0;
    }
    let lines = rows.iter().map(|row| match row {
        Row::Service(service) => {
            let address = SocketAddr::new(service.vip, service.port);
            let (name, mode) = (&service.name, &service.mode);
            TableRow::new([Cell::new(Line::from(vec![
                Span::styled(name.clone(), BOLD),
                Span::raw(format!(" {address} {mode} ")),
                Span::styled(service.state.to_uppercase(), color(&service.state)),
            ]))
            .column_span(if wide { 10 } else { 9 })])
        }
        Row::Replica { replica, rates, .. } => replica_row(replica, rates.as_ref(), wide),
        Row::Slow(text) => {
            let text = Span::styled(format!("    {text}"), Style::new().fg(Color::Yellow));
            TableRow::new([Cell::new(text).column_span(if wide { 10 } else { 9 })])
        }
        Row::Why(replica, why) => {
            let why = Span::styled(format!("    {why}"), color(&replica.state));
            TableRow::new([Cell::new(why).column_span(if wide { 10 } else { 9 })])
        }
    });
    let mut widths = vec![
        Constraint::Min(12),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(9),
    ];
    let mut names =
        vec!["replica", "state", "weight", "flows", "new/s", "fail/s", "to repl", "to cli", "probe"];
    if wide {
        widths.insert(1, Constraint::Length(28));
        names.insert(1, "address");
    }
    let table = Table::new(lines, widths)
        .header(TableRow::new(names).style(Style::new().add_modifier(Modifier::UNDERLINED)))
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, area, &mut place);
}

fn replica_row(replica: &ReplicaStatus, rates: Option<&Rates>, wide: bool) -> TableRow<'static> {
    let rate = |value: fn(&Rates) -> f64| rates.map_or_else(|| "-".to_owned(), |rates| count(value(rates)));
    let mut cells = vec![
        Cell::new(format!("  {}", replica.name)),
        Cell::new(Span::styled(replica.state.clone(), color(&replica.state))),
        Cell::new(weight(replica)),
        Cell::new(count(replica.flows as f64)),
        Cell::new(rate(|rates| rates.new_flows)),
        Cell::new(rate(|rates| rates.failed)),
        Cell::new(rate(|rates| rates.bytes_to_replica)),
        Cell::new(rate(|rates| rates.bytes_to_client)),
        Cell::new(probe(replica)),
    ];
    if wide {
        cells.insert(1, Cell::new(SocketAddr::new(replica.address, replica.port).to_string()));
    }
    TableRow::new(cells)
}

/// "100", or "35/100" in a slow start; "100 backup" of one that waits or serves.
fn weight(replica: &ReplicaStatus) -> String {
    match (replica.state.as_str(), replica.effective_weight) {
        _ if replica.backup => format!("{} backup", replica.weight),
        ("up", share) if share != replica.weight => format!("{share}/{}", replica.weight),
        _ => replica.weight.to_string(),
    }
}

/// In few letters; the line of the selected replica has more.
fn probe(replica: &ReplicaStatus) -> String {
    match &replica.last_probe {
        None => "-".into(),
        Some(probe) if probe.ok => format!("{:.1} ms", probe.ms),
        Some(_) => "failed".into(),
    }
}

/// All about the selected replica that the table has no room for.
fn selected(state: &State) -> Line<'static> {
    let rows = state.rows();
    let of = |row: &Row<'_>| match row {
        Row::Replica { place, replica, .. } if *place == state.selected => Some(describe(replica)),
        _ => None,
    };
    Line::raw(rows.iter().find_map(of).unwrap_or_default())
}

fn describe(replica: &ReplicaStatus) -> String {
    let ReplicaStatus { name, address, port, state, since, .. } = replica;
    let since = since.strftime("%Y-%m-%d %H:%M:%SZ");
    let mut text = format!("{name} {}: {state} since {since}", SocketAddr::new(*address, *port));
    if let Some(times) = &replica.connect_ms {
        text.push_str(&format!("; accepts in {times} (p50/p99)"));
    }
    words(replica).iter().for_each(|word| text.push_str(&format!("; {word}")));
    text
}

/// The verdicts that packets meet now, most first, in as few lines as they fit into.
fn verdict_lines(state: &State, width: u16) -> Vec<Line<'static>> {
    let Some(change) = &state.change else { return Vec::new() };
    let mut seen: Vec<_> = change.verdicts.iter().filter(|(_, rate)| **rate > 0.0).collect();
    seen.sort_by(|a, b| b.1.total_cmp(a.1));
    let mut lines = vec!["packets/s:".to_owned()];
    for (name, rate) in seen {
        let word = format!(" {name} {}", count(*rate));
        match lines.last_mut() {
            Some(line) if line.len() + word.len() <= usize::from(width) => line.push_str(&word),
            _ => lines.push(format!("  {word}")),
        }
    }
    lines.into_iter().map(Line::raw).collect()
}

const HELP: [&str; 14] = [
    "q, Esc, Ctrl-C   quit",
    "s                sort the replicas of each service by the next column",
    "up, down, k, j   select a replica; the line below the table tells more",
    "PgUp, PgDn       ten at once; Home, End: the first, the last",
    "d, r, m          drain the selected replica, make it ready, put it into",
    "                 maintenance, in its service; only a y confirms",
    "u                take back the last order, asked as well",
    "?, h             this help",
    "",
    "fail/s    connections that it refused or did not answer, a second",
    "to repl   bytes to the replica, a second",
    "to cli    bytes to clients; not seen in the modes dsr and ipip",
    "flows     connections that may still carry data",
    "k, M, G   thousands, millions, thousand millions",
];

fn draw_help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let width = 74.min(area.width);
    let height = (HELP.len() as u16 + 2).min(area.height);
    let place = Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height);
    let text: Vec<_> = HELP.iter().map(|line| Line::raw(*line)).collect();
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" dtr-lb top ")), place);
}

/// The words say it, too: for terminals and eyes without colours.
fn color(state: &str) -> Style {
    match state {
        "up" => Style::new().fg(Color::Green),
        "down" => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        _ => Style::new().fg(Color::Yellow),
    }
}

/// A number in five letters or less.
fn count(number: f64) -> String {
    match number {
        n if n >= 99_950_000_000.0 => format!("{:.0}G", n / 1e9),
        n if n >= 999_500_000.0 => format!("{:.1}G", n / 1e9),
        n if n >= 99_950_000.0 => format!("{:.0}M", n / 1e6),
        n if n >= 999_500.0 => format!("{:.1}M", n / 1e6),
        n if n >= 99_950.0 => format!("{:.0}k", n / 1e3),
        n if n >= 9_999.5 => format!("{:.1}k", n / 1e3),
        n if n >= 9.95 || n.fract() == 0.0 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

#[cfg(test)]
mod tests;
