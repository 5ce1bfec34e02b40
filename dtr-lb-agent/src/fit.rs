//! What would fit, where all replicas of a service fail their probes in the same way: a health check that asks for what the
//! product does not have, in clear where it speaks TLS, or the reverse.
//!
//! Pure: which failures that can be ([`symptom`]), what else could be asked ([`candidates`]), and the words for what answered
//! ([`words`]). `agent::fit` asks, one replica, once.

use crate::{
    config::{Preset, Probe, Scheme, StatusSet},
    probe::{Failure, Outcome},
};

/// A failure that a wrong health check explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symptom {
    /// Answered with this status: there is no such path, or it is not for everybody.
    Status(u16),
    /// Asked by TLS, and it answered, but not by TLS.
    Clear,
    /// Asked in clear, and it answered as one does who expects TLS: with nonsense, with an alert, by closing, or by 400.
    Tls(Option<u16>),
}

/// What of a failed probe a wrong health check explains; `None` if it is something else that is wrong.
#[must_use]
pub fn symptom(scheme: Scheme, outcome: &Outcome) -> Option<Symptom> {
    match (scheme, outcome.error.as_ref()?) {
        (Scheme::Http, Failure::Status { got: 400, .. }) => Some(Symptom::Tls(Some(400))),
        (Scheme::Http, Failure::NotHttp { .. } | Failure::Closed) => Some(Symptom::Tls(None)),
        (Scheme::Https, failure) if failure.is_clear_text() => Some(Symptom::Clear),
        (Scheme::Http | Scheme::Https, Failure::Status { got, .. }) if (400..500).contains(got) => {
            Some(Symptom::Status(*got))
        }
        (Scheme::Http | Scheme::Https | Scheme::Tcp | Scheme::Tls | Scheme::None, _) => None,
    }
}

/// What all of them fail by; `None` if one of them does not, or fails by something else, or there are none.
pub fn common(symptoms: impl IntoIterator<Item = Option<Symptom>>) -> Option<Symptom> {
    let mut symptoms = symptoms.into_iter();
    let first = symptoms.next()??;
    symptoms.all(|symptom| symptom == Some(first)).then_some(first)
}

/// Another way to ask.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub probe: Probe,
    /// Whose path it is; `None`: the one of the config.
    pub preset: Option<Preset>,
}

/// Those that have an own path, the registry last: the others have its path, too.
const PRODUCTS: [Preset; 5] =
    [Preset::Dtr, Preset::Msr, Preset::Harbor, Preset::KubernetesApi, Preset::Registry];

/// What to ask, the likeliest first. A redirect counts for nothing here, and neither does the status that there is already.
#[must_use]
pub fn candidates(probe: &Probe, symptom: Symptom) -> Vec<Candidate> {
    let (scheme, other_scheme) = match symptom {
        Symptom::Status(_) => (probe.scheme, false),
        Symptom::Clear => (Scheme::Http, true),
        Symptom::Tls(_) => (Scheme::Https, true),
    };
    let own = other_scheme.then(|| Candidate { probe: Probe { scheme, ..probe.clone() }, preset: None });
    let mut all: Vec<_> = own.into_iter().collect();
    all.extend(PRODUCTS.iter().filter(|preset| preset.path() != probe.path).map(|preset| {
        let good = [200, 401].into_iter().filter(|status| {
            preset.status(Scheme::Https).contains(*status) && symptom != Symptom::Status(*status)
        });
        let good: Vec<_> = good.filter(|status| *status == 200 || *preset == Preset::Registry).collect();
        let (path, status) = (preset.path().to_owned(), StatusSet::of(&good));
        let body = preset.body(Scheme::Https);
        Candidate { probe: Probe { scheme, path, status, body, ..probe.clone() }, preset: Some(*preset) }
    }));
    all
}

/// What to tell the operator of a candidate that passed with this outcome.
#[must_use]
pub fn words(probe: &Probe, symptom: Symptom, fits: &Candidate, outcome: &Outcome) -> String {
    let path = &fits.probe.path;
    let answer = outcome.status.map_or_else(|| "an answer".to_owned(), |status| status.to_string());
    let found = match symptom {
        Symptom::Status(status) => format!("`{}` answers {status}, `{path}` answers {answer}", probe.path),
        Symptom::Clear => {
            format!("port {} speaks HTTP in clear, where `{path}` answers {answer}", probe.port)
        }
        Symptom::Tls(_) => format!("port {} speaks TLS, where `{path}` answers {answer}", probe.port),
    };
    let scheme = match symptom {
        Symptom::Status(_) => None,
        Symptom::Clear | Symptom::Tls(_) => Some(format!("service.probe.scheme = \"{}\"", fits.probe.scheme)),
    };
    let preset = fits.preset.map(|preset| format!("preset = \"{preset}\""));
    let remedy = [preset, scheme].into_iter().flatten().collect::<Vec<_>>().join(" and ");
    let own = match fits.preset {
        Some(_) => format!(" (or service.probe.path = \"{path}\")"),
        None => String::new(),
    };
    format!("{found}: {remedy}{own}?")
}

#[cfg(test)]
mod tests;
