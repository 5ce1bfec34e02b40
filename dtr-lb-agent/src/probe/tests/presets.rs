//! Each preset against the answers that its product's documentation has.

use super::{
    ask, probe, said,
    server::{Script, Server},
};
use crate::config::{Preset, Probe, Scheme};

const MSR_WELL: &str = r#"{"Error":"","Healthy":true}"#;
const MSR_ILL: &str = r#"{"Error":"rethinkdb","Healthy":false}"#;
const HARBOR_WELL: &str = r#"{"components":[{"name":"core","status":"healthy"},{"name":"redis","status":"healthy"}],"status":"healthy"}"#;
const HARBOR_ILL: &str = r#"{"components":[{"error":"refused","name":"redis","status":"unhealthy"},{"name":"core","status":"healthy"}],"status":"unhealthy"}"#;
const REDIRECT: &str =
    "<html>\r\n<head><title>308 Permanent Redirect</title></head>\r\n<body></body>\r\n</html>\r\n";
const WHO_ARE_YOU: &str =
    r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":null}]}"#;

/// As the preset would ask, but in clear: what is judged is the answer, not who sent it.
fn asked_as(preset: Preset, of: Scheme, port: u16) -> Probe {
    let clear = probe(Scheme::Http, port);
    Probe { path: preset.path().into(), status: preset.status(of), body: preset.body(of), ..clear }
}

#[tokio::test]
async fn documented_answers_are_judged_as_documented() {
    use Preset::{Dtr, Harbor, KubernetesApi, Msr, Registry};
    use Scheme::{Http, Https};
    for (preset, scheme, status, body, good) in [
        (Dtr, Https, "200 OK", "{}", true),
        (Dtr, Http, "301 Moved Permanently", "", true),
        (Dtr, Https, "503 Service Unavailable", "", false),
        (Msr, Https, "200 OK", MSR_WELL, true),
        (Msr, Https, "503 Service Unavailable", MSR_ILL, false),
        (Msr, Https, "302 Found", "", false),
        (Msr, Http, "301 Moved Permanently", "", true),
        (Harbor, Https, "200 OK", HARBOR_WELL, true),
        (Harbor, Https, "200 OK", HARBOR_ILL, false),
        (Harbor, Https, "308 Permanent Redirect", REDIRECT, false),
        (Harbor, Http, "200 OK", HARBOR_WELL, true),
        (Harbor, Http, "200 OK", HARBOR_ILL, false),
        (Harbor, Http, "308 Permanent Redirect", REDIRECT, true),
        (Harbor, Http, "502 Bad Gateway", "", false),
        (Registry, Http, "200 OK", "{}", true),
        (Registry, Https, "401 Unauthorized", WHO_ARE_YOU, true),
        (Registry, Http, "404 Not Found", "", false),
        (Registry, Http, "503 Service Unavailable", "", false),
        (KubernetesApi, Https, "200 OK", "ok", true),
        (KubernetesApi, Https, "500 Internal Server Error", "[-]etcd failed", false),
        (KubernetesApi, Https, "401 Unauthorized", "", false),
    ] {
        let server = Server::plain(Script::http(status, body)).await;
        let outcome = ask(asked_as(preset, scheme, server.port())).await;
        assert_eq!(outcome.ok(), good, "{preset} by {scheme}, {status}: {}", said(&outcome));
        let request = format!("GET {} HTTP/1.1", preset.path());
        assert!(server.seen().requests[0].starts_with(&request), "{:?}", server.seen().requests);
    }
}
