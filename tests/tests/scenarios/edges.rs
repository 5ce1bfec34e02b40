//! Other ports, and what is not the balancer's.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::{
    balancer::{DOWN_WITHIN, service},
    lab::{Families, ReplicaOptions, literal, serve_banner},
};

use crate::{BOTH_HOOKS, CROSSWISE, Place, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("services_on_other_ports", CROSSWISE, other_ports),
    // These packets do not leave by any interface.
    ("a_server_on_another_port_of_the_vip_is_untouched", BOTH_HOOKS, untouched),
    ("a_client_on_the_balancer_is_refused_and_told_why", BOTH_HOOKS, local_client),
    ("garbage_hurts_no_one", BOTH_HOOKS, garbage),
];

/// Services on ports of their own choice, to replicas on other ports again; the probes go to the replicas' ports.
fn other_ports(place: Place) -> Result<()> {
    let mut lab = place.lab_options().without_registry();
    for replica in &mut lab.replicas {
        *replica = ReplicaOptions { http_port: 8080, https_port: 8443, ..replica.clone() };
    }
    let mut options = place.options();
    options.services = service("http", 81, 8080) + &service("https", 4443, 8443);
    let stage = place.stage_with(lab, &options)?;
    let client = stage.lab.client();
    for url in
        [format!("http://{}:81/whoami", stage.lab.vip()), format!("https://{}:4443/whoami", stage.lab.vip())]
    {
        let outcome = client.curl(&url, &["--max-time", "5"])?;
        ensure!(outcome.is_ok() && stage.lab.replica(&outcome.text()).is_some(), "{url}: {outcome:?}");
    }
    // A port that is no service's is the host's own, and nobody listens there.
    let refused = client.curl(&format!("http://{}:80/whoami", stage.lab.vip()), &["--max-time", "5"])?;
    ensure!(refused.exit == 7, "port 80 is no service: {refused:?}");
    // The probes are on those ports, too: they see this.
    stage.lab.replicas()[0].sicken()?;
    stage.wait_for_state("r1", "down", DOWN_WITHIN)?;
    Ok(())
}

/// Something like ssh, on the VIP and on the balancer's own address.
fn untouched(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let own =
        stage.lab.balancer_interfaces().flat_map(|(_, addresses)| addresses).map(|own| own.address).next();
    for address in [Some(stage.lab.vip()), own].into_iter().flatten() {
        let _banner = serve_banner(stage.lab.balancer(), address, 22, "SSH-2.0-lab")?;
        let text = stage.lab.client().namespace().run(|| -> std::io::Result<String> {
            let mut stream = TcpStream::connect((address, 22))?;
            stream.set_read_timeout(Some(Duration::from_secs(3)))?;
            let mut text = vec![0; 11];
            stream.read_exact(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        })??;
        ensure!(text == "SSH-2.0-lab", "{address} port 22 answered `{text}`");
    }
    let status = stage.balancer.status(&stage.lab)?;
    ensure!(status.verdicts["passed_not_service"] > 0, "{:?}", status.verdicts);
    Ok(())
}

/// The first thing that everybody tries, from the balancer itself: refused for each family, while others are served; and each
/// place where an operator looks says why.
fn local_client(place: Place) -> Result<()> {
    let stage = place.stage_with(place.family_options(Families::Dual), &place.options())?;
    let own: Vec<_> = stage.lab.balancer_interfaces().flat_map(|(_, addresses)| addresses).collect();
    for &vip in stage.lab.vips() {
        let to = SocketAddr::new(vip, 80);
        let refused = stage
            .lab
            .balancer()
            .run(|| TcpStream::connect_timeout(&to, Duration::from_secs(3)))?
            .err()
            .map(|error| error.kind());
        ensure!(refused == Some(ErrorKind::ConnectionRefused), "{to} from the balancer: {refused:?}");
        let url = format!("http://{}/whoami", literal(vip));
        let served = stage.lab.client().curl(&url, &["--max-time", "5"])?;
        ensure!(served.is_ok(), "{to} from a client: {served:?}");
        let of_family = own.iter().find(|own| own.address.is_ipv4() == vip.is_ipv4());
        let source = of_family.context("the balancer has no address")?.address.to_string();
        for arguments in [&["check"][..], &["explain", &source, &to.to_string()]] {
            let told = stage.balancer.command(&stage.lab, arguments)?;
            let told = String::from_utf8_lossy(&told.stdout).into_owned();
            ensure!(told.contains("a client on this host is not balanced"), "{arguments:?}: {told}");
        }
    }
    Ok(())
}

/// A client that sends anything but TLS to port 443, in many ways, while others go on.
fn garbage(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let load =
        stage.lab.client().background_load(stage.http(), Duration::from_millis(2), Duration::from_secs(3))?;
    let vip = stage.lab.vip();
    let sent = stage.lab.client().namespace().run(|| -> std::io::Result<usize> {
        // xorshift: any bytes will do, and the same ones each time.
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut sent = 0;
        for round in 0..100 {
            let mut stream = TcpStream::connect((vip, 443))?;
            stream.set_read_timeout(Some(Duration::from_secs(3)))?;
            let mut bytes = vec![0u8; 1 + 97 * round];
            for byte in &mut bytes {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = state as u8;
            }
            // The replica may close before all is written.
            sent += usize::from(stream.write_all(&bytes).is_ok());
            match round % 3 {
                0 => drop(stream),
                // It may also have reset the connection already.
                1 => drop(stream.shutdown(Shutdown::Write)),
                _ => {
                    let _ = stream.read(&mut [0; 512]);
                }
            }
        }
        Ok(sent)
    })??;
    ensure!(sent > 0, "no garbage was sent");
    ensure!(stage.lab.replica(&stage.whoami("https")?).is_some(), "https does not answer");
    let failed: Vec<_> = load.stop().into_iter().filter(|request| request.outcome.is_err()).collect();
    ensure!(failed.is_empty(), "{} requests of others failed, the first: {:?}", failed.len(), failed[0]);
    let status = stage.balancer.status(&stage.lab)?;
    for replica in status.services.iter().flat_map(|service| &service.replicas) {
        ensure!(replica.state == "up", "{replica:?}");
    }
    Ok(())
}
