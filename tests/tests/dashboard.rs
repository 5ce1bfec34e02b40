//! The dashboard in a real browser: Chromium without a window, in the balancer's namespace, at an agent with real replicas
//! and real traffic.
//!
//! Without Chromium its tests are skipped, counted, and the reason told: `cargo xtask setup` installs it.

use dtr_lb_tests::privilege;
use libtest_mimic::{Arguments, Trial};

#[path = "dashboard/browser.rs"]
mod browser;
#[path = "dashboard/changes.rs"]
mod changes;
#[path = "dashboard/looks.rs"]
mod looks;
#[path = "dashboard/night.rs"]
mod night;
#[path = "dashboard/origin.rs"]
mod origin;
#[path = "dashboard/screenshots.rs"]
mod screenshots;
#[path = "dashboard/shows.rs"]
mod shows;
#[path = "dashboard/stage.rs"]
mod stage;

type Test = fn() -> anyhow::Result<()>;

fn main() {
    let tests: [(&str, Test); 9] = [
        ("numbers_and_a_dead_replica_are_shown", shows::numbers_and_a_dead_replica),
        ("problems_are_told_with_what_clients_notice", night::problems_with_their_consequence),
        ("a_bad_night_fits_phones_and_desks_in_both_themes", night::fits_phones_and_desks),
        ("events_are_marked_and_listed_and_gaps_are_gaps", night::events_and_gaps),
        ("empty_plots_say_so", night::empty_plots),
        ("without_a_token_nothing_can_be_changed", changes::without_a_token),
        ("an_operator_logs_in_and_drains", changes::logs_in_and_drains),
        ("pages_of_others_change_nothing", origin::pages_of_others_change_nothing),
        ("it_is_usable_on_a_phone_by_keyboard_and_in_the_dark", looks::phone_keyboard_and_dark),
    ];
    let trial = |(name, test): (&'static str, Test)| {
        let trial = Trial::test(name, move || {
            privilege::begins(name);
            test().map_err(|error| format!("{error:?}").into())
        });
        privilege::needing(&browser::PROGRAMS, trial)
    };
    let mut trials: Vec<_> = tests.into_iter().map(trial).collect();
    if let Some(directory) = screenshots::wanted() {
        trials.push(Trial::test("screenshots", move || {
            screenshots::make(&directory).map_err(|error| format!("{error:?}").into())
        }));
    }
    let mut arguments = Arguments::from_args();
    // Each has a lab and a browser.
    arguments.test_threads.get_or_insert(1);
    privilege::run(&arguments, privilege::missing(), trials);
}
