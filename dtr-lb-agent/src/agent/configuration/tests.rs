use tokio::time::{Duration, timeout};

use super::*;

fn reload() -> (Requested, oneshot::Receiver<Result<Reloaded, Refusal>>) {
    let (answer, answered) = oneshot::channel();
    (Requested::Reload(None, Some(answer)), answered)
}

async fn next(changes: &mut Changes) -> Option<Step> {
    timeout(Duration::from_millis(50), changes.next()).await.ok()
}

#[tokio::test]
async fn those_who_ask_for_too_much_are_refused_and_those_who_have_gone_are_left_out() {
    let mut changes = Changes::default();
    assert!(next(&mut changes).await.is_none(), "nobody has asked");
    let (first, gone) = reload();
    changes.request(first);
    drop(gone);
    let mut waiting = Vec::new();
    for _ in 1..MOST_WAITING {
        let (another, answered) = reload();
        changes.request(another);
        waiting.push(answered);
    }
    let (one_more, mut refused) = reload();
    changes.request(one_more);
    let refusal = refused.try_recv().expect("it is answered at once").expect_err("there is no room");
    assert!(refusal.message.contains("try again"), "{refusal:?}");
    // A signal is not lost for it.
    changes.request(Requested::Reload(None, None));
    for mut answered in waiting {
        let step = next(&mut changes).await;
        let Some(Step::Begin(Requested::Reload(None, Some(answer)))) = step else { panic!("it is its turn") };
        answer.send(Err(Refusal::failed("here"))).expect("it waits");
        assert!(answered.try_recv().is_ok());
    }
    assert!(matches!(next(&mut changes).await, Some(Step::Begin(Requested::Reload(None, None)))));
    assert!(next(&mut changes).await.is_none(), "whoever has gone is not waited for");
}

#[tokio::test]
async fn what_is_asked_for_without_an_answer_is_done_once() {
    let mut changes = Changes::default();
    for _ in 0..3 {
        changes.request(Requested::Names);
        changes.request(Requested::Reload(None, None));
    }
    assert!(matches!(next(&mut changes).await, Some(Step::Begin(Requested::Names))));
    assert!(matches!(next(&mut changes).await, Some(Step::Begin(Requested::Reload(None, None)))));
    assert!(next(&mut changes).await.is_none());
}
