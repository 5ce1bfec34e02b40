//! Where the tests are: on a terminal one line that changes, elsewhere a line every ten seconds and one for each program.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// How often the line on a terminal changes, and how often there is a line elsewhere.
const REDRAW: Duration = Duration::from_millis(200);
const REPEAT: Duration = Duration::from_secs(10);
/// The width of the line on a terminal.
const WIDTH: usize = 79;

/// How far the tests are.
pub(crate) struct Progress {
    begun: Instant,
    done: usize,
    all: usize,
    terminal: bool,
    drawn: Instant,
}

impl Progress {
    pub(super) fn new(all: usize) -> Self {
        let now = Instant::now();
        Self { begun: now, done: 0, all, terminal: io::stdout().is_terminal(), drawn: now }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// One more test is over.
    pub(super) fn step(&mut self) {
        self.done += 1;
    }

    /// Shows where it is, if it is time to.
    pub(super) fn show(&mut self, what: &str) {
        let pause = if self.terminal { REDRAW } else { REPEAT };
        if self.drawn.elapsed() < pause {
            return;
        }
        self.drawn = Instant::now();
        let text = position(self.done, self.all, self.begun.elapsed(), what);
        if self.terminal {
            let text: String = text.chars().take(WIDTH).collect();
            print!("\r{text:<WIDTH$}");
            // A terminal that has gone shows nothing.
            let _ = io::stdout().flush();
        } else {
            println!("{text}");
        }
    }

    /// A line that stays.
    pub(super) fn say(&mut self, what: &str) {
        self.end();
        println!("{}", position(self.done, self.all, self.begun.elapsed(), what));
        self.drawn = Instant::now();
    }

    /// Clears the line that changes.
    pub(super) fn end(&self) {
        if self.terminal {
            print!("\r{:WIDTH$}\r", "");
            let _ = io::stdout().flush();
        }
    }
}

fn position(done: usize, all: usize, elapsed: Duration, what: &str) -> String {
    format!("test: {done:>4} of {all}  {}  {what}", clock(elapsed))
}

/// Minutes and seconds.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02} min", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_many_of_how_many_when_and_what() {
        assert_eq!(
            position(12, 1893, Duration::from_millis(62_900), "scenarios: http_and_https::tc_one_arm"),
            "test:   12 of 1893  1:02 min  scenarios: http_and_https::tc_one_arm"
        );
    }
}
