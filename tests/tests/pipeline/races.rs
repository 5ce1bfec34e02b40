//! Two CPUs at work on one connection: what one of them changes between two looks of the other.

use bytemuck::Pod;
use dtr_lb_common::{
    address::Family,
    model::{Frame, Model},
    pipeline::{Packet, Scratch, Stage, Tables, run},
    verdict::Verdict,
};
use dtr_lb_tests::fixture::{
    Host, Plan, Play,
    frames::Kind,
    world::{ALICE, HTTPS, INGRESS, one_replica},
};

/// A frame, and another one that a second CPU deals with between the first look at this one and all that follows.
struct Overtaken<'a> {
    frame: Frame,
    other: Option<Frame>,
    model: &'a Model,
}

impl Packet for Overtaken<'_> {
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        self.frame.read(offset)
    }

    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        self.frame.write(offset, value)
    }

    fn resize(&mut self, length: u32, family: Family) -> Option<()> {
        self.frame.resize(length, family)
    }

    fn change_family(&mut self, family: Family) -> Option<()> {
        self.frame.change_family(family)
    }

    fn encapsulate(&mut self, outer: Family, inner: Family) -> Option<()> {
        self.frame.encapsulate(outer, inner)
    }

    fn trim(&mut self, length: u32) -> Option<()> {
        self.frame.trim(length)
    }

    fn make_room(&mut self, bytes: i32) -> Option<()> {
        self.frame.make_room(bytes)
    }

    fn tagged(&self) -> bool {
        self.frame.tagged()
    }

    fn interface(&self) -> u32 {
        self.frame.interface()
    }

    fn linear(&self) -> u32 {
        self.frame.linear()
    }

    fn length(&self) -> u32 {
        self.frame.length()
    }

    fn stage(&mut self, stage: Stage, tables: &impl Tables, scratch: &mut Scratch) -> Verdict {
        if let Some(mut other) = self.other.take() {
            assert_eq!(run(&mut other, self.model, &mut Scratch::new()).verdict, Verdict::Forwarded);
        }
        stage.run(self, tables, scratch)
    }
}

/// The client's ACK moves the connection to the other table after its first data was not found there.
#[test]
fn data_that_overtakes_the_move_of_its_connection_is_no_strangers() {
    for plan in Plan::ALL.iter().copied() {
        let world = one_replica(plan);
        let mut host = Host::default();
        let open = {
            use dtr_lb_tests::fixture::Engine as _;
            host.apply(&world.desired);
            let mut play = Play::new("race", plan, &mut host, Some(world));
            let open = play.opens("SYN", ALICE, HTTPS);
            play.forwards("SYN-ACK", &open.replica(Kind::SynAck));
            open
        };
        let frame = |kind| Frame { bytes: open.client(kind).sent.bytes(), interface: INGRESS };
        let mut data =
            Overtaken { frame: frame(Kind::Data), other: Some(frame(Kind::Ack)), model: &host.model };
        let outcome = run(&mut data, &host.model, &mut Scratch::new());
        assert_eq!(outcome.verdict, Verdict::Forwarded, "{plan:?}");
        assert_eq!(data.frame.bytes, open.client(Kind::Data).wanted.bytes(), "{plan:?}");
    }
}
