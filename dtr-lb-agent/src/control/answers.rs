//! Whether the answers of replicas in mode `dnat` come by here. Pure: counters and probes in, a word about the replica out.
//!
//! Probes go out from a VIP and come back by the replica's route to that. Its route to clients may be another one: that of a segment
//! which it shares with them, or one that an administrator added. Then its handshakes stay unanswered here, while its probes
//! pass. It is a hint and decides nothing: a stranger who sends SYNs that the replica drops, to a replica that nobody else uses,
//! looks the same.

use super::ReplicaPlace;

/// What the datapath has counted for a replica of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    pub place: ReplicaPlace,
    /// SYNs that had to be repeated, as there was no answer.
    pub unanswered: u64,
    /// Packets of the replica's that went on to clients.
    pub to_client: u64,
}

/// Connections without an answer, one after the other, that are no accident.
const TOO_MANY: u64 = 3;

/// What is known of the answers of one replica.
#[derive(Clone, Debug, Default)]
pub(super) struct AnswerWatch {
    /// What was counted last; `None` before the first reading.
    counted: Option<Counted>,
    /// Unanswered connections when an answer, or a probe that failed, was last seen.
    since: u64,
    /// And when the last two probes passed, the older one first: what was unanswered then was so while the replica served.
    at_probes: [u64; 2],
    past: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    unanswered: u64,
    to_client: u64,
}

impl AnswerWatch {
    /// Takes in the counters. Returns what is news: whether its answers go past this balancer.
    pub(super) fn read(&mut self, answers: &Answers) -> Option<bool> {
        let now = Counted { unanswered: answers.unanswered, to_client: answers.to_client };
        let before = self.counted.replace(now);
        // Counters that fall are another replica's.
        let answered = before
            .is_none_or(|before| before.to_client != now.to_client || now.unanswered < before.unanswered);
        if answered {
            self.begin_anew();
            let was = std::mem::take(&mut self.past);
            return was.then_some(false);
        }
        let silent = self.at_probes[0].saturating_sub(self.since) >= TOO_MANY;
        let news = silent && !self.past;
        self.past |= silent;
        news.then_some(true)
    }

    pub(super) fn probe_passed(&mut self) {
        self.at_probes = [self.at_probes[1], self.unanswered()];
    }

    /// What is unanswered from here on is so because the replica does not serve.
    pub(super) fn probe_failed(&mut self) {
        self.begin_anew();
    }

    /// Whether its answers go past this balancer.
    pub(super) const fn past(&self) -> bool {
        self.past
    }

    fn begin_anew(&mut self) {
        self.since = self.unanswered();
        self.at_probes = [self.since; 2];
    }

    fn unanswered(&self) -> u64 {
        self.counted.map_or(0, |counted| counted.unanswered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens, in the order of time.
    enum Event {
        /// So many unanswered connections and packets to clients are counted by now; and what is news then.
        Read(u64, u64, Option<bool>),
        Passed,
        Failed,
    }
    use Event::{Failed, Passed, Read};

    #[test]
    fn silence_while_probes_pass_is_told_once_and_taken_back() {
        let cases: [(&str, &[Event]); 8] = [
            ("the first reading says nothing", &[Read(9, 0, None), Passed, Passed, Read(9, 0, None)]),
            (
                "three while two probes passed",
                &[
                    Read(0, 0, None),
                    Read(3, 0, None),
                    Passed,
                    Read(3, 0, None),
                    Passed,
                    Read(3, 0, Some(true)),
                    Read(9, 0, None),
                ],
            ),
            ("two are too few", &[Read(0, 0, None), Read(2, 0, None), Passed, Passed, Read(2, 0, None)]),
            (
                "a probe that had begun before the replica died is no word",
                &[
                    Read(0, 0, None),
                    Read(5, 0, None),
                    Passed,
                    Read(5, 0, None),
                    Failed,
                    Passed,
                    Passed,
                    Read(5, 0, None),
                ],
            ),
            (
                "one answer takes it all back",
                &[
                    Read(0, 0, None),
                    Read(2, 0, None),
                    Passed,
                    Read(2, 1, None),
                    Read(4, 1, None),
                    Passed,
                    Passed,
                    Read(4, 1, None),
                    Read(5, 1, None),
                    Passed,
                    Passed,
                    Read(5, 1, Some(true)),
                ],
            ),
            (
                "an answer is news after silence",
                &[
                    Read(0, 7, None),
                    Read(3, 7, None),
                    Passed,
                    Passed,
                    Read(3, 7, Some(true)),
                    Read(3, 8, Some(false)),
                    Read(3, 9, None),
                ],
            ),
            (
                "counters that begin anew are another replica's",
                &[Read(7, 0, None), Read(0, 0, None), Read(2, 0, None), Passed, Passed, Read(2, 0, None)],
            ),
            ("nobody connects", &[Read(0, 0, None), Passed, Passed, Passed, Read(0, 0, None)]),
        ];
        for (name, events) in cases {
            let mut watch = AnswerWatch::default();
            for (at, event) in events.iter().enumerate() {
                match event {
                    Read(unanswered, to_client, news) => {
                        let place = ReplicaPlace { service: 0, replica: 0 };
                        let answers = Answers { place, unanswered: *unanswered, to_client: *to_client };
                        assert_eq!(watch.read(&answers), *news, "{name}, event {at}");
                    }
                    Passed => watch.probe_passed(),
                    Failed => watch.probe_failed(),
                }
            }
        }
    }
}
