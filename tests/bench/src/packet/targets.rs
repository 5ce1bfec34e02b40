//! What the figures should be, and whether they are.

use dtr_lb_common::abi::Mode;

use super::{
    case::{Case, Load, Sent},
    figures::{Figures, Spread},
};

const OURS: &str = "dtr-lb";
const FLOOR: &str = "prototype";

/// Prints each aim beside what was measured.
pub(crate) fn judge(figures: &Figures) {
    println!("aims (ratios are of one round; median, 10th to 90th percentile)");
    for sent in [Sent::ToReplica, Sent::ToClient] {
        for (flows, limit) in [(1, 1.8), (900_000, 1.3)] {
            let case = nat(sent, flows, false, false);
            let name = format!("{case}: of the prototype's");
            line(&name, figures.ratio((OURS, case), (FLOOR, case)), limit);
        }
    }
    let cases: Vec<_> = figures.cases(OURS).collect();
    for &case in cases.iter().filter(|case| is_established_nat(case)) {
        if case.load.v6 {
            let other = Case { load: Load { v6: false, ..case.load }, ..case };
            line(&format!("{case}: of IPv4's"), figures.ratio((OURS, case), (OURS, other)), 1.7);
        }
        if case.tc {
            let other = Case { tc: false, ..case };
            line(&format!("{case}: of XDP's"), figures.ratio((OURS, case), (OURS, other)), 2.5);
        }
    }
    for &case in cases.iter().filter(|case| !case.sent.ours()) {
        line(&format!("{case}: ns"), Spread::of(figures.of(OURS, case).to_vec()), 8.0);
    }
    for &syn in cases.iter().filter(|case| case.sent == Sent::Syn && case.load.mode == Mode::NAT) {
        let steps =
            [Sent::Syn, Sent::SynAck, Sent::FirstAck].map(|sent| figures.of(OURS, Case { sent, ..syn }));
        let rounds = steps.iter().map(|values| values.len()).min().unwrap_or_default();
        let sums = (0..rounds).map(|round| steps.iter().map(|values| values[round]).sum());
        line(&format!("{syn} and syn_ack and ack: ns"), Spread::of(sums.collect()), 1600.0);
    }
}

fn is_established_nat(case: &Case) -> bool {
    case.load.mode == Mode::NAT && matches!(case.sent, Sent::ToReplica | Sent::ToClient)
}

fn nat(sent: Sent, flows: u32, v6: bool, tc: bool) -> Case {
    Case { load: Load { flows, mode: Mode::NAT, v6 }, sent, tc }
}

/// Nothing, if it was not measured.
fn line(name: &str, spread: Option<Spread>, limit: f64) {
    if let Some(Spread { low, median, high }) = spread {
        let met = if median <= limit { "met" } else { "MISSED" };
        println!("{met:6} {name:66} {median:7.2} ({low:.2} to {high:.2}), at most {limit}");
    }
}
