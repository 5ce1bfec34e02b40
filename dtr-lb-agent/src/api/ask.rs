//! How a route gets its answer from the main loop, and how a refusal looks to a client.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::request::{Answer, Refusal, RefusalKind, Request};

/// The way to the main loop.
pub(super) type Requests = mpsc::Sender<Request>;

/// What a refusal looks like.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.kind {
            RefusalKind::BadRequest => StatusCode::BAD_REQUEST,
            RefusalKind::NotFound => StatusCode::NOT_FOUND,
            RefusalKind::Conflict => StatusCode::CONFLICT,
            RefusalKind::BadConfig => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            RefusalKind::Ending => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(ErrorBody { error: self.message })).into_response()
    }
}

/// Puts a request to the main loop and waits for its answer.
pub(super) async fn ask<T>(
    requests: &Requests,
    request: impl FnOnce(Answer<T>) -> Request,
) -> Result<Json<T>, Refusal> {
    let (answer, answered) = oneshot::channel();
    requests.send(request(answer)).await.map_err(|_| ending())?;
    answered.await.map_err(|_| ending())?.map(Json)
}

/// Who is to answer has ended, or is about to.
pub(super) fn ending() -> Refusal {
    Refusal::new(RefusalKind::Ending, "the agent is ending")
}

pub(super) fn bad_request(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalKind::BadRequest, error)
}
