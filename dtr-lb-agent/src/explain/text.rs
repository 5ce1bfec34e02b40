//! An explanation for people.

use super::{Explanation, Place, Share, Step};

impl Explanation {
    /// The steps, and what comes of them.
    pub fn text(&self) -> String {
        let mut text = format!("{} -> {}\n", self.source, self.destination);
        let mut line = |about: &str, what: &str| text.push_str(&format!("  {about:<10} {what}\n"));
        for Step { about, text } in &self.steps {
            line(about, text);
        }
        if !self.then.is_empty() {
            let then: Vec<_> = self.then.iter().map(words).collect();
            line("otherwise", &format!("if it refuses or does not answer: {}", then.join(", then ")));
        } else if self.replica.is_some()
            && self.shares.is_empty()
            && !self.steps.iter().any(|step| step.about == "flow")
        {
            line("otherwise", "no other replica is asked if it refuses or does not answer");
        }
        for Share { replica, verdict, ports, percent } in &self.shares {
            let who = replica.as_ref().map_or_else(|| format!("nobody ({verdict})"), words);
            line("share", &format!("{percent:5.1} %  {who}, for {ports} of {} source ports", u16::MAX));
        }
        if let (Some(verdict), Some(reason)) = (&self.verdict, &self.reason) {
            let to =
                self.replica.as_ref().map(|replica| format!(" to {}", words(replica))).unwrap_or_default();
            line("verdict", &format!("{verdict}{to}: {reason}"));
        }
        text
    }
}

fn words(place: &Place) -> String {
    let state = place.state.as_deref().unwrap_or("configured no more");
    format!("{} ({}, {state})", place.name, place.address)
}
