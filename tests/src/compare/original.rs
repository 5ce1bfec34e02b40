//! The three samples of DTR's own documentation ("Use a load balancer"), and the servers that they are for.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    balancer::binary,
    lab::{Lab, Process, SERVICE_NAME, until},
};

/// A sample of the documentation, and what runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Original {
    Nginx,
    Haproxy,
    /// HAProxy stands in for it, with the checks that the sample describes.
    Elb,
}

impl Original {
    pub const ALL: [Self; 3] = [Self::Nginx, Self::Haproxy, Self::Elb];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Elb => "elb",
        }
    }

    /// The program that runs it.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy | Self::Elb => "haproxy",
        }
    }

    /// What `dtr-lb import` reads.
    fn sample(self) -> (&'static str, &'static str) {
        match self {
            Self::Nginx => ("nginx.conf", include_str!("samples/nginx.conf")),
            Self::Haproxy => ("haproxy.cfg", include_str!("samples/haproxy.cfg")),
            Self::Elb => ("elb.json", include_str!("samples/elb.json")),
        }
    }

    /// Where its clients ask, by a name that stands for the VIP. nginx's sample has its two ports swapped: 443 is served by the
    /// replicas' port 80.
    pub const fn url(self) -> &'static str {
        match self {
            Self::Nginx => "http://dtr.example.com:443/whoami",
            Self::Haproxy => "http://dtr.example.com/whoami",
            Self::Elb => "https://dtr.example.com/whoami",
        }
    }

    /// Starts the sample in the balancer's place.
    pub fn start(self, lab: &Lab) -> Result<Process> {
        let text = match self {
            Self::Nginx => for_debian(self.sample().1, lab),
            Self::Haproxy => self.sample().1.to_owned(),
            Self::Elb => include_str!("samples/elb-stand-in.cfg").to_owned(),
        };
        let file = write(lab, &format!("original-{}", self.name()), &filled(&text, lab))?;
        let mut command = lab.balancer().command(self.program());
        match self {
            Self::Nginx => command.args(["-g", "daemon off;", "-c"]).arg(file),
            Self::Haproxy | Self::Elb => command.args(["-db", "-f"]).arg(file),
        };
        let process = lab.spawn(self.name(), command)?;
        let up = until(Duration::from_secs(20), || self.serves(lab) || !process.is_running());
        ensure!(up && process.is_running(), "{} does not serve: {}", self.program(), process.log_tail(10));
        Ok(process)
    }

    /// Whether a client gets an answer.
    pub fn serves(self, lab: &Lab) -> bool {
        lab.client().curl(self.url(), &["--insecure", "--max-time", "1"]).is_ok_and(|answer| answer.is_ok())
    }

    /// What `dtr-lb import` makes of the sample, and its report. Addresses that the sample leaves open are given by options where
    /// it has no place for them.
    pub fn import(self, lab: &Lab) -> Result<(String, String)> {
        let (name, text) = self.sample();
        let file = write(lab, name, &filled(text, lab))?;
        let mut command = Command::new(binary()?);
        command.arg("import").arg(file).args(["--vip", &lab.vip().to_string()]);
        if self == Self::Elb {
            for replica in lab.replicas() {
                command.args(["--replica", &replica.address().to_string()]);
            }
        }
        let output = command.output().context("running dtr-lb import")?;
        let report = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.stdout.is_empty(), "dtr-lb import of {name}: {report}");
        Ok((String::from_utf8_lossy(&output.stdout).into_owned(), report))
    }
}

fn write(lab: &Lab, name: &str, text: &str) -> Result<PathBuf> {
    let path = lab.directory().join(name);
    fs::write(&path, text).with_context(|| format!("writing `{}`", path.display()))?;
    Ok(path)
}

/// With the lab's addresses.
fn filled(text: &str, lab: &Lab) -> String {
    let mut text = text.replace("<DTR_FQDN>", SERVICE_NAME);
    for (placeholder, replica) in ["1", "2", "N"].iter().zip(lab.replicas()) {
        text = text.replace(&format!("<DTR_REPLICA_{placeholder}_IP>"), &replica.address().to_string());
    }
    // The document has the same text for each instance; each is an instance of its own.
    for number in 1..=lab.replicas().len() {
        text = text.replacen("\"i-XXXXXXXXX\"", &format!("\"i-{number}\""), 1);
    }
    text
}

/// What the sample needs outside of its container: Debian's nginx has its module for TCP apart and no user of that name, and
/// other nginx run on this host.
fn for_debian(text: &str, lab: &Lab) -> String {
    let directory = lab.directory().display();
    let text = text
        .replace("user  nginx;", "user  root;")
        .replace("/var/log/nginx/error.log", &format!("{directory}/original-nginx.log"))
        .replace("/var/run/nginx.pid", &format!("{directory}/original-nginx.pid"));
    format!("load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n{text}")
}
