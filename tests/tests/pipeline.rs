//! The packet pipeline on the host: the cases that the kernel runs too, and random packets.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dtr_lb_tests::fixtures::{
    Host, accounts,
    cases::{GROUPS, Group},
    play,
};

#[path = "pipeline/any_bytes.rs"]
mod any_bytes;
#[path = "pipeline/direct.rs"]
mod direct;
#[path = "pipeline/fast.rs"]
mod fast;
#[path = "pipeline/filter.rs"]
mod filter;
#[path = "pipeline/full_tables.rs"]
mod full_tables;
#[path = "pipeline/icmp.rs"]
mod icmp;
#[path = "pipeline/limits.rs"]
mod limits;
#[path = "pipeline/made_over.rs"]
mod made_over;
#[path = "pipeline/milestones.rs"]
mod milestones;
#[path = "pipeline/probe.rs"]
mod probe;

/// Plays a group of cases, all of them even if one fails.
fn group(name: &str) {
    let group = GROUPS.iter().find(|group| group.name == name).expect("there is such a group");
    let Group { plans, mode, .. } = group;
    let failed: Vec<_> = group
        .cases()
        .flat_map(|case| plans.iter().map(move |plan| (case, *plan)))
        .filter(|(case, plan)| {
            let played = || {
                let mut host = Host::default();
                let _ = play(case, *plan, *mode, &mut host);
                accounts::balance(&host.model).unwrap_or_else(|error| panic!("{}: {error}", case.name));
            };
            catch_unwind(AssertUnwindSafe(played)).is_err()
        })
        .map(|(case, plan)| format!("{}::{}", case.name, plan.name()))
        .collect();
    assert!(failed.is_empty(), "of {} cases of {name} these failed: {failed:#?}", group.cases().count());
}

macro_rules! groups {
    ($($name:ident)*) => {
        $(#[test] fn $name() { group(stringify!($name)); })*

        #[test]
        fn every_group_is_played_and_every_case_has_its_own_name() {
            let names: Vec<_> = GROUPS.iter().map(|group| group.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            let names = |group: &'static Group| {
                group.cases().map(move |case| format!("{}::{}", group.name, case.name))
            };
            let mut cases: Vec<_> = GROUPS.iter().flat_map(names).collect();
            let count = cases.len();
            cases.sort_unstable();
            cases.dedup();
            assert_eq!(cases.len(), count);
        }
    };
}

groups! { life time numbers refusals silence resets ways entries ports replicas strangers headers headers_v4 extensions tags tags_dsr across mixed dnat dnat_life dnat_time dnat_numbers dnat_refusals dnat_silence dnat_resets dnat_ways dnat_entries dnat_replicas dnat_strangers dnat_headers dnat_answers dnat_access dnat_affinity dnat_sizes dnat_checksums dnat_counters dsr ipip answers access affinity challenge limits macs filters sizes checksums counters icmp_errors dnat_icmp_errors icmp_across icmp_strangers icmp_direct icmp_echo icmp_too_big }
