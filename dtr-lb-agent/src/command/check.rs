//! `dtr-lb check`: what `run` would find, as far as it can be told without touching anything.
//!
//! [`preflight`] finds what is asked of this host alone, by the same words as `run`. What takes waiting for others stands
//! here: `names` asks DNS once, `paths` asks who is on the segment, `ask` asks each replica once, `diff` asks an agent that
//! runs what a reload would change. `report` tells it all.

mod ask;
mod diff;
mod names;
mod paths;
mod report;

use std::{net::SocketAddr, sync::Arc};

use super::{Failure, config_source, runtime};
use crate::{
    cli::{CheckArgs, Global},
    config::Config,
    interface::{self, Links},
    preflight::{self, Facts, Findings, Purpose},
    resolve::Dns,
};

use report::Report;

/// `dtr-lb check`
pub fn check(global: &Global, arguments: &CheckArgs) -> Result<(), Failure> {
    let CheckArgs { options, json, probe, diff } = arguments;
    let source = config_source(global, options)?;
    let config = source.read()?;
    let mut found = Findings::default();
    found.fact("config", format!("config {}: valid", source.origin));
    let diff = runtime()?.block_on(async {
        let socket = config.agent.socket.clone();
        let config = found.names(config, &Dns::of_host()).await;
        found.host(config, *probe).await;
        match diff {
            true => Some(diff::diff(&socket, &source.origin).await),
            false => None,
        }
    });
    // What was found is told whether or not there is an agent to ask.
    let (diff, no_diff) = match diff {
        Some(Err(failure)) => (None, Some(failure)),
        Some(Ok(diff)) => (Some(diff), None),
        None => (None, None),
    };
    let told = Report { found, diff }.print(*json);
    no_diff.map_or(told, Err)
}

impl Findings {
    async fn host(&mut self, mut config: Config, probe: bool) {
        let links = match Links::open() {
            Ok(links) => links,
            Err(error) => return self.error("interfaces", error),
        };
        if config.by_routes {
            self.interfaces_by_routes(&mut config).await;
        }
        self.services(&config);
        let facts = Facts::gather(&config, &links, Purpose::Check).await;
        self.append(preflight::judge(&config, &facts));
        let config = Arc::new(config);
        self.paths(&config, &links, &facts).await;
        if probe {
            self.ask(&config).await;
        }
    }

    fn services(&mut self, config: &Config) {
        for service in &config.services {
            let vips = service.vips.iter().map(|vip| SocketAddr::new(*vip, service.port).to_string());
            let vips: Vec<_> = vips.collect();
            self.fact(
                format!("service {}", service.name),
                format!(
                    "service {}: {} to {} replicas by {}, probed by {}",
                    service.name,
                    vips.join(", "),
                    service.replicas.len(),
                    service.mode,
                    service.probe.scheme
                ),
            );
        }
    }

    /// As the agent works them out.
    async fn interfaces_by_routes(&mut self, config: &mut Config) {
        match interface::by_routes(config).await {
            Ok(found) => {
                found.notes.into_iter().for_each(|note| self.warn("interfaces", note));
                for chosen in &found.interfaces {
                    let interface = format!("interface {}", chosen.name);
                    self.fact(
                        interface.clone(),
                        format!("{interface}, by the routes: {}", chosen.why.join("; ")),
                    );
                }
                config.interfaces = found.interfaces.into_iter().map(|chosen| chosen.name).collect();
            }
            Err(error) => self.error("interfaces", error),
        }
    }
}
