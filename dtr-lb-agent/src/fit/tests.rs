//! Which failures call for another question, which one, and in which words.

use std::time::Duration;

use super::*;
use crate::probe::Phase;

fn probe(scheme: Scheme, path: &str) -> Probe {
    Probe { scheme, path: path.into(), ..Probe::default_for(Preset::Dtr, "https", 443, None) }
}

fn outcome(status: Option<u16>, error: Option<Failure>) -> Outcome {
    Outcome { status, took: Duration::ZERO, error }
}

fn status(got: u16) -> Outcome {
    outcome(Some(got), Some(Failure::Status { got, expected: "200".into() }))
}

fn failed(error: Failure) -> Outcome {
    outcome(None, Some(error))
}

#[test]
fn only_what_a_wrong_question_explains_is_a_symptom() {
    use Scheme::{Http, Https, Tcp};
    let tls = |reason: &str| Failure::Tls { reason: reason.into() };
    let silent = Failure::Timeout { after: Duration::ZERO, phase: Phase::Waiting };
    for (scheme, outcome, expected) in [
        (Https, status(404), Some(Symptom::Status(404))),
        (Https, status(401), Some(Symptom::Status(401))),
        (Http, status(403), Some(Symptom::Status(403))),
        (Https, status(400), Some(Symptom::Status(400))),
        (Http, status(400), Some(Symptom::Tls(Some(400)))),
        (Http, failed(Failure::NotHttp { reason: "x".into() }), Some(Symptom::Tls(None))),
        (Http, failed(Failure::Closed), Some(Symptom::Tls(None))),
        (Https, failed(Failure::clear_text()), Some(Symptom::Clear)),
        (Https, failed(tls("bad")), None),
        (Https, status(503), None),
        (Https, failed(Failure::Refused), None),
        (Http, failed(silent), None),
        (Https, failed(Failure::Certificate { reason: "expired".into() }), None),
        (Tcp, failed(Failure::Closed), None),
        (Https, outcome(Some(200), None), None),
    ] {
        assert_eq!(symptom(scheme, &outcome), expected, "{scheme} {outcome:?}");
    }
}

#[test]
fn all_have_to_fail_in_the_same_way() {
    let (missing, secret) = (Some(Symptom::Status(404)), Some(Symptom::Status(401)));
    for (symptoms, expected) in [
        (&[missing, missing][..], missing),
        (&[missing], missing),
        (&[missing, secret], None),
        (&[missing, None], None),
        (&[None, missing], None),
        (&[], None),
    ] {
        assert_eq!(common(symptoms.iter().copied()), expected, "{symptoms:?}");
    }
}

fn asked(scheme: Scheme, path: &str, symptom: Symptom) -> Vec<String> {
    let of = |candidate: Candidate| {
        let Probe { scheme, path, status, .. } = candidate.probe;
        let whose = candidate.preset.map_or("own", Preset::as_str);
        format!("{whose}: {scheme} {path} {status}")
    };
    candidates(&probe(scheme, path), symptom).into_iter().map(of).collect()
}

#[test]
fn the_other_products_are_asked_for_and_the_registry_last() {
    assert_eq!(
        asked(Scheme::Https, "/health", Symptom::Status(404)),
        [
            "msr: https /_ping 200",
            "harbor: https /api/v2.0/health 200",
            "kubernetes-api: https /readyz 200",
            "registry: https /v2/ 200, 401",
        ]
    );
    let secret = asked(Scheme::Http, "/_ping", Symptom::Status(401));
    assert_eq!(secret[0], "dtr: http /health 200");
    assert_eq!(secret.last().map(String::as_str), Some("registry: http /v2/ 200"), "401 says nothing new");
}

#[test]
fn another_scheme_is_tried_with_the_own_path_first() {
    let clear = asked(Scheme::Https, "/health", Symptom::Clear);
    assert_eq!(clear[0], "own: http /health 200-399");
    assert_eq!(clear[1], "msr: http /_ping 200");
    let tls = asked(Scheme::Http, "/health", Symptom::Tls(Some(400)));
    assert_eq!(tls[0], "own: https /health 200-399");
}

#[test]
fn the_words_say_what_was_found_and_what_to_write() {
    let said = |scheme, symptom, place: usize, status| {
        let probe = probe(scheme, "/health");
        let candidate = &candidates(&probe, symptom)[place];
        words(&probe, symptom, candidate, &outcome(Some(status), None))
    };
    assert_eq!(
        said(Scheme::Https, Symptom::Status(404), 0, 200),
        "`/health` answers 404, `/_ping` answers 200: preset = \"msr\" (or service.probe.path = \"/_ping\")?"
    );
    assert_eq!(
        said(Scheme::Https, Symptom::Clear, 0, 200),
        "port 443 speaks HTTP in clear, where `/health` answers 200: service.probe.scheme = \"http\"?"
    );
    assert_eq!(
        said(Scheme::Http, Symptom::Tls(Some(400)), 4, 401),
        "port 443 speaks TLS, where `/v2/` answers 401: preset = \"registry\" and service.probe.scheme = \"https\" \
         (or service.probe.path = \"/v2/\")?"
    );
}
