//! Two processors at once over one small flow table, for some seconds. `cargo xtask bench together` goes on for long.

use dtr_lb_agent::datapath::Hook;
use dtr_lb_tests::privilege;
use dtr_lb_together::{Order, processors, run, world::SIZES};
use libtest_mimic::{Failed, Trial};

const PACKETS: u64 = 1_000_000;

pub(crate) fn trial(hook: Hook) -> Trial {
    let name = format!("two_processors::each_packet_leaves_as_its_own_connection_s::{}", hook.name());
    let trial = Trial::test(name, move || leaves_as_its_own(hook));
    match processors() {
        Ok(_) => trial,
        Err(error) => privilege::left_out(trial, &error.to_string()),
    }
}

fn leaves_as_its_own(hook: Hook) -> Result<(), Failed> {
    // Both with IPv6, and the smaller one with two connections where three have room.
    let order =
        Order { packets: PACKETS, sizes: vec![SIZES[1], SIZES[3]], hook, seed: std::process::id().into() };
    let reports = run(&order, |words| println!("{words}")).map_err(|error| format!("{error:#}"))?;
    for report in reports {
        let [established, exact] = [report.established(), report.exact()];
        println!("{established} connections, {exact} packets by the one mapping that may be");
        // A hundredth of what a run has: the packets are chosen at random.
        if established < 20 || exact < 2000 {
            return Err(format!("this shows nothing: {}", report.words()).into());
        }
    }
    Ok(())
}
