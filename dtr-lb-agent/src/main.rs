use dtr_lb_agent::datapath::*;
fn main() {
    match Datapath::open(&Options { max_flows: 65536, pins: None }) {
        Ok(mut d) => { for h in [Hook::NativeXdp, Hook::Tc] { println!("{h:?} {}", d.verified_instructions(h).unwrap()); } println!("{:?} {:?}", d.now(), d.verdicts().unwrap().len()); }
        Err(e) => println!("{e}"),
    }
}
