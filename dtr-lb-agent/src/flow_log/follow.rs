//! Those who follow the log: each sees every connection that ends or fails and that it asks for, whatever the log's sample and
//! limit are.

use std::{collections::BTreeSet, sync::Arc};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};

use super::{
    FlowRecord,
    line::{FlowLogLine, LoggedFlow, Note, append},
    wanted::Follower,
};
use crate::{
    config::prefix_or_none,
    directory::Directory,
    flows::{FlowsError, listed},
};

/// Which connections are followed: those for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowQuery {
    /// The client's address is in it.
    #[serde(default, deserialize_with = "prefix_or_none")]
    pub client: Option<IpNet>,
    /// The replica's name or address.
    pub replica: Option<String>,
    pub service: Option<String>,
}

/// All that ends or fails from now on.
#[derive(Debug)]
pub struct Subscription {
    records: broadcast::Receiver<Arc<FlowRecord>>,
    ended: watch::Receiver<bool>,
    _follower: Follower,
}

/// What comes to who follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    Flow(Arc<FlowRecord>),
    /// So many were missed: who follows was too slow.
    Lost(u64),
}

impl Subscription {
    pub(super) const fn new(
        records: broadcast::Receiver<Arc<FlowRecord>>,
        ended: watch::Receiver<bool>,
        follower: Follower,
    ) -> Self {
        Self { records, ended, _follower: follower }
    }

    /// Waits for the next one; none when the agent ends. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Followed> {
        let Self { records, ended, _follower } = self;
        let next = tokio::select! {
            // What came before the end is still told.
            biased;
            next = records.recv() => next,
            _ = ended.wait_for(|ended| *ended) => return None,
        };
        match next {
            Ok(record) => Some(Followed::Flow(record)),
            Err(RecvError::Lagged(lost)) => Some(Followed::Lost(lost)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// A query, with its names looked up.
#[derive(Clone, Debug, Default)]
pub struct FollowFilter {
    client: Option<IpNet>,
    /// All names that the replica goes by.
    replicas: Option<BTreeSet<String>>,
    service: Option<String>,
}

impl FollowFilter {
    /// # Errors
    /// There is no such service or replica.
    pub fn new(query: &FollowQuery, directory: &Directory) -> Result<Self, FlowsError> {
        let FollowQuery { client, replica, service } = query;
        if let Some(name) = service.as_deref().filter(|name| !directory.services().contains(name)) {
            let known = listed(directory.services());
            return Err(FlowsError::Unknown { what: "service", name: name.to_owned(), known });
        }
        let named = |name: &String| {
            let names = directory.names(name);
            if names.is_empty() {
                let known = listed(directory.replicas());
                return Err(FlowsError::Unknown { what: "replica", name: name.clone(), known });
            }
            Ok(names)
        };
        let replicas = replica.as_ref().map(named).transpose()?;
        Ok(Self { client: *client, replicas, service: service.clone() })
    }

    fn takes(&self, record: &FlowRecord) -> bool {
        let Self { client, replicas, service } = self;
        client.is_none_or(|prefix| prefix.contains(&record.client.ip()))
            && service.as_deref().is_none_or(|service| *service == *record.service)
            && replicas
                .as_ref()
                .is_none_or(|names| record.replica.as_deref().is_some_and(|replica| names.contains(replica)))
    }

    /// The line for what has come, with its end; none if it was not asked for.
    #[must_use]
    pub fn line(&self, followed: &Followed, now: Timestamp) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        match followed {
            Followed::Flow(record) if self.takes(record) => append(&mut text, &LoggedFlow::from(&**record)),
            Followed::Flow(_) => return None,
            Followed::Lost(count) => append(&mut text, &Note::lost(now, *count)),
        }
        Some(text)
    }
}

impl FlowLogLine<'_> {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Flow(flow) => flow.text(),
            Self::Note(Note { count, .. }) => {
                format!("({count} connections are not shown: they came faster than they were read)")
            }
        }
    }
}
