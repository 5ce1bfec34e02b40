//! The stages that few packets need, as functions of their own.
//!
//! They are global functions: the verifier checks each by itself, for whatever it may be called with, and a call costs it
//! nothing. The context reaches them through the map; it is an argument as well, so that the compiler knows that a call
//! changes them.

use dtr_lb_common::verdict::Verdict;

/// The verdict that a stage returned: a number, as a function in the kernel returns nothing else.
#[inline(always)]
pub(crate) fn verdict(number: u32) -> Verdict {
    Verdict::from_number(number).unwrap_or(Verdict::DroppedRewrite)
}

/// Defines the stages of a hook, whose context the kernel calls `$raw`.
macro_rules! stages {
    (
        $raw:ident as $context:ident as $packet:ident:
        $parse:ident, $untag:ident, $steer:ident, $connection:ident, $silence:ident, $testify:ident, $proof:ident, $admit:ident, $challenge:ident, $open:ident, $insert:ident, $advance:ident, $complete:ident, $icmp:ident, $error:ident, $emit:ident, $answer:ident, $tag:ident, $milestone:ident, $report:ident
    ) => {
        $crate::stages::stages!(@stage $raw, $context, $packet, $parse, Stage::Parse);
        $crate::stages::stages!(@stage $raw, $context, $packet, $untag, Stage::Untag);
        $crate::stages::stages!(@stage $raw, $context, $packet, $steer, Stage::Steer);
        $crate::stages::stages!(@stage $raw, $context, $packet, $connection, Stage::Connection);
        $crate::stages::stages!(@stage $raw, $context, $packet, $proof, Stage::Proof);
        $crate::stages::stages!(@stage $raw, $context, $packet, $admit, Stage::Admit);
        $crate::stages::stages!(@stage $raw, $context, $packet, $challenge, Stage::Challenge);
        $crate::stages::stages!(@stage $raw, $context, $packet, $silence, Stage::Silence);
        $crate::stages::stages!(@stage $raw, $context, $packet, $testify, Stage::Testify);
        $crate::stages::stages!(@stage $raw, $context, $packet, $open, Stage::Open);
        $crate::stages::stages!(@stage $raw, $context, $packet, $insert, Stage::Insert);
        $crate::stages::stages!(@stage $raw, $context, $packet, $advance, Stage::Advance);
        $crate::stages::stages!(@stage $raw, $context, $packet, $complete, Stage::Complete);
        $crate::stages::stages!(@stage $raw, $context, $packet, $icmp, Stage::Icmp);
        $crate::stages::stages!(@stage $raw, $context, $packet, $error, Stage::Error);
        $crate::stages::stages!(@stage $raw, $context, $packet, $emit, Stage::Emit, verdict);
        $crate::stages::stages!(@stage $raw, $context, $packet, $answer, Stage::Answer, verdict);
        $crate::stages::stages!(@stage $raw, $context, $packet, $tag, Stage::Tag, verdict);
        $crate::stages::stages!(@stage $raw, $context, $packet, $milestone, Stage::Milestone, verdict);
        $crate::stages::stages!(@stage $raw, $context, $packet, $report, Stage::Report, verdict);
    };
    (@stage $raw:ident, $context:ident, $packet:ident, $name:ident, $stage:expr $(, $verdict:ident)?) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub(crate) extern "C" fn $name(ctx: *mut $raw, context: *mut PacketContext $(, $verdict: u32)?) -> u32 {
            // Or the compiler, which sees what is not used here, hands over anything, and the verifier refuses that.
            let (ctx, _) = core::hint::black_box((ctx, context));
            let context = $context::new(ctx);
            let stage = $stage $(($crate::stages::verdict($verdict)))?;
            $crate::maps::stage(&mut $packet::new(&context), stage) as u32
        }
    };
}

pub(crate) use stages;
