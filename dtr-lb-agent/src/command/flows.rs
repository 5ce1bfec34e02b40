//! `dtr-lb flows`

use std::io::{self, Write as _};

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, complain, places, print, print_json, runtime};
use crate::{
    api::{self, Lines},
    cli::{FlowsArgs, Global},
    flow_log::{FlowLogLine, FollowQuery},
    flows::{MOST, Query, Top},
};

pub fn flows(global: &Global, arguments: &FlowsArgs) -> Result<(), Failure> {
    let FlowsArgs { client, replica, service, state, limit, top, half_open, follow, json } = arguments;
    if *follow {
        let query = FollowQuery { client: *client, replica: replica.clone(), service: service.clone() };
        return runtime()?.block_on(async {
            let lines = api::ask_follow(&places(global).socket, &query).await?;
            show_all(lines, *json).await
        });
    }
    let (top, limit) = match top_of(top)? {
        Some((top, limit)) => (Some(top), limit),
        None => (None, Some(*limit)),
    };
    if limit.is_some_and(|limit| limit > MOST) {
        let limit = limit.unwrap_or_default();
        return Err(Failure {
            status: 2,
            message: format!("--limit and --top show {MOST} at most, not {limit}"),
        });
    }
    let query = Query {
        client: *client,
        replica: replica.clone(),
        service: service.clone(),
        state: state.clone(),
        limit,
        top,
        half_open: *half_open,
    };
    let listing = runtime()?.block_on(api::ask_flows(&places(global).socket, &query))?;
    if *json { print_json(&listing) } else { print(&listing.text()) }
}

/// `bytes` or `bytes 20`.
fn top_of(words: &[String]) -> Result<Option<(Top, Option<usize>)>, Failure> {
    let bad = |message: String| Failure { status: 2, message };
    let Some(word) = words.first() else { return Ok(None) };
    let top = Top::ALL.into_iter().find(|top| top.word() == word);
    let top = top.ok_or_else(|| {
        bad(format!("--top {word}: connections are ranked by {}", Top::ALL.map(Top::word).join(", ")))
    })?;
    let limit = words.get(1).map(|number| {
        number
            .parse()
            .map_err(|_| bad(format!("--top {word} {number}: {number} is no number of connections")))
    });
    Ok(Some((top, limit.transpose()?)))
}

async fn show_all(mut lines: Lines<FlowLogLine<'static>>, json: bool) -> Result<(), Failure> {
    // Once for all: what comes while a line is written, with nobody waiting for it, would be lost.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    complain("showing each connection when it ends or fails, Ctrl-C ends it");
    let mut shown = 0_u64;
    loop {
        let line = tokio::select! {
            line = lines.next() => line?,
            _ = interrupt.recv() => {
                complain(&format!("ended after {shown} connections"));
                return Ok(());
            }
        };
        let Some(line) = line else {
            return Err(Failure::failed(format!("the agent has ended, after {shown} connections")));
        };
        shown += u64::from(matches!(line, FlowLogLine::Flow(_)));
        let text = if json { serde_json::to_string(&line).map_err(Failure::failed)? } else { line.text() };
        if let Err(error) = io::stdout().write_all(format!("{text}\n").as_bytes()) {
            // That the reader has gone (`dtr-lb flows --follow | head`) is no failure.
            return match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(Failure::failed(format!("writing a connection failed: {error}"))),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ranked_by_what_and_how_many() {
        let top = |words: &[&str]| top_of(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(top(&[]).expect("nothing is asked for"), None);
        assert_eq!(top(&["bytes"]).expect("a rank"), Some((Top::Bytes, None)));
        assert_eq!(top(&["age", "3"]).expect("a rank and a number"), Some((Top::Age, Some(3))));
        for (words, expected) in [
            (&["size"][..], "--top size: connections are ranked by bytes, packets, age"),
            (&["age", "all"], "--top age all: all is no number of connections"),
        ] {
            let refused = top(words).expect_err("it makes no sense");
            assert_eq!((refused.status, refused.message.as_str()), (2, expected));
        }
    }
}
