//! The programs that this repository's commands run and that come from elsewhere: who needs them, what for, and which Debian
//! package brings them.

use std::path::Path;

use crate::command::find_program;
use crate::scope::Scope::{self, Bare, Bench, Ci, Dist, Host, Run, Screenshots, System, Test};

/// A program that a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Program {
    /// The executable's name.
    pub(crate) name: &'static str,
    /// The Debian package that brings it.
    pub(crate) package: &'static str,
    /// What it is used for.
    pub(crate) why: &'static str,
    /// The commands that need it; `ci` needs every one.
    pub(crate) scopes: &'static [Scope],
    /// What makes it say its version and end: how set-up finds out whether it starts.
    pub(crate) version: &'static str,
    /// What it must be told where it is not installed but only unpacked, in the directory `@`.
    pub(crate) unpacked: &'static [&'static str],
    /// Whether it is no executable: then its name is the path of a file.
    pub(crate) file: bool,
    /// The executable in its package, where the one on `PATH` is a script that knows only its own place.
    pub(crate) behind: Option<&'static str>,
}

/// Where there is a lab.
const LAB: &[Scope] = &[Run, Test, Screenshots, Bench];

/// nginx's part for TCP, which Debian packs by itself.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Every program.
pub(crate) const PROGRAMS: [Program; 26] = [
    Program::new("ip", "iproute2", "the lab's namespaces and links", &[Run, Host, Test, Screenshots, Bench])
        .says_version("-V"),
    Program::new("mount", "mount", "a client's own hosts file in the lab", LAB),
    Program::new("ethtool", "ethtool", "the links' offloads, turned off in the lab", LAB),
    Program::new("nginx", "nginx", "a replica's front end in the lab", LAB).says_version("-v"),
    Program::new("haproxy", "haproxy", "a balancer beside which dtr-lb is tried", LAB).says_version("-v"),
    Program::new(NGINX_STREAM, "libnginx-mod-stream", "the same, by nginx", LAB).is_a_file(),
    Program::new("docker-registry", "docker-registry", "the registry behind each replica", LAB),
    Program::new(
        "skopeo",
        "skopeo",
        "the client that pushes and pulls images, and reads the one of dtr-lb",
        &[Run, Test, Screenshots, Bench, Dist],
    ),
    Program::new("curl", "curl", "the client that makes requests", LAB),
    Program::new("openssl", "openssl", "the replicas' certificates, and a TLS client", LAB)
        .says_version("version"),
    Program::new("dnsmasq", "dnsmasq-base", "the name server of replicas' host names", &[Host, Test]),
    Program::new("strace", "strace", "kills the agent at a system call of a test's choice", &[Test]),
    Program::new("tshark", "tshark", "reads the capture files that a trace writes", &[Test]),
    Program::new("prometheus", "prometheus", "reads the metrics in a scenario", &[Test]),
    Program::new("promtool", "prometheus", "checks metrics and alert rules", &[Test]),
    Program::new("jq", "jq", "reads the flow log in a scenario", &[Test]),
    Program::new("mandoc", "mandoc", "checks the manual pages", &[Test]).says_version("-h"),
    Program::new("chromium", "chromium", "the browser that tries the dashboard", &[Test, Screenshots])
        .behind_script("usr/lib/chromium/chromium"),
    Program::new("chromedriver", "chromium-driver", "drives that browser", &[Test, Screenshots]),
    Program::new("qemu-system-x86_64", "qemu-system-x86", "the machine of the system test", &[System])
        .unpacked_with(&["-L", "@/usr/share/qemu", "-L", "@/usr/share/seabios", "-L", "@/usr/lib/ipxe/qemu"]),
    Program::new("mmdebstrap", "mmdebstrap", "makes a Debian from its packages", &[System, Bare]),
    Program::new("mke2fs", "e2fsprogs", "the disk of the system test's machine", &[System])
        .says_version("-V"),
    Program::new("dpkg-shlibdeps", "dpkg-dev", "what the Debian package depends on", &[Dist, System]),
    Program::new("umoci", "umoci", "makes the image for containers", &[Dist]),
    Program::new("update-ca-certificates", "ca-certificates", "the CAs in that image", &[Dist])
        .says_version("--help"),
    Program::new("lintian", "lintian", "what is wrong with the Debian package", &[System]),
];

/// The packages that start a service once installed.
pub(crate) const SERVICES: [&str; 4] = ["nginx", "haproxy", "docker-registry", "prometheus"];

impl Program {
    const fn new(
        name: &'static str,
        package: &'static str,
        why: &'static str,
        scopes: &'static [Scope],
    ) -> Self {
        Self { name, package, why, scopes, version: "--version", unpacked: &[], file: false, behind: None }
    }

    const fn says_version(mut self, argument: &'static str) -> Self {
        self.version = argument;
        self
    }

    const fn unpacked_with(mut self, arguments: &'static [&'static str]) -> Self {
        self.unpacked = arguments;
        self
    }

    const fn is_a_file(mut self) -> Self {
        self.file = true;
        self
    }

    const fn behind_script(mut self, path: &'static str) -> Self {
        self.behind = Some(path);
        self
    }

    /// Whether this machine has it.
    pub(crate) fn is_here(&self) -> bool {
        if self.file { Path::new(self.name).is_file() } else { find_program(self.name).is_some() }
    }

    /// Whether a command needs it.
    pub(crate) fn is_needed_by(&self, scope: Scope) -> bool {
        scope == Ci || self.scopes.contains(&scope)
    }
}

/// The services that these packages would start.
pub(crate) fn services_of(packages: &[String]) -> Vec<&'static str> {
    SERVICES.into_iter().filter(|service| packages.iter().any(|package| package == service)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed_by(scope: Scope) -> Vec<&'static str> {
        PROGRAMS.iter().filter(|program| program.is_needed_by(scope)).map(|program| program.name).collect()
    }

    #[test]
    fn a_command_needs_its_own_programs_and_no_others() {
        let lab = [
            "ip",
            "mount",
            "ethtool",
            "nginx",
            "haproxy",
            NGINX_STREAM,
            "docker-registry",
            "skopeo",
            "curl",
            "openssl",
        ];
        for (scope, want) in [
            (Scope::Build, &[][..]),
            (Run, &lab),
            (Bench, &lab),
            (Host, &["ip", "dnsmasq"]),
            (Screenshots, &[&lab[..], &["chromium", "chromedriver"]].concat()),
            (Dist, &["skopeo", "dpkg-shlibdeps", "umoci", "update-ca-certificates"]),
            (System, &["qemu-system-x86_64", "mmdebstrap", "mke2fs", "dpkg-shlibdeps", "lintian"]),
            (Bare, &["mmdebstrap"]),
        ] {
            assert_eq!(needed_by(scope), want, "{scope:?}");
        }
        let test = needed_by(Test);
        assert!(lab.iter().all(|name| test.contains(name)));
        assert!(!test.iter().any(|name| ["qemu-system-x86_64", "mmdebstrap", "lintian"].contains(name)));
        assert_eq!(needed_by(Ci).len(), PROGRAMS.len());
    }

    #[test]
    fn every_service_belongs_to_a_package_that_is_installed() {
        for service in SERVICES {
            assert!(PROGRAMS.iter().any(|program| program.package == service), "{service}");
        }
        let packages = ["curl", "docker-registry", "libnginx-mod-stream"].map(str::to_owned);
        assert_eq!(services_of(&packages), ["docker-registry"]);
    }
}
