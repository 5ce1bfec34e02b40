//! The first try: no config file, products by their names, and a health check that does not fit.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use dtr_lb_tests::{
    balancer::{Balancer, BalancerOptions, UP_WITHIN, attach, service},
    lab::{Lab, SERVICE_NAME, until},
};

use crate::{CROSSWISE, Place, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("no_config_file_is_needed", CROSSWISE, no_file),
    ("a_registry_by_its_preset", CROSSWISE, registry),
    ("what_would_fit_is_told", CROSSWISE, hint),
];

/// The agent is started by a VIP and replicas. It finds the interfaces, requests are answered by all replicas, and what needs a
/// file says that there is none.
fn no_file(place: Place) -> Result<()> {
    let lab = Lab::create(place.lab_options().without_registry())?;
    let mut arguments: Vec<String> = [
        ("--host", SERVICE_NAME.to_owned()),
        ("--socket", lab.directory().join("dtr-lb.sock").display().to_string()),
        ("--set", format!("agent.bpffs={}", lab.bpffs().join("dtr-lb").display())),
        ("--set", format!("datapath.attach={}", attach(place.hook))),
        ("--set", "datapath.max_flows=65536".to_owned()),
    ]
    .into_iter()
    .flat_map(|(option, value)| [option.to_owned(), value])
    .collect();
    for vip in lab.vips() {
        arguments.extend(["--vip".to_owned(), vip.to_string()]);
    }
    for replica in lab.replicas() {
        arguments.extend(["--replica".to_owned(), format!("{}={}", replica.name(), replica.address())]);
    }
    let balancer = Balancer::start_without_file(&lab, &place.options(), &arguments)?;
    let status = balancer.status(&lab)?;
    let attached: BTreeSet<_> =
        status.datapath.attach.iter().map(|attached| attached.interface.as_str()).collect();
    let expected: BTreeSet<_> = lab.balancer_interfaces().map(|(name, _)| name).collect();
    ensure!(attached == expected, "{attached:?}, not {expected:?}");
    ensure!(
        balancer.log_lines(&["found by the routes"])?.len() == expected.len(),
        "each interface is told with its reason: {}",
        balancer.process().log_tail(30)
    );
    for replica in lab.replicas() {
        balancer.wait_for_state(&lab, replica.name(), "up", Duration::from_secs(10))?;
    }
    let tally = lab.client().connections((lab.vip(), 80).into(), 100, 4)?;
    // That 100 connections miss one of three replicas has a probability of 3 * (2/3)^100 = 7e-18.
    ensure!(
        tally.errors.is_empty() && tally.replicas.len() == 3,
        "{:?}, {:?}",
        tally.errors.first(),
        tally.replicas
    );
    let first = lab.replicas()[0].name();
    for (command, words) in [
        (&["reload"][..], "there is none to read again"),
        (&["replica", "weight", first, "50", "--save"], "there is none to save to"),
    ] {
        let output = balancer.command(&lab, command)?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2) && error.contains(words), "{command:?}: {error}");
    }
    let weighed = balancer.command(&lab, &["replica", "weight", first, "50"])?;
    ensure!(weighed.status.success(), "{weighed:?}");
    Ok(())
}

/// The real registry of the lab's replicas answers `/v2/`, in clear and by TLS, and counts as up.
fn registry(place: Place) -> Result<()> {
    let options = BalancerOptions { sets: vec!["preset=registry".into()], ..place.options() };
    let stage = place.stage_with(place.lab_options(), &options)?;
    for replica in stage.lab.replicas() {
        stage.balancer.wait_for_state(&stage.lab, replica.name(), "up", UP_WITHIN * 5)?;
    }
    let status = stage.balancer.status(&stage.lab)?;
    let answers = status.services.iter().flat_map(|service| &service.replicas);
    let answers: Vec<_> = answers.map(|replica| replica.last_probe.as_ref().and_then(|p| p.status)).collect();
    ensure!(answers.len() == 6 && answers.iter().all(|status| *status == Some(200)), "{answers:?}");
    Ok(())
}

/// The replicas have `/health`, in clear and by TLS, each on its port. Asked for MSR's page, or by the wrong scheme, all fail,
/// and the agent finds what they answer.
fn hint(place: Place) -> Result<()> {
    let mut options = BalancerOptions { sets: vec!["preset=msr".into()], ..place.options() };
    options.services = service("http", 80, 80)
        + &service("https", 443, 443)
        + &service("https", 8080, 80).replace("name = \"https\"", "name = \"clear\"")
        + &service("http", 8443, 443).replace("name = \"http\"", "name = \"tls\"");
    let stage = place.stage_with(place.lab_options(), &options)?;
    let expected = [
        ("http", &["`/_ping` answers 404, `/health` answers 200", "preset = \"dtr\""][..]),
        ("https", &["`/_ping` answers 404, `/health` answers 200", "preset = \"dtr\""]),
        ("clear", &["port 80 speaks HTTP in clear", "scheme = \"http\""]),
        ("tls", &["port 443 speaks TLS", "scheme = \"https\""]),
    ];
    let mut hints = Vec::new();
    let told = until(Duration::from_secs(15), || {
        let Ok(status) = stage.balancer.status(&stage.lab) else { return false };
        hints = status.services.into_iter().map(|service| (service.name, service.hint)).collect();
        expected.iter().all(|(name, words)| {
            let of_service = hints.iter().find(|(service, _)| service == name);
            let hint = of_service.and_then(|(_, hint)| hint.as_deref()).unwrap_or_default();
            words.iter().all(|words| hint.contains(words))
        })
    });
    ensure!(told, "{hints:?}\n{}", stage.balancer.process().log_tail(30));
    let text = stage.balancer.command(&stage.lab, &["status"])?.stdout;
    let text = String::from_utf8_lossy(&text);
    ensure!(text.matches("HINT ").count() == 4, "{text}");
    let lines = stage.balancer.log_lines(&["this one answers another question"])?;
    ensure!(lines.len() == 4, "each is told once: {lines:?}");
    Ok(())
}
