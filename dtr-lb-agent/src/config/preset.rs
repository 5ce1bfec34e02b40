//! `preset`: what is known of a product that is to be balanced, so that a config need not say it.
//!
//! A preset says which services there are and how health is asked for. Each key that is written goes before it; what a
//! `[[service]]` leaves unwritten is taken from here. This table is the only place that knows products: `probe`, `service`
//! and the search for what would fit (`crate::fit`) read it.
//!
//! Sources of the paths: Docker, "Use a load balancer" (DTR 2.2) for `dtr`; Mirantis, "Health check endpoints" (MSR 2.9, 3.1)
//! for `msr`, which DTR 2.3 and later have as well; Harbor's API description, `GET /health`, for `harbor`; the OCI
//! distribution specification, "Determining Support", for `registry`; Kubernetes, "Kubernetes API health endpoints", for
//! `kubernetes-api`.

use super::choice::{Choice, choice};
use super::pattern::Pattern;
use super::probe::Scheme;
use super::status_set::StatusSet;

choice! {
    /// The product that is balanced.
    pub enum Preset {
        /// Docker Trusted Registry up to 2.2, and whatever else has `/health`: what holds where no preset is written.
        Dtr = "dtr",
        /// Mirantis Secure Registry up to 3.1, and Docker Trusted Registry from 2.3 on.
        Msr = "msr",
        /// Harbor, and what is made of it (Mirantis Secure Registry 4).
        Harbor = "harbor",
        /// The distribution project's registry by itself: Debian's `docker-registry`, the image `registry`.
        Registry = "registry",
        /// Kubernetes API servers.
        KubernetesApi = "kubernetes-api",
        /// Any TCP service: a connection that is accepted is enough.
        Tcp = "tcp",
    }
}

/// A service that a preset has of itself, on the same port of VIP and replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresetService {
    pub name: &'static str,
    pub port: u16,
    pub scheme: Scheme,
}

const fn service(name: &'static str, port: u16, scheme: Scheme) -> PresetService {
    PresetService { name, port, scheme }
}

const WEB: &[PresetService] = &[service("http", 80, Scheme::Http), service("https", 443, Scheme::Https)];
const REGISTRY: &[PresetService] = &[service("registry", 5000, Scheme::Http)];
const KUBERNETES_API: &[PresetService] = &[service("kubernetes-api", 6443, Scheme::Https)];

/// Harbor answers 200 whether it is well or not, and has "status" for each component, too. The one of the whole is the first
/// key of the object or the last.
const HARBOR_WELL: &str = r#"^\s*\{\s*"status"\s*:\s*"healthy"|"status"\s*:\s*"healthy"\s*\}\s*$"#;
/// The same, or the page by which its nginx sends clients from HTTP to HTTPS.
const HARBOR_WELL_OR_REDIRECT: &str =
    r#"^\s*\{\s*"status"\s*:\s*"healthy"|"status"\s*:\s*"healthy"\s*\}\s*$|<title>30[1278] "#;

impl Preset {
    /// Each of them, in the order of the documentation.
    pub const ALL: &'static [Self] = <Self as Choice>::ALL;

    /// The preset that this word means.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|preset| preset.as_str() == word)
    }

    /// The services of a config that writes none.
    #[must_use]
    pub const fn services(self) -> &'static [PresetService] {
        match self {
            Self::Dtr | Self::Msr | Self::Harbor => WEB,
            Self::Registry => REGISTRY,
            Self::KubernetesApi => KUBERNETES_API,
            Self::Tcp => &[],
        }
    }

    /// What is asked for, from `/` on.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Dtr | Self::Tcp => "/health",
            Self::Msr => "/_ping",
            Self::Harbor => "/api/v2.0/health",
            Self::Registry => "/v2/",
            Self::KubernetesApi => "/readyz",
        }
    }

    /// The status codes of a healthy replica. In clear, DTR, MSR and Harbor may do no more than send to HTTPS.
    #[must_use]
    pub fn status(self, scheme: Scheme) -> StatusSet {
        match (self, scheme) {
            (Self::Dtr | Self::Tcp, _) | (Self::Msr | Self::Harbor, Scheme::Http) => StatusSet::default(),
            // 401: it is there, and wants to know who asks.
            (Self::Registry, _) => StatusSet::of(&[200, 401]),
            (Self::Msr | Self::Harbor | Self::KubernetesApi, _) => StatusSet::of(&[200]),
        }
    }

    /// What the body of a healthy replica matches.
    #[must_use]
    pub fn body(self, scheme: Scheme) -> Option<Pattern> {
        match (self, scheme) {
            (Self::Harbor, Scheme::Http) => Some(Pattern::of(HARBOR_WELL_OR_REDIRECT)),
            (Self::Harbor, Scheme::Https) => Some(Pattern::of(HARBOR_WELL)),
            (Self::Harbor, Scheme::Tcp | Scheme::Tls | Scheme::None)
            | (Self::Dtr | Self::Msr | Self::Registry | Self::KubernetesApi | Self::Tcp, _) => None,
        }
    }

    /// What is spoken to a service that names no scheme: TLS on 443 or if it is called "https", clear text on 80 or if it is
    /// called "http"; else what the product speaks.
    #[must_use]
    pub fn scheme(self, name: &str, replica_port: u16) -> Scheme {
        match (self, replica_port, name) {
            (Self::Tcp, _, _) => Scheme::Tcp,
            (Self::KubernetesApi, _, _) | (_, 443, _) | (_, _, "https") => Scheme::Https,
            (_, 80, _) | (_, _, "http") | (Self::Registry, _, _) => Scheme::Http,
            // Any TCP service can be asked that.
            (Self::Dtr | Self::Msr | Self::Harbor, _, _) => Scheme::Tcp,
        }
    }

    /// The name of a service that writes none.
    #[must_use]
    pub fn name_of(self, port: u16) -> Option<&'static str> {
        self.services().iter().find(|service| service.port == port).map(|service| service.name)
    }

    /// The port of a service that writes none.
    #[must_use]
    pub fn port_of(self, name: &str) -> Option<u16> {
        self.services().iter().find(|service| service.name == name).map(|service| service.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harbor_is_well_only_if_all_of_it_is() {
        let (plain, tls) = (Preset::Harbor.body(Scheme::Http), Preset::Harbor.body(Scheme::Https));
        let (plain, tls) = (plain.expect("a pattern"), tls.expect("a pattern"));
        let component = |status: &str| format!(r#"{{"name":"core","status":"{status}"}}"#);
        let last =
            |one: &str, all: &str| format!(r#"{{"components":[{}],"status":"{all}"}}"#, component(one));
        let first = |one: &str, all: &str| {
            format!("{{\n  \"status\": \"{all}\",\n  \"components\": [{}]\n}}\n", component(one))
        };
        for of in [&last as &dyn Fn(&str, &str) -> String, &first] {
            for pattern in [&plain, &tls] {
                assert!(
                    pattern.is_match(of("healthy", "healthy").as_bytes()),
                    "{}",
                    of("healthy", "healthy")
                );
                assert!(!pattern.is_match(of("healthy", "unhealthy").as_bytes()));
            }
        }
        let redirect = b"<html>\r\n<head><title>308 Permanent Redirect</title></head>";
        assert!(plain.is_match(redirect) && !tls.is_match(redirect));
        assert!(!plain.is_match(b"<html><head><title>502 Bad Gateway</title></head>"));
    }

    #[test]
    fn schemes_follow_port_name_and_product() {
        for (preset, name, port, expected) in [
            (Preset::Dtr, "a", 443, Scheme::Https),
            (Preset::Dtr, "https", 8443, Scheme::Https),
            (Preset::Dtr, "https", 80, Scheme::Https),
            (Preset::Dtr, "a", 8443, Scheme::Tcp),
            (Preset::Registry, "a", 5000, Scheme::Http),
            (Preset::Registry, "registry", 443, Scheme::Https),
            (Preset::Registry, "a", 5001, Scheme::Http),
            (Preset::KubernetesApi, "a", 443, Scheme::Https),
            (Preset::KubernetesApi, "a", 8443, Scheme::Https),
            (Preset::Tcp, "https", 443, Scheme::Tcp),
        ] {
            assert_eq!(preset.scheme(name, port), expected, "{preset} {name} {port}");
        }
    }

    #[test]
    fn words_and_presets_are_each_others() {
        for preset in Preset::ALL {
            assert_eq!(Preset::from_word(preset.as_str()), Some(*preset));
        }
        assert_eq!(Preset::from_word("ucp"), None);
    }
}
