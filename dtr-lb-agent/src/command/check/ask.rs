//! `dtr-lb check --probe`: asks each replica once, as its probe would.

use std::time::Duration;

use futures::{StreamExt as _, stream};

use crate::{
    config::{AllDown, Config, Mode, Probe, Replica, Scheme, Service},
    preflight::Findings,
    probe::{Outcome, Prober, Route, Target, TlsConfigs},
};

/// Replicas that are asked at the same time.
const AT_ONCE: usize = 64;

impl Findings {
    pub(super) async fn ask(&mut self, config: &Config) {
        let mut tls = TlsConfigs::default();
        let mut probers = Vec::new();
        for service in config.services.iter().filter(|service| service.probe.scheme != Scheme::None) {
            for replica in &service.replicas {
                let route = match service.mode {
                    Mode::Nat | Mode::Dsr | Mode::Ipip => Route::Plain,
                    Mode::Dnat => Route::FromVips(service.vips.clone()),
                };
                let target = Target { address: replica.address, probe: question(service), route };
                match Prober::sharing(&target, &mut tls) {
                    Ok(prober) => probers.push((service, replica, prober)),
                    // It has been told, as it is the same for all replicas.
                    Err(_) => break,
                }
            }
        }
        let asked = stream::iter(probers).map(|(service, replica, prober)| async move {
            (service, replica, outcome(service, &prober).await)
        });
        let answers: Vec<_> = asked.buffered(AT_ONCE).collect().await;
        for (service, replica, outcome) in &answers {
            let of_service = answers.iter().filter(|(of, _, _)| of.name == service.name);
            let any_up = of_service.into_iter().any(|(_, _, outcome)| outcome.ok());
            self.answer(service, replica, outcome, fate(config.datapath.all_down, service, any_up));
        }
    }

    /// `fate`: what becomes of connections to a replica whose probe fails.
    fn answer(&mut self, service: &Service, replica: &Replica, outcome: &Outcome, fate: &str) {
        let who = format!("service {}, replica {}", service.name, replica.name);
        let direct = match service.mode {
            Mode::Nat | Mode::Dnat => "",
            Mode::Dsr | Mode::Ipip => " at its own address, and not at the VIP, as nothing is attached yet",
        };
        let took = Duration::from_millis(u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX));
        match (&outcome.error, outcome.status) {
            (None, Some(status)) => self.fact(&who, format!("{who}: status {status} after {took:?}{direct}")),
            (None, None) => self.fact(&who, format!("{who}: takes connections, after {took:?}{direct}")),
            (Some(failure), _) if failure.is_local() => {
                self.warn(&who, format!("{who}: not asked: {failure}"));
            }
            (Some(failure), _) => self.warn(
                &who,
                format!(
                    "{who}: its probe fails{direct}: {failure}, so that {fate}; see to the replica's port {}, or correct service.probe",
                    service.probe.port
                ),
            ),
        }
    }
}

/// What becomes of connections to a replica whose probe fails. `any_up`: another one of the service passes.
fn fate(all_down: AllDown, service: &Service, any_up: bool) -> &'static str {
    match all_down {
        _ if any_up => "it gets no connections until it passes",
        AllDown::FailOpen if service.replicas.iter().any(|replica| replica.offered() > 0) => {
            "no replica of the service is up, and new connections go to all of them (all_down = \"fail-open\")"
        }
        AllDown::FailOpen => {
            "no replica of the service is up, and new connections are refused, as all weights are 0"
        }
        AllDown::Refuse => {
            "no replica of the service is up, and new connections are refused (all_down = \"refuse\")"
        }
    }
}

/// Asks once; and a replica that was silent towards a VIP once more, by which it turns out whether it answers another way.
async fn outcome(service: &Service, prober: &Prober) -> Outcome {
    let outcome = prober.probe().await;
    let silent = outcome.error.as_ref().is_some_and(|failure| !failure.answered());
    if silent && service.mode == Mode::Dnat { prober.probe().await } else { outcome }
}

/// What can be asked without a datapath: probes of replicas that answer directly are steered to the VIP by it, so that here
/// they show only that something listens.
fn question(service: &Service) -> Probe {
    match service.mode {
        Mode::Nat | Mode::Dnat => service.probe.clone(),
        Mode::Dsr | Mode::Ipip => Probe { scheme: Scheme::Tcp, steps: Vec::new(), ..service.probe.clone() },
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::HostFacts;

    #[tokio::test]
    async fn each_replica_is_asked_once_and_what_fails_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let text = format!(
            "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n[[replica]]\naddress = \"10.0.0.11\"\n[[replica]]\naddress = \
             \"10.0.0.12\"\n[[service]]\nname = \"tcp\"\nport = {port}\n[service.probe]\nscheme = \"tcp\"\n[[service]]\n\
             name = \"none\"\nport = 80\n[service.probe]\nscheme = \"none\"\n"
        );
        let host = HostFacts { ephemeral_ports: 65000..=65001 };
        let mut config = Config::parse(&text, "test", &[], &host).expect("the config is valid");
        // Addresses that a config does not take, but a test can have.
        for (replica, last) in config.services[0].replicas.iter_mut().zip(1..) {
            replica.address = [127, 0, 0, last].into();
        }
        let mut found = Findings::default();
        found.ask(&config).await;
        assert!(
            matches!(&found.facts[..], [fact] if fact.contains("replica 10.0.0.11: takes connections")),
            "{found:?}"
        );
        let refused =
            "replica 10.0.0.12: its probe fails: connection refused, so that it gets no connections";
        assert!(matches!(&found.warnings[..], [warning] if warning.contains(refused)), "{found:?}");

        drop(listener);
        for (all_down, words) in [
            (AllDown::FailOpen, "new connections go to all of them (all_down = \"fail-open\")"),
            (AllDown::Refuse, "new connections are refused (all_down = \"refuse\")"),
        ] {
            config.datapath.all_down = all_down;
            let mut found = Findings::default();
            found.ask(&config).await;
            assert_eq!(found.warnings.len(), 2, "{found:?}");
            assert!(found.warnings.iter().all(|warning| warning.contains(words)), "{found:?}");
            let none = found.warnings.iter().any(|warning| warning.contains("gets no connections"));
            assert!(!none, "fail-open sends them: {found:?}");
        }
    }
}
