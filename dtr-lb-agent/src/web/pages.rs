//! The dashboard's files, as they are in the binary.
//!
//! Plots are drawn by uPlot, which `cargo xtask setup` installs from npm, and the build script looks for.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::LazyLock,
};

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

/// A file of `web/`.
macro_rules! file {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/web/", $path))
    };
}

/// Where each is, of what kind, and what is in it.
const PAGES: &[(&str, &str, &str)] = &[
    ("/", HTML, file!("index.html")),
    ("/assets/style.css", CSS, file!("style.css")),
    ("/assets/icon.svg", SVG, file!("icon.svg")),
    ("/assets/theme.js", SCRIPT, file!("js/theme.js")),
    ("/assets/app.js", SCRIPT, file!("js/app.js")),
    ("/assets/admin.js", SCRIPT, file!("js/admin.js")),
    ("/assets/agent.js", SCRIPT, file!("js/agent.js")),
    ("/assets/axes.js", SCRIPT, file!("js/axes.js")),
    ("/assets/datapath.js", SCRIPT, file!("js/datapath.js")),
    ("/assets/dom.js", SCRIPT, file!("js/dom.js")),
    ("/assets/event_list.js", SCRIPT, file!("js/event_list.js")),
    ("/assets/events.js", SCRIPT, file!("js/events.js")),
    ("/assets/format.js", SCRIPT, file!("js/format.js")),
    ("/assets/glance.js", SCRIPT, file!("js/glance.js")),
    ("/assets/latency.js", SCRIPT, file!("js/latency.js")),
    ("/assets/marks.js", SCRIPT, file!("js/marks.js")),
    ("/assets/plots.js", SCRIPT, file!("js/plots.js")),
    ("/assets/problem_list.js", SCRIPT, file!("js/problem_list.js")),
    ("/assets/problems.js", SCRIPT, file!("js/problems.js")),
    ("/assets/rates.js", SCRIPT, file!("js/rates.js")),
    ("/assets/replica.js", SCRIPT, file!("js/replica.js")),
    ("/assets/service.js", SCRIPT, file!("js/service.js")),
    ("/assets/verdicts.js", SCRIPT, file!("js/verdicts.js")),
    ("/assets/uplot.js", SCRIPT, file!("node_modules/uplot/dist/uPlot.iife.min.js")),
    ("/assets/uplot.css", CSS, file!("node_modules/uplot/dist/uPlot.min.css")),
    ("/assets/uplot-license.txt", TEXT, file!("node_modules/uplot/LICENSE")),
];

/// A browser keeps them, and asks each time whether they are still the same.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    PAGES.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
});

pub(super) fn routes() -> Router {
    PAGES.iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(move |headers: HeaderMap| async move { answer(&headers, kind, text) }))
    })
}

fn answer(headers: &HeaderMap, kind: &'static str, text: &'static str) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
    let mut response = if known == Some(TAG.as_str()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, kind)], text).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&TAG) {
        headers.insert(header::ETAG, tag);
    }
    response
}
