//! The commands to try in another terminal, complete, for this lab.

use std::path::Path;

use super::{stage::Stage, typed::Verb};
use crate::{balancer, lab::Image};

/// Variables that would send curl and skopeo to a proxy, which is out of reach from a namespace.
const PROXIES: [&str; 6] =
    ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// What the commands are made of.
struct Facts<'a> {
    /// `sudo ` where the caller came by it.
    sudo: &'a str,
    /// What keeps a proxy out of the way, where there is one.
    no_proxy: &'a str,
    client: &'a str,
    /// The namespaces of a replica to make sick, and of another to kill.
    sick: (&'a str, &'a Path),
    victim: (&'a str, &'a str),
    balancer: &'a str,
    vip: &'a str,
    authority: &'a Path,
    authorities: &'a Path,
    image: &'a Path,
    /// Where a pulled image goes: into the lab's directory, to be removed with it.
    pulled: &'a Path,
    dtr_lb: &'a Path,
    config: &'a Path,
}

/// The commands for this lab, with an image to push.
pub(super) fn of(stage: &Stage, image: &Image) -> anyhow::Result<String> {
    let lab = &stage.lab;
    let authority = lab.client().authority();
    let (first, last) = (&lab.replicas()[0], &lab.replicas()[lab.replicas().len() - 1]);
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let facts = Facts {
        sudo: if set("SUDO_USER") { "sudo " } else { "" },
        no_proxy: if PROXIES.iter().any(|name| set(name)) { "env no_proxy='*' " } else { "" },
        client: lab.client().namespace().name(),
        sick: (first.name(), &lab.directory().join(first.name()).join("sick")),
        victim: (last.name(), last.namespace().name()),
        balancer: lab.balancer().name(),
        vip: &lab.vip().to_string(),
        authority,
        authorities: authority.parent().unwrap_or(authority),
        image: image.path(),
        pulled: &lab.directory().join("pulled"),
        dtr_lb: &balancer::binary()?,
        config: &stage.config_file,
    };
    Ok(render(&facts))
}

fn render(facts: &Facts<'_>) -> String {
    let Facts {
        sudo,
        no_proxy,
        client,
        sick,
        victim,
        balancer,
        vip,
        authority,
        authorities,
        image,
        pulled,
        dtr_lb,
        config,
    } = facts;
    let (authority, authorities) = (authority.display(), authorities.display());
    let (image, pulled) = (image.display(), pulled.display());
    let (dtr_lb, config) = (dtr_lb.display(), config.display());
    let (sick_name, sick_file) = (sick.0, sick.1.display());
    let (victim_name, victim_namespace) = victim;
    let enter = format!("{sudo}ip netns exec");
    let verbs: Vec<_> = Verb::ALL.into_iter().map(Verb::word).collect();
    format!(
        "In another terminal, as root:
  # who answers? each request is a new connection
  {enter} {client} {no_proxy}curl -sS --cacert {authority} https://{vip}/whoami
  while sleep 0.1; do {enter} {client} {no_proxy}curl -s --max-time 3 http://{vip}/whoami; done
  # push an image, and pull it
  {enter} {client} {no_proxy}skopeo --insecure-policy copy --dest-cert-dir {authorities} oci:{image}:latest docker://{vip}/library/demo:1
  {enter} {client} {no_proxy}skopeo --insecure-policy copy --src-cert-dir {authorities} docker://{vip}/library/demo:1 dir:{pulled}
  # make {sick_name} sick, and well
  {sudo}touch {sick_file}
  {sudo}rm {sick_file}
  # kill {victim_name}; `start {victim_name}`, typed here, brings it back
  {sudo}ip netns pids {victim_namespace} | xargs {sudo}kill -9
  # ask dtr-lb
  {enter} {balancer} {dtr_lb} --config {config} status --json
Here: {}, each with a replica's name; quit, or Ctrl-C, removes it all.
",
        verbs.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_complete_and_only_say_what_is_needed() {
        let sick_file = Path::new("/tmp/dlb-00/r1/sick");
        let facts = |sudo, no_proxy| Facts {
            sudo,
            no_proxy,
            client: "dlb-00-client",
            sick: ("r1", sick_file),
            victim: ("r3", "dlb-00-r3"),
            balancer: "dlb-00-lb",
            vip: "10.77.0.10",
            authority: Path::new("/tmp/dlb-00/authority/ca.crt"),
            authorities: Path::new("/tmp/dlb-00/authority"),
            image: Path::new("/tmp/dlb-00/images/demo"),
            pulled: Path::new("/tmp/dlb-00/pulled"),
            dtr_lb: Path::new("/target/dtr-lb"),
            config: Path::new("/tmp/dlb-00/dtr-lb.toml"),
        };
        let plain = render(&facts("", ""));
        for line in [
            "  ip netns exec dlb-00-client curl -sS --cacert /tmp/dlb-00/authority/ca.crt https://10.77.0.10/whoami",
            "  touch /tmp/dlb-00/r1/sick",
            "  ip netns pids dlb-00-r3 | xargs kill -9",
        ] {
            assert!(plain.lines().any(|found| found == line), "{line}\n{plain}");
        }
        let elsewhere = render(&facts("sudo ", "env no_proxy='*' "));
        for words in
            ["sudo ip netns exec dlb-00-client env no_proxy='*' curl", "| xargs sudo kill -9", "sudo touch"]
        {
            assert!(elsewhere.contains(words), "{words}\n{elsewhere}");
        }
    }
}
