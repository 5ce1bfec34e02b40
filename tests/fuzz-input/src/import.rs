//! A configuration of another balancer: text to `dtr-lb import`.

use dtr_lb_agent::config::{Config, HostFacts};
use dtr_lb_import::{Given, Import, Input, Unreadable, import};

use crate::Reached;

/// Imports it twice, and looks at what comes of it: the config has to be one that the agent takes.
///
/// # Errors
/// What is wrong with that.
pub fn play(input: &[u8]) -> Result<Reached, String> {
    let text = String::from_utf8_lossy(input).into_owned();
    let lines = text.lines().count();
    let files = [Input { name: "a.conf".into(), text }];
    let given = Given { vips: vec![[10, 0, 0, 10].into()], ..Given::default() };
    let read = || import(&files, &given, &|_| false);
    let Import { config, report } = match (read(), read()) {
        (Ok(first), Ok(again)) if first == again => first,
        (Err(first), Err(again)) if first == again => return Ok(refused(&first)),
        (first, again) => return Err(format!("two readings of one text differ: {first:?}, {again:?}")),
    };
    let host = HostFacts { ephemeral_ports: 32_768..=60_999 };
    Config::parse(&config, "a.toml", &[], &host).map_err(|error| format!("{error}\n{config}"))?;
    let lists = [&report.taken, &report.differs, &report.left_out, &report.faults];
    for row in lists.into_iter().flatten() {
        let last = row.last_line.unwrap_or(row.line);
        if row.line == 0 || last < row.line || last > lines {
            return Err(format!("there is no such line: {row:?}"));
        }
        if row.what.is_empty() {
            return Err(format!("nothing is said of: {row:?}"));
        }
    }
    let keys = config.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key);
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable();
    keys.dedup();
    let counts = lists.map(|list| list.len().min(3));
    Ok(format!("{counts:?} {} {keys:?}", report.decides))
}

fn refused(unreadable: &Unreadable) -> Reached {
    match unreadable {
        Unreadable::Syntax { format, why, .. } => format!("{}: {why}", format.name()),
        other => format!("{:?}", std::mem::discriminant(other)),
    }
}
