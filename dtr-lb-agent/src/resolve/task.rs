//! A task a name, and one that starts and ends them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{Answers, Known, LookUp, News, UNANSWERED};
use crate::changes::Answer;

/// Follows names until it is dropped.
#[derive(Debug)]
pub struct Resolver {
    /// Dropped, it ends all of it.
    _tasks: JoinSet<()>,
}

impl Resolver {
    /// Starts to follow the names in `wanted`, which may change, within a tokio runtime. `before`: what an earlier agent
    /// last heard, which holds until there is an answer. The receiver always has all that are wanted, once this has
    /// noticed that they are; those that are no longer wanted are forgotten.
    pub fn spawn(
        look_up: impl LookUp,
        wanted: watch::Receiver<BTreeSet<String>>,
        before: &BTreeMap<String, Answer>,
    ) -> (Self, watch::Receiver<Answers>) {
        let known = |answer: &Answer| Known::from_before(&answer.addresses, answer.at);
        let before = before.iter().map(|(name, answer)| (name.clone(), known(answer))).collect();
        let (answers, receiver) = watch::channel(Answers::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(follow_all(Arc::new(look_up), wanted, before, answers));
        (Self { _tasks: tasks }, receiver)
    }
}

async fn follow_all(
    look_up: Arc<impl LookUp>,
    mut wanted: watch::Receiver<BTreeSet<String>>,
    mut before: Answers,
    answers: watch::Sender<Answers>,
) {
    let mut tasks = JoinSet::new();
    let mut following: BTreeMap<String, AbortHandle> = BTreeMap::new();
    loop {
        let names = wanted.borrow_and_update().clone();
        following.retain(|name, task| {
            let stays = names.contains(name);
            if !stays {
                task.abort();
            }
            stays
        });
        // One that was ended may have an answer on its way: it is told before the names are, so that none comes back.
        while tasks.len() > following.len() {
            tasks.join_next().await;
        }
        let new: Vec<_> = names.into_iter().filter(|name| !following.contains_key(name)).collect();
        answers.send_modify(|answers| {
            answers.retain(|name, _| following.contains_key(name));
            answers.extend(new.iter().map(|name| (name.clone(), before.remove(name).unwrap_or_default())));
        });
        for name in new {
            let task = tasks.spawn(follow(Arc::clone(&look_up), name.clone(), answers.clone()));
            following.insert(name, task);
        }
        if wanted.changed().await.is_err() {
            // Nobody will ask for others: these are followed for ever.
            while tasks.join_next().await.is_some() {}
            return;
        }
    }
}

/// Until the task is aborted. The answers hold `name`.
async fn follow(look_up: Arc<impl LookUp>, name: String, answers: watch::Sender<Answers>) {
    let mut known = answers.borrow().get(&name).cloned().unwrap_or_default();
    loop {
        let looked = look_up.look_up(&name).await;
        let (news, pause) = known.take(&looked, Timestamp::now());
        news.iter().for_each(|news| tell(&name, news));
        answers.send_modify(|answers| {
            answers.insert(name.clone(), known.clone());
        });
        sleep_until(Instant::now() + pause).await;
    }
}

fn tell(name: &str, news: &News) {
    match news {
        News::Failed { error, kept: true } => {
            warn!(name, error, "DNS gives no answer for the replicas' host name; its last good answer stays");
        }
        News::Failed { error, kept: false } => {
            warn!(name, error, "{UNANSWERED}; it is asked again and again");
        }
        News::Back => info!(name, "DNS answers again for the replicas' host name"),
        News::Changed { added, removed } => {
            info!(name, ?added, ?removed, "the addresses of the replicas' host name are others now");
        }
    }
}
