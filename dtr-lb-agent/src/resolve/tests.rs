//! The follower by a made-up DNS and a paused clock; and by a real server.

mod known;
mod server;
mod task;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn found(texts: &[&str], seconds: u64) -> Result<Records, LookError> {
    Ok(Records { addresses: addresses(texts), ttl: Duration::from_secs(seconds) })
}

fn none() -> Result<Records, LookError> {
    Err(LookError::None("no such name".into()))
}

fn failed() -> Result<Records, LookError> {
    Err(LookError::Failed("no server answers".into()))
}
