//! A request to the agent's routers, without a network: that of the Unix socket, and the HTTP side's without an admin token. An
//! input is text: the first line is method and target, the next are headers, and what follows an empty line is the body.
//!
//! Behind a router is no agent but one who notes what the main loop would be asked, and never answers.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode},
};
use dtr_lb_agent::{api, events::Events, history::History, web};
use tokio::{runtime::Builder, sync::mpsc, time::timeout};
use tower::ServiceExt as _;

use crate::Reached;

/// The routes that there are now, or that were spoken of.
pub const PATHS: &[&str] = &[
    "/",
    "/v1/status",
    "/v1/detach",
    "/v1/reload",
    "/v1/replica",
    "/v1/undo",
    "/v1/flows",
    "/v1/flows/follow",
    "/v1/explain",
    "/v1/trace",
    "/v1/history",
    "/v1/events",
    "/metrics",
    "/healthz",
];

/// What of the main loop's requests only asks. Others change something, as far as is known here.
const READING: &[&str] = &["Status", "Metrics", "Look", "Trace", "Follow", "WouldReload"];

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 4 << 20;

/// Puts the request to the routers.
///
/// # Errors
/// No answer, one without words where there is an error, or a change that was begun by what only reads, by what was refused,
/// or over HTTP without a token.
pub fn play(input: &[u8]) -> Result<Reached, String> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let mut reached = Vec::new();
    for over_http in [false, true] {
        let Some(request) = request(input) else { return Ok("not a request".into()) };
        let (sender, requests) = mpsc::channel(16);
        let router = if over_http {
            web::router_of(
                api::open_routes(sender, History::default(), Events::default()),
                web::Rules::default(),
            )
        } else {
            api::router(sender, History::default(), Events::default())
        };
        reached.push(runtime.block_on(ask(router, request, requests, over_http))?);
    }
    Ok(reached.join(", over HTTP "))
}

async fn ask(
    router: Router,
    request: Request<Body>,
    mut requests: mpsc::Receiver<api::Request>,
    over_http: bool,
) -> Result<Reached, String> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut asked = Vec::new();
    let answer = async {
        let response = router.oneshot(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = to_bytes(response.into_body(), LONGEST_ANSWER).await;
        Ok::<_, String>((status, body.map_err(|error| format!("a body that breaks off: {error}"))?))
    };
    let answer = timeout(Duration::from_secs(4), answer);
    tokio::pin!(answer);
    let answered = loop {
        tokio::select! {
            answered = &mut answer => break answered,
            // Dropped: the agent ends.
            Some(request) = requests.recv() => asked.push(name(&format!("{request:?}"))),
        }
    };
    let (status, body) = answered.map_err(|_| format!("no answer to {method} {path}"))??;
    let changes = asked.iter().find(|name| !READING.contains(&name.as_str()));
    if let Some(change) = changes {
        if over_http {
            return Err(format!("{method} {path} begins a change over HTTP without a token: {change}"));
        }
        if method.is_safe() {
            return Err(format!("{method} {path} would change something: {change}"));
        }
        if status.is_client_error() {
            return Err(format!(
                "{method} {path} was refused ({status}), and yet something was begun: {change}"
            ));
        }
    }
    let wordless = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
    let is_error = status.is_client_error() || status.is_server_error();
    if is_error && body.is_empty() && !wordless.contains(&status) && method != Method::HEAD {
        return Err(format!("{method} {path}: {status} without a word"));
    }
    let known = PATHS.iter().find(|known| path == **known).unwrap_or(&"elsewhere");
    Ok(format!("{method} {known}: {} {}", status.as_u16(), asked.join(" ")))
}

/// `Status` of `Status(Sender { … })`.
fn name(debug: &str) -> String {
    debug.chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// `None` for what no HTTP server would let through.
fn request(input: &[u8]) -> Option<Request<Body>> {
    let text = String::from_utf8_lossy(input);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(target);
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        request = request.header(name, value);
    }
    request.body(Body::from(body.to_owned())).ok()
}
