//! Sessions of the dashboard: the token is given once, in a form, and the browser then has a cookie that no script can read and
//! that it sends with this agent's own pages only.

use std::{sync::Arc, time::Instant};

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rand::{TryRngCore as _, rngs::OsRng};
use serde::Deserialize;
use serde_json::json;

use super::{
    admission::Caller,
    gate::{Gate, SESSION_PATH},
    refusal::Refusal,
    sessions::{LIFETIME, SessionName},
};

/// No `Debug`: it would show the token.
#[derive(Deserialize)]
struct Login {
    token: String,
}

pub(super) fn routes(gate: Arc<Gate>) -> Router {
    Router::new().route(SESSION_PATH, get(look).post(open).delete(close)).with_state(gate)
}

/// Whether there is a token to log in by, and whether this browser has.
async fn look(State(gate): State<Arc<Gate>>, headers: HeaderMap) -> Response {
    let (token, admin) = (gate.access.can_change(), gate.has_session(&headers, Instant::now()));
    Json(json!({ "token_configured": token, "admin": admin })).into_response()
}

async fn open(
    State(gate): State<Arc<Gate>>,
    caller: Option<Extension<Caller>>,
    body: Bytes,
) -> Result<Response, Refusal> {
    // What is wrong with it is not told in detail, which could have the token in it.
    let Login { token } = serde_json::from_slice(&body).map_err(|_| Refusal::NotALogin)?;
    gate.try_token(token.trim().as_bytes(), caller.as_deref()).await?;
    let mut random = [0; 32];
    if let Err(error) = OsRng.try_fill_bytes(&mut random) {
        let error = format!("the kernel gave no random numbers for a session: {error}");
        return Ok((StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": error }))).into_response());
    }
    let name = SessionName::new(random);
    let cookie = cookie(&gate.cookie, name.as_str(), LIFETIME.as_secs());
    gate.access.open_session(name, Instant::now());
    Ok(([(header::SET_COOKIE, cookie)], Json(json!({ "admin": true }))).into_response())
}

async fn close(State(gate): State<Arc<Gate>>, headers: HeaderMap) -> Response {
    if let Some(name) = gate.session_in(&headers) {
        gate.access.close_session(name);
    }
    ([(header::SET_COOKIE, cookie(&gate.cookie, "", 0))], Json(json!({ "admin": false }))).into_response()
}

/// Not `Secure`: this is plain HTTP, on loopback as a rule.
fn cookie(name: &str, value: &str, seconds: u64) -> String {
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict")
}
