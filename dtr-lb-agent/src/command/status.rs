//! `dtr-lb status`, and `dtr-lb status --healthy`, which answers by its exit status.

use std::time::Duration;

use jiff::Timestamp;

use super::{Failure, places, print, print_json, print_styled, runtime};
use crate::{
    api,
    cli::{Color, Global},
    healthz::Healthz,
    status::Status,
};

/// How long the agent may take to answer whether it is able to serve: whoever asks does so every few seconds.
const HEALTHY_LIMIT: Duration = Duration::from_secs(2);

/// `dtr-lb status`: of all services, or of those that are named.
pub fn status(global: &Global, services: &[String], json: bool, color: Color) -> Result<(), Failure> {
    let mut status = runtime()?.block_on(api::ask_status(&places(global).socket))?;
    narrow(&mut status, services)?;
    if json {
        return print_json(&status);
    }
    print_styled(&status.text(Timestamp::now()), color)
}

/// `dtr-lb status --healthy`
pub fn healthy(global: &Global, services: &[String], json: bool) -> Result<(), Failure> {
    let status = runtime()?.block_on(api::ask_status_within(&places(global).socket, HEALTHY_LIMIT))?;
    let healthz = Healthz::of(&status, services);
    if json {
        print_json(&healthz)?;
    }
    let Healthz { ok, reasons, services: _ } = healthz;
    if ok {
        return if json { Ok(()) } else { print("able to serve\n") };
    }
    Err(Failure::failed(format!("not able to serve: {}", reasons.join("; "))))
}

/// Leaves the services that are named, all if none is.
fn narrow(status: &mut Status, named: &[String]) -> Result<(), Failure> {
    let names: Vec<_> = status.services.iter().map(|service| service.name.clone()).collect();
    if let Some(unknown) = named.iter().find(|name| !names.contains(name)) {
        let mut known: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        known.dedup();
        return Err(Failure::failed(format!("there is no service `{unknown}`, only {}", known.join(", "))));
    }
    status.services.retain(|service| named.is_empty() || named.contains(&service.name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::plain;

    #[test]
    fn services_that_are_named_are_left_and_a_wrong_name_is_told() {
        let mut status = plain();
        let mut https = status.services[0].clone();
        https.name = "https".into();
        status.services.push(https);
        let narrowed = |named: &[&str]| {
            let mut status = status.clone();
            let named: Vec<_> = named.iter().map(ToString::to_string).collect();
            narrow(&mut status, &named)?;
            Ok::<_, Failure>(status.services.into_iter().map(|service| service.name).collect::<Vec<_>>())
        };
        assert_eq!(narrowed(&[]).expect("all"), ["http", "https"]);
        assert_eq!(narrowed(&["https"]).expect("one"), ["https"]);
        let error = narrowed(&["http", "ftp"]).expect_err("it is not there");
        assert_eq!(
            (error.status, error.message.as_str()),
            (1, "there is no service `ftp`, only `http`, `https`")
        );
    }
}
