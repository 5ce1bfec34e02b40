//! What is known after each look, by a table.

use jiff::Timestamp;

use super::*;

type Family = Result<Records, LookError>;

/// A look, the seconds until the next, the addresses after it, what is said.
type Look<'a> = (Family, Family, u64, &'a [&'a str], &'a [&'a str]);

/// One look after the other at one name.
fn play(looks: &[Look<'_>]) {
    let mut known = Known::default();
    for (place, (v4, v6, pause, expected, words)) in looks.iter().enumerate() {
        let looked = Looked { v4: v4.clone(), v6: v6.clone() };
        let (news, next) = known.take(&looked, Timestamp::UNIX_EPOCH);
        assert_eq!(next, Duration::from_secs(*pause), "look {place}");
        assert_eq!(known.addresses(), addresses(expected), "look {place}");
        let said: Vec<_> = news.iter().map(|news| format!("{news:?}")).collect();
        assert_eq!(said.len(), words.len(), "look {place}: {said:?}");
        for (said, word) in said.iter().zip(*words) {
            assert!(said.contains(word), "look {place}: {word:?} in {said}");
        }
    }
}

#[test]
fn an_answer_holds_for_its_time_within_bounds() {
    let a = &["10.0.0.1"][..];
    play(&[
        (found(a, 60), none(), 60, a, &["added: [10.0.0.1]"]),
        (found(a, 0), none(), 1, a, &[]),
        (found(a, 1_000_000), none(), 3600, a, &[]),
        (found(a, 60), found(&["2001:db8::1"], 5), 5, &["10.0.0.1", "2001:db8::1"], &["2001:db8::1"]),
        (none(), found(&["2001:db8::1"], 7), 7, &["2001:db8::1"], &["removed: [10.0.0.1]"]),
    ]);
}

#[test]
fn without_an_answer_the_last_one_stays_and_it_is_said_once() {
    let a = &["10.0.0.1"][..];
    let kept = "kept: true";
    play(&[
        (found(a, 60), none(), 60, a, &["added"]),
        (failed(), failed(), 1, a, &[kept]),
        (failed(), failed(), 2, a, &[]),
        // No such name and no addresses are no answer either.
        (none(), none(), 4, a, &[]),
        (none(), failed(), 8, a, &[]),
        (failed(), failed(), 16, a, &[]),
        (failed(), failed(), 30, a, &[]),
        (failed(), failed(), 30, a, &[]),
        (found(&["10.0.0.2"], 60), none(), 60, &["10.0.0.2"], &["Back", "removed: [10.0.0.1]"]),
        (failed(), failed(), 1, &["10.0.0.2"], &[kept]),
    ]);
    play(&[
        (none(), none(), 1, &[], &["kept: false"]),
        (failed(), none(), 2, &[], &[]),
        (found(a, 9), none(), 9, a, &["Back", "added"]),
    ]);
}

#[test]
fn a_family_that_fails_costs_the_other_nothing() {
    let both = &["10.0.0.1", "2001:db8::1"][..];
    play(&[
        (found(&["10.0.0.1"], 60), found(&["2001:db8::1"], 60), 60, both, &["added"]),
        (
            found(&["10.0.0.2"], 60),
            failed(),
            1,
            &["10.0.0.2", "2001:db8::1"],
            &["IPv6: no server answers", "10.0.0.2"],
        ),
        (found(&["10.0.0.2"], 60), failed(), 2, &["10.0.0.2", "2001:db8::1"], &[]),
        (found(&["10.0.0.2"], 1), failed(), 1, &["10.0.0.2", "2001:db8::1"], &[]),
        (failed(), found(&["2001:db8::3"], 60), 8, &["10.0.0.2", "2001:db8::3"], &["2001:db8::3"]),
        (found(&["10.0.0.2"], 60), none(), 60, &["10.0.0.2"], &["Back", "removed: [2001:db8::3]"]),
    ]);
}

#[test]
fn what_an_earlier_agent_knew_holds_until_there_is_an_answer() {
    let before = addresses(&["10.0.0.1", "2001:db8::1"]);
    let mut known = Known::from_before(&before, Timestamp::UNIX_EPOCH);
    assert_eq!((known.addresses(), known.looked()), (before.clone(), false));
    let (news, _) = known.take(&Looked { v4: failed(), v6: failed() }, Timestamp::now());
    assert!(matches!(&news[..], [News::Failed { kept: true, .. }]), "{news:?}");
    assert_eq!((known.addresses(), known.answered()), (before, Some(Timestamp::UNIX_EPOCH)));
    known.take(&Looked { v4: found(&["10.0.0.1"], 1), v6: none() }, Timestamp::now());
    assert_eq!(known.addresses(), addresses(&["10.0.0.1"]));
}
