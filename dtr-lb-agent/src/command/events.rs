//! `dtr-lb events`: what changed, when, why and by whom; from the agent, or from its file where none runs.

use std::{
    path::Path,
    thread::sleep,
    time::{Duration, SystemTime},
};

use comfy_table::{Table, presets};
use jiff::{Timestamp, tz::TimeZone};

use super::{Failure, complain, places, print, print_json, runtime};
use crate::{
    api::{self, ClientError},
    cli::{EventsArgs, Global},
    events::{Event, Events, Listing, MOST, Query},
};

/// From one look to the next, with `--follow`.
const PAUSE: Duration = Duration::from_secs(1);

/// From when on events are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Those with a larger number.
    Id(u64),
    Time(Timestamp),
}

/// `1h`, the number of an event, or a time.
pub fn parse_since(text: &str) -> Result<Since, String> {
    since(text, Timestamp::now())
}

fn since(text: &str, now: Timestamp) -> Result<Since, String> {
    if let Ok(id) = text.parse() {
        return Ok(Since::Id(id));
    }
    if let Ok(time) = text.parse() {
        return Ok(Since::Time(time));
    }
    let ago = humantime::parse_duration(text).ok().and_then(|ago| now.checked_sub(ago).ok());
    ago.map(Since::Time).ok_or_else(|| {
        "write a span of time (30m, 2h, 1d), the number of an event, or a time (2026-01-31T03:00:00Z)"
            .to_owned()
    })
}

/// Lists them, and goes on with those that follow, if that is asked for.
pub fn events(global: &Global, arguments: &EventsArgs) -> Result<(), Failure> {
    let socket = places(global).socket;
    let mut query = query(arguments);
    let runtime = runtime()?;
    let mut listing = match runtime.block_on(api::ask_events(&socket, &query)) {
        Ok(listing) => listing,
        Err(error @ ClientError::NoAgent(_)) => return without_agent(&socket, arguments, &query, error),
        Err(error) => return Err(error.into()),
    };
    let mut known = listing.newest;
    narrow(&mut listing, arguments);
    if !arguments.follow {
        return show(&listing, arguments);
    }
    loop {
        print(&lines(&listing.events, arguments.json)?)?;
        sleep(PAUSE);
        query.since = Some(known);
        query.limit = Some(MOST);
        listing = runtime.block_on(api::ask_events(&socket, &query))?;
        if listing.newest < known {
            // Another agent began to count anew.
            query.since = None;
            listing = runtime.block_on(api::ask_events(&socket, &query))?;
        }
        known = listing.newest;
    }
}

fn query(arguments: &EventsArgs) -> Query {
    let EventsArgs { since, limit, service, replica, follow: _, json: _ } = arguments;
    let (since, limit) = match since {
        // All of them, of which those are left that fit.
        Some(Since::Time(_)) => (None, MOST),
        Some(Since::Id(id)) => (Some(*id), *limit),
        None => (None, *limit),
    };
    Query { since, limit: Some(limit), service: service.clone(), replica: replica.clone() }
}

/// Leaves those that are as new as was asked for, and not more than were.
fn narrow(listing: &mut Listing, arguments: &EventsArgs) {
    if let Some(Since::Time(since)) = arguments.since {
        let before = listing.events.len();
        listing.events.retain(|event| event.time >= since);
        // Where one is older, all that were left out are.
        listing.left_out &= listing.events.len() == before;
    }
    let over = listing.events.len().saturating_sub(arguments.limit);
    listing.left_out |= over > 0;
    drop(listing.events.drain(..over));
}

/// What the file says. No agent runs, which is told, and the exit status says it, too.
fn without_agent(
    socket: &Path,
    arguments: &EventsArgs,
    query: &Query,
    error: ClientError,
) -> Result<(), Failure> {
    let path = Events::path(socket);
    let (mut listing, notes) = match Events::read(&path, query) {
        Ok(found) => found,
        Err(reason) => {
            let Failure { status, message } = error.into();
            let message = format!(
                "{message}; and the events of the last one cannot be read from `{}`: {reason}",
                path.display()
            );
            return Err(Failure { status, message });
        }
    };
    complain(&format!(
        "note: no agent answers on `{}`; these are the events in `{}`{}",
        socket.display(),
        path.display(),
        age(&path)
    ));
    notes.iter().for_each(|note| complain(&format!("note: {note}")));
    narrow(&mut listing, arguments);
    show(&listing, arguments)?;
    // The words are out already.
    Err(Failure { status: 3, message: String::new() })
}

fn age(path: &Path) -> String {
    let written = path.metadata().and_then(|file| file.modified());
    let age = written.ok().and_then(|written| SystemTime::now().duration_since(written).ok());
    age.map(|age| {
        let seconds = Duration::from_secs(age.as_secs());
        format!(", last written {} ago", humantime::format_duration(seconds))
    })
    .unwrap_or_default()
}

fn show(listing: &Listing, arguments: &EventsArgs) -> Result<(), Failure> {
    if arguments.json {
        return print_json(listing);
    }
    if listing.events.is_empty() {
        return print("no events\n");
    }
    if listing.left_out {
        complain("note: there are older ones; --limit shows more of them");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // What is as long as it likes comes last.
    table.set_header(["id", "time", "by", "what"]);
    for event in &listing.events {
        let Event { id, text, .. } = event;
        table.add_row([id.to_string(), time(event), by(event), text.clone()]);
    }
    print(&table.trim_fmt().lines().map(|line| format!("{}\n", line.trim())).collect::<String>())
}

/// A line each, as they come.
fn lines(events: &[Event], json: bool) -> Result<String, Failure> {
    let line = |event: &Event| {
        if json {
            return serde_json::to_string(event).map(|line| line + "\n").map_err(Failure::failed);
        }
        let by = if event.by.is_some() { format!(" (by {})", by(event)) } else { String::new() };
        Ok(format!("{}  {}{by}\n", time(event), event.text.replace('\n', " ")))
    };
    events.iter().map(line).collect()
}

/// By the clock on the wall.
fn time(event: &Event) -> String {
    event.time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn by(event: &Event) -> String {
    event.by.as_ref().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn since_is_a_span_a_number_or_a_time() {
        let now = at("2026-01-31T03:00:00Z");
        assert_eq!(since("17", now), Ok(Since::Id(17)));
        assert_eq!(since("2h", now), Ok(Since::Time(at("2026-01-31T01:00:00Z"))));
        assert_eq!(since("2026-01-30T22:15:00+01:00", now), Ok(Since::Time(at("2026-01-30T21:15:00Z"))));
        for bad in ["", "yesterday", "-1", "99999999999y"] {
            let error = since(bad, now).expect_err(bad);
            assert!(error.contains("2h") && error.contains("2026-01-31T03:00:00Z"), "{error}");
        }
    }

    fn arguments(since: Option<Since>, limit: usize) -> EventsArgs {
        EventsArgs { since, limit, service: None, replica: None, follow: false, json: false }
    }

    #[test]
    fn those_of_a_time_are_chosen_here_and_the_newest_of_them_are_left() {
        let event = |id: u64| {
            let line = format!(
                r#"{{"id": {id}, "time": "2026-01-31T03:00:{id:02}Z", "event": "replica_up", "text": "it is up"}}"#
            );
            serde_json::from_str::<Event>(&line).expect("an event")
        };
        let listing =
            |left_out| Listing { events: (1..=5).map(event).collect(), oldest: 1, newest: 5, left_out };
        let left = |since: &str, limit, left_out| {
            let mut listing = listing(left_out);
            narrow(&mut listing, &arguments(Some(Since::Time(at(since))), limit));
            (listing.events.iter().map(|event| event.id).collect::<Vec<_>>(), listing.left_out)
        };
        assert_eq!(left("2026-01-31T03:00:03Z", 10, false), (vec![3, 4, 5], false));
        assert_eq!(left("2026-01-31T03:00:03Z", 2, false), (vec![4, 5], true));
        assert_eq!(left("2026-01-31T03:00:03Z", 10, true), (vec![3, 4, 5], false), "an older one was there");
        assert_eq!(left("2026-01-31T00:00:00Z", 10, true), (vec![1, 2, 3, 4, 5], true));
        let query = query(&arguments(Some(Since::Time(at("2026-01-31T03:00:00Z"))), 7));
        assert_eq!((query.since, query.limit), (None, Some(MOST)));
    }
}
