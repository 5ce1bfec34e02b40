//! The flow log's place. A log never keeps a load balancer from starting: `check` calls it an error, `run` warns and tries.

use std::{env, path::Path};

use super::{Purpose, finding::Findings};
use crate::{
    config::{self, FlowLogTarget},
    flow_log::{LOGS_DIRECTORY, check_target},
};

/// The package's unit, by which the agent may write in few places (`ProtectSystem=strict`).
const UNIT: [&str; 3] = [
    "/lib/systemd/system/dtr-lb.service",
    "/usr/lib/systemd/system/dtr-lb.service",
    "/etc/systemd/system/dtr-lb.service",
];

/// What was found.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) target: Option<FlowLogTarget>,
    /// Whether the log could be there, as far as this process may write.
    pub(super) usable: Result<(), String>,
    /// This process is not the agent of the systemd unit, and such an agent may run.
    pub(super) beside_the_unit: bool,
}

impl Facts {
    pub(super) fn read(agent: &config::Agent, purpose: Purpose) -> Self {
        let is_the_unit = env::var_os("INVOCATION_ID").is_some();
        let has_unit = UNIT.iter().any(|path| Path::new(path).exists());
        Self {
            target: agent.flow_log.clone(),
            usable: check_target(agent.flow_log.as_ref()).map_err(|error| error.to_string()),
            beside_the_unit: purpose == Purpose::Check && has_unit && !is_the_unit,
        }
    }
}

impl Findings {
    pub(super) fn flow_log(&mut self, Facts { target, usable, beside_the_unit }: &Facts) {
        let Some(target) = target else { return };
        if let Err(error) = usable {
            self.foresee("agent.flow_log", error);
            return;
        }
        match target {
            FlowLogTarget::Journal => self.fact("agent.flow_log", "flow log: to the journal"),
            FlowLogTarget::File(path) => {
                self.fact("agent.flow_log", format!("flow log {}: can be written to", path.display()));
                if *beside_the_unit && !path.starts_with(LOGS_DIRECTORY) {
                    self.warn(
                        "agent.flow_log",
                        format!(
                            "this process may write the flow log `{}`, but the agent of the systemd unit may not, unless a drop-in of \
                             the unit says so (ReadWritePaths=); set agent.flow_log to {LOGS_DIRECTORY}/flows.log",
                            path.display()
                        ),
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn agent(flow_log: Option<FlowLogTarget>) -> config::Agent {
        config::Agent {
            socket: "/s".into(),
            bpffs: "/b".into(),
            http: None,
            http_names: Vec::new(),
            admin_token_file: None,
            flow_log,
            flow_log_sample: 1,
        }
    }

    fn judged(facts: &Facts) -> Findings {
        let mut found = Findings::default();
        found.flow_log(facts);
        found
    }

    fn of_file(path: PathBuf) -> Findings {
        judged(&Facts::read(&agent(Some(FlowLogTarget::File(path))), Purpose::Start))
    }

    #[test]
    fn a_place_that_cannot_be_written_is_foreseen_and_does_not_keep_the_agent_from_starting() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), "").expect("a file");
        for (path, words) in [
            (at(""), "it is a directory; set agent.flow_log to a file in it"),
            (at("none/flows.log"), "none` is not a directory that exists; make it, or set agent.flow_log to"),
            (at("file/flows.log"), "file` is not a directory that exists"),
            ("/proc/self/flows.log".into(), "may not write there"),
        ] {
            let mut found = of_file(path);
            assert!(matches!(&found.foreseen[..], [one] if one.contains(words)), "{words}: {found:?}");
            assert!(found.refusal().is_ok() && found.facts.is_empty());
        }
        for path in [at("file"), at("flows.log")] {
            let found = of_file(path.clone());
            assert!(found.foreseen.is_empty() && found.facts[0].contains("can be written to"), "{found:?}");
        }
        assert!(!at("flows.log").exists(), "a look makes nothing");
    }

    #[test]
    fn a_place_that_the_unit_keeps_from_its_agent_is_told_by_check_only() {
        let facts = |path: &str, beside_the_unit| Facts {
            target: Some(FlowLogTarget::File(path.into())),
            usable: Ok(()),
            beside_the_unit,
        };
        let found = judged(&facts("/srv/flows.log", true));
        assert!(found.warnings[0].contains("set agent.flow_log to /var/log/dtr-lb/flows.log"), "{found:?}");
        assert_eq!(judged(&facts("/var/log/dtr-lb/flows.log", true)).warnings, []);
        assert_eq!(judged(&facts("/srv/flows.log", false)).warnings, []);
    }

    #[test]
    fn without_a_log_there_is_nothing_to_tell() {
        assert_eq!(judged(&Facts::read(&agent(None), Purpose::Check)), Findings::default());
    }
}
