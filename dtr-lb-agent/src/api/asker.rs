//! Who asks for a change: over the socket the kernel says it (`SO_PEERCRED`, unix(7)), over HTTP the gate has.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{ConnectInfo, FromRequestParts, connect_info::Connected},
    http::request::Parts,
    serve::IncomingStream,
};
use nix::unistd::{Uid, User};
use tokio::{net::UnixListener, task::spawn_blocking, time::timeout};

use crate::events::By;

/// How long a user's name may be looked for: it may be in a directory of the network.
const NAME_LIMIT: Duration = Duration::from_millis(500);

/// The process at the other end of the socket, as it was when it connected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// `None` where the kernel does not say.
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

/// Who asks, where that is known.
pub(super) struct Asker(pub(super) Option<By>);

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // Neither of the two is in what a client sends.
        if let Some(by) = parts.extensions.get::<By>() {
            return Ok(Self(Some(by.clone())));
        }
        let uid = parts.extensions.get().and_then(|ConnectInfo(Peer { uid })| *uid);
        Ok(Self(match uid {
            Some(uid) => Some(By::User { uid, user: name(uid).await }),
            None => None,
        }))
    }
}

async fn name(uid: u32) -> Option<String> {
    let looked = spawn_blocking(move || User::from_uid(Uid::from_raw(uid)).ok().flatten());
    timeout(NAME_LIMIT, looked).await.ok()?.ok()?.map(|user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(change: impl FnOnce(&mut Parts)) -> Option<By> {
        let (mut parts, ()) = axum::http::Request::new(()).into_parts();
        change(&mut parts);
        let Ok(Asker(by)) = Asker::from_request_parts(&mut parts, &()).await;
        by
    }

    #[tokio::test]
    async fn who_asks_is_what_the_kernel_or_the_gate_says() {
        assert_eq!(asked(|_| {}).await, None);
        let peer = |uid| {
            move |parts: &mut Parts| {
                parts.extensions.insert(ConnectInfo(Peer { uid }));
            }
        };
        assert_eq!(asked(peer(None)).await, None);
        assert_eq!(asked(peer(Some(0))).await, Some(By::User { uid: 0, user: Some("root".into()) }));
        let nobody = 4_000_000_000;
        assert_eq!(asked(peer(Some(nobody))).await, Some(By::User { uid: nobody, user: None }));
        let http = By::Http { token: "admin token".into(), address: ([192, 0, 2, 1], 4711).into() };
        let given = http.clone();
        assert_eq!(asked(move |parts| drop(parts.extensions.insert(given))).await, Some(http));
    }
}
