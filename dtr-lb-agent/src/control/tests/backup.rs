//! Replicas that stand in for others.

use super::*;

const ONE: &str = "service=[{ name = \"http\", port = 80, backup = [\"10.0.0.13\"] }]";
const TWO: &str = "service=[{ name = \"http\", port = 80, backup = [\"10.0.0.12\", \"10.0.0.13\"] }]";

fn goes_down(control: &mut Control, replica: usize) -> Vec<Change> {
    probed(control, replica, ReplicaHealth::Up, ReplicaHealth::Down)
}

fn comes_up(control: &mut Control, replica: usize) -> Vec<Change> {
    probed(control, replica, ReplicaHealth::Down, ReplicaHealth::Up)
}

#[test]
fn a_backup_gets_nothing_while_another_is_up() {
    let mut control = all_up(&[ONE]);
    assert_eq!(shares(&control), [100, 50, 0]);
    assert_eq!(states(&control), ["up"; 3], "it is fit to serve");
    goes_down(&mut control, 0);
    assert_eq!(shares(&control), [0, 50, 0]);
    let changes = goes_down(&mut control, 1);
    assert_eq!(shares(&control), [0, 0, 100]);
    assert_eq!(service_change(&changes), None, "the service is up");
    comes_up(&mut control, 1);
    assert_eq!(shares(&control), [0, 50, 0], "new ones go to it again");
    assert!(!desired(&control, at(0.0)).replicas[2].reset, "and old ones stay with the backup");
}

#[test]
fn backups_share_among_themselves() {
    let mut control = all_up(&[TWO]);
    assert_eq!(shares(&control), [100, 0, 0]);
    goes_down(&mut control, 0);
    assert_eq!(shares(&control), [0, 50, 100]);
    goes_down(&mut control, 1);
    assert_eq!(shares(&control), [0, 0, 100]);
}

#[test]
fn one_that_drains_is_none_that_is_up() {
    let control = all_up(&[ONE, "replica.0.weight=0", "replica.1.weight=0"]);
    assert_eq!(shares(&control), [0, 0, 100]);
    let control = all_up(&[ONE, "replica.2.weight=0"]);
    assert_eq!(shares(&control), [100, 50, 0]);
}

#[test]
fn with_all_down_it_is_one_of_all() {
    for (all_down, expected) in [("fail-open", [100, 50, 100]), ("refuse", [0; 3])] {
        let mut control = all_up(&[ONE, &format!("datapath.all_down={all_down}")]);
        (0..3).for_each(|replica| drop(goes_down(&mut control, replica)));
        assert_eq!(shares(&control), expected, "{all_down}");
    }
}

#[test]
fn the_passive_check_may_take_out_the_last_that_is_none() {
    let mut control = all_up(&[TWO]);
    let reading = |refused| {
        let place = ReplicaPlace { service: 0, replica: 0 };
        [Reading { place, new_flows: 0, refused, unanswered: 0, witnesses: Vec::new() }]
    };
    control.passive(&reading(0), at(0.0));
    control.passive(&reading(2), at(1.0));
    assert_eq!(shares_at(&control, at(1.0)), [0, 50, 100]);
    control.tick(at(31.0));
    assert_eq!(shares_at(&control, at(31.0)), [100, 0, 0]);
}

#[test]
fn another_config_says_who_is_one() {
    let mut control = all_up(&[ONE]);
    let other = self::control(&[TWO]).config().clone();
    control.reconfigure(other, at(0.0));
    assert_eq!(shares(&control), [100, 0, 0]);
}

#[test]
fn backups_are_none_of_those_of_which_the_passive_check_takes_half() {
    let mut control = all_up(&[ONE]);
    let fails = |control: &mut Control, seconds: f64, counted: u64| {
        let reading = |replica: usize| Reading {
            place: ReplicaPlace { service: 0, replica },
            new_flows: 0,
            refused: if replica < 2 { counted } else { 0 },
            unanswered: 0,
            witnesses: Vec::new(),
        };
        control.passive(&[0, 1, 2].map(reading), at(seconds))
    };
    fails(&mut control, 0.0, 0);
    fails(&mut control, 1.0, 2);
    assert_eq!(
        shares_at(&control, at(1.0)).iter().filter(|share| **share > 0).count(),
        1,
        "one of two is left"
    );
    assert_eq!(shares_at(&control, at(1.0))[2], 0, "and the backup waits");
}
