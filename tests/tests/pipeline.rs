//! The packet pipeline on the host: the cases that the kernel runs too, and random packets.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dtr_lb_tests::fixture::{Case, Host, cases::GROUPS, play};

#[path = "pipeline/any_bytes.rs"]
mod any_bytes;
#[path = "pipeline/full_tables.rs"]
mod full_tables;
#[path = "pipeline/handshakes.rs"]
mod handshakes;
#[path = "pipeline/limits.rs"]
mod limits;
#[path = "pipeline/made_over.rs"]
mod made_over;
#[path = "pipeline/nat.rs"]
mod nat;
#[path = "pipeline/probe.rs"]
mod probe;

/// Plays a group of cases, all of them even if one fails.
fn group(name: &str) {
    let (_, cases) = GROUPS.iter().find(|(group, _)| *group == name).expect("there is such a group");
    let failed: Vec<_> = cases
        .iter()
        .filter(|case| catch_unwind(AssertUnwindSafe(|| play(case, &mut Host::default()))).is_err())
        .map(|case| case.name)
        .collect();
    assert!(failed.is_empty(), "of {} cases of {name} these failed: {failed:#?}", cases.len());
}

macro_rules! groups {
    ($($name:ident)*) => {
        $(#[test] fn $name() { group(stringify!($name)); })*

        #[test]
        fn every_group_is_played_and_every_case_has_its_own_name() {
            let names: Vec<_> = GROUPS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            let names = |(group, cases): &(&str, &'static [Case])| {
                let group = (*group).to_owned();
                cases.iter().map(move |case| format!("{group}::{}", case.name))
            };
            let mut cases: Vec<_> = GROUPS.iter().flat_map(names).collect();
            let count = cases.len();
            cases.sort_unstable();
            cases.dedup();
            assert_eq!(cases.len(), count);
        }
    };
}

groups! { life time refusals silence resets ways entries ports replicas strangers headers checksums counters }
