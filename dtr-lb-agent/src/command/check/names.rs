//! The host names of replicas: asked for once, where the agent keeps asking.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use tokio::time::timeout;

use crate::{
    changes::{Changes, Names, effective, wanted_names},
    config::Config,
    preflight::Findings,
    resolve::{Known, LookUp, UNANSWERED},
};

/// How long DNS may take.
const LIMIT: Duration = Duration::from_secs(5);

impl Findings {
    /// The config with the replicas that DNS says there are, as `run` would have it.
    pub(super) async fn names(&mut self, config: Config, look_up: &impl LookUp) -> Config {
        let wanted = wanted_names(&config, &Changes::default());
        let asked = wanted.into_iter().map(|name| async move {
            let looked = timeout(LIMIT, look_up.look_up(&name)).await;
            (name, looked)
        });
        let mut names = Names::new();
        for (name, looked) in join_all(asked).await {
            let about = format!("host name {name}");
            let mut known = Known::default();
            let error = match looked {
                Ok(looked) => {
                    known.take(&looked, Timestamp::now());
                    known.error().map(str::to_owned)
                }
                Err(_) => Some(format!("no answer within {} s", LIMIT.as_secs())),
            };
            let addresses = known.addresses();
            if let Some(error) = error {
                let what =
                    if addresses.is_empty() { UNANSWERED } else { "DNS gives only a part of an answer" };
                self.warn(
                    about.clone(),
                    format!("host name {name}: {what} ({error}); correct the name, or see to DNS (/etc/resolv.conf)"),
                );
            }
            if !addresses.is_empty() {
                let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                self.fact(about, format!("host name {name}: {}", shown.join(", ")));
                names.insert(name, addresses);
            }
        }
        let found = effective(&config, &names, &Changes::default());
        found.notes.iter().for_each(|note| self.warn("replicas", note));
        found.config
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{
        config::HostFacts,
        resolve::{LookError, Looked, Records},
    };

    struct OneName;

    impl LookUp for OneName {
        async fn look_up(&self, name: &str) -> Looked {
            let none = || Err(LookError::None("there is no such name (NXDOMAIN)".into()));
            let address = IpAddr::from([10, 0, 0, 21]);
            let records = Records { addresses: [address].into(), ttl: Duration::from_secs(60) };
            let v4 = if name == "here.example.com" { Ok(records) } else { none() };
            Looked { v4, v6: none() }
        }
    }

    #[tokio::test]
    async fn a_host_name_that_does_not_resolve_is_told_and_one_that_does_has_replicas() {
        let text = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"http\"\nport = 80\n[[replica]]\naddress = \
                    \"here.example.com\"\n[[replica]]\naddress = \"gone.example.com\"\n";
        let host = HostFacts { ephemeral_ports: 32768..=60999 };
        let config = Config::parse(text, "test", &[], &host).expect("the config is valid");
        let mut found = Findings::default();
        let config = found.names(config, &OneName).await;
        let replicas: Vec<_> = config.services[0].replicas.iter().map(|replica| replica.address).collect();
        assert_eq!(replicas, [IpAddr::from([10, 0, 0, 21])]);
        let words = "host name gone.example.com: DNS gives no answer for the replicas' host name, so that it has no replicas yet \
                     (there is no such name (NXDOMAIN)); correct the name";
        assert!(matches!(&found.warnings[..], [warning] if warning.contains(words)), "{found:?}");
        assert!(
            matches!(&found.facts[..], [fact] if fact.contains("here.example.com: 10.0.0.21")),
            "{found:?}"
        );
    }
}
