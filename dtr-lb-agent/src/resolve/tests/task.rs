//! The follower: when it looks, what it publishes, and that one name does not hold up another. The clock is paused.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::changes::Answer;

/// Addresses, and for how many seconds they are good.
type Saying = (Vec<&'static str>, u64);

/// Answers `a` by what `says` holds, never for `hangs`; and remembers when it was asked.
#[derive(Clone, Default)]
struct Made {
    says: Arc<Mutex<Option<Saying>>>,
    asked: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Made {
    fn say(&self, texts: &[&'static str], ttl: u64) {
        *self.says.lock().unwrap() = Some((texts.to_vec(), ttl));
    }

    fn say_nothing(&self) {
        *self.says.lock().unwrap() = None;
    }

    /// Seconds between one look and the next.
    fn pauses(&self, name: &str) -> Vec<u64> {
        let asked = self.asked.lock().unwrap();
        let times: Vec<_> = asked.iter().filter(|(asked, _)| asked == name).map(|(_, at)| *at).collect();
        times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect()
    }
}

impl LookUp for Made {
    async fn look_up(&self, name: &str) -> Looked {
        self.asked.lock().unwrap().push((name.to_owned(), Instant::now()));
        if name == "hangs" {
            pending::<()>().await;
        }
        let says = self.says.lock().unwrap().clone();
        match says {
            Some((texts, ttl)) => Looked { v4: found(&texts, ttl), v6: none() },
            None => Looked { v4: failed(), v6: failed() },
        }
    }
}

fn wanted(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

fn of(answers: &watch::Receiver<Answers>) -> Names {
    names(&answers.borrow())
}

#[tokio::test(start_paused = true)]
async fn it_looks_again_when_the_answer_is_old_and_backs_off_after_failures() {
    let dns = Made::default();
    dns.say(&["10.0.0.1"], 60);
    let (_wanted, receiver) = watch::channel(wanted(&["a", "hangs"]));
    let (resolver, mut answers) = Resolver::spawn(dns.clone(), receiver, &BTreeMap::new());
    let looked = |answers: &Answers| answers.get("a").is_some_and(Known::looked);
    timeout(Duration::from_secs(1), answers.wait_for(looked))
        .await
        .expect("in time, whatever hangs")
        .unwrap();
    assert_eq!(of(&answers), Names::from([("a".into(), addresses(&["10.0.0.1"]))]));
    assert!(answers.borrow().contains_key("hangs"));

    sleep(Duration::from_secs(59)).await;
    dns.say_nothing();
    sleep(Duration::from_secs(100)).await;
    assert_eq!(of(&answers), Names::from([("a".into(), addresses(&["10.0.0.1"]))]), "it stays");
    assert!(answers.borrow()["a"].error().is_some());
    assert_eq!(dns.pauses("a"), [60, 1, 2, 4, 8, 16, 30, 30]);

    dns.say(&["10.0.0.2"], 5);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(of(&answers), Names::from([("a".into(), addresses(&["10.0.0.2"]))]));
    assert_eq!(answers.borrow()["a"].error(), None);

    drop(resolver);
    let before = dns.pauses("a").len();
    sleep(Duration::from_secs(100)).await;
    assert_eq!(dns.pauses("a").len(), before, "dropped, it asks no more");
}

#[tokio::test(start_paused = true)]
async fn names_come_and_go() {
    let dns = Made::default();
    dns.say(&["10.0.0.1"], 10);
    let before = Answer { addresses: addresses(&["10.0.0.9"]), at: Timestamp::UNIX_EPOCH };
    let before = BTreeMap::from([("hangs".to_owned(), before)]);
    let (names, receiver) = watch::channel(wanted(&[]));
    let (_resolver, answers) = Resolver::spawn(dns.clone(), receiver, &before);
    let second = Duration::from_secs(1);
    sleep(second).await;
    assert_eq!(of(&answers), Names::new());

    names.send_replace(wanted(&["a", "hangs"]));
    sleep(second).await;
    let expected =
        [("a".to_owned(), addresses(&["10.0.0.1"])), ("hangs".to_owned(), addresses(&["10.0.0.9"]))];
    assert_eq!(of(&answers), Names::from(expected));

    names.send_replace(wanted(&["a"]));
    sleep(second).await;
    assert_eq!(of(&answers).keys().collect::<Vec<_>>(), ["a"]);
    let looks = dns.pauses("a");
    names.send_replace(wanted(&["a"]));
    sleep(second).await;
    assert_eq!(dns.pauses("a"), looks, "what is followed already goes on undisturbed");

    names.send_replace(wanted(&[]));
    sleep(Duration::from_secs(60)).await;
    assert_eq!((of(&answers), dns.pauses("a")), (Names::new(), looks));
    // Nobody who could want others: those that are wanted are followed on.
    names.send_replace(wanted(&["b"]));
    drop(names);
    sleep(Duration::from_secs(25)).await;
    assert_eq!(dns.pauses("b"), [10, 10]);
}
