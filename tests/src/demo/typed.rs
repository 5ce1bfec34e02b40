//! What can be typed into the live view.

use crate::lab::{Error, Replica};

/// A typed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Do it to the replica of this name.
    Replica(Verb, String),
    Quit,
    /// An empty line.
    Nothing,
    /// Anything else, with what would have been understood.
    Unknown(String),
}

/// What can be done to a replica, with the word for it and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Sicken,
    Heal,
    Kill,
    Start,
    Freeze,
    Thaw,
    Cut,
    Join,
}

impl Verb {
    pub(super) const ALL: [Self; 8] =
        [Self::Sicken, Self::Heal, Self::Kill, Self::Start, Self::Freeze, Self::Thaw, Self::Cut, Self::Join];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Sicken => "sicken",
            Self::Heal => "heal",
            Self::Kill => "kill",
            Self::Start => "start",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::Cut => "cut",
            Self::Join => "join",
        }
    }

    /// What was done, for after it was.
    pub(super) fn done(self) -> &'static str {
        match self {
            Self::Sicken => "answers 503 to /health",
            Self::Heal => "answers 200 to /health",
            Self::Kill => "is killed: its host refuses connections",
            Self::Start => "serves",
            Self::Freeze => "is stopped: its host accepts connections, and nobody answers",
            Self::Thaw => "goes on",
            Self::Cut => "is cut off: nothing reaches it",
            Self::Join => "is connected",
        }
    }

    pub(super) fn apply(self, replica: &Replica) -> Result<(), Error> {
        match self {
            Self::Sicken => replica.sicken(),
            Self::Heal => replica.heal(),
            Self::Kill => replica.kill(),
            Self::Start => replica.start(),
            Self::Freeze => replica.freeze(),
            Self::Thaw => replica.thaw(),
            Self::Cut => replica.cut(),
            Self::Join => replica.join(),
        }
    }
}

/// What a line asks for.
pub(super) fn parse(line: &str, replicas: &[&str]) -> Typed {
    let words: Vec<_> = line.split_whitespace().collect();
    let verb = |word: &str| Verb::ALL.into_iter().find(|verb| verb.word() == word);
    match words[..] {
        [] => Typed::Nothing,
        ["quit" | "exit" | "q"] => Typed::Quit,
        [word, name] => match verb(word) {
            Some(verb) if replicas.contains(&name) => Typed::Replica(verb, name.to_owned()),
            Some(_) => Typed::Unknown(format!("there is no replica `{name}`: {}", replicas.join(", "))),
            None => unknown(line),
        },
        [word] if verb(word).is_some() => {
            Typed::Unknown(format!("which replica? `{word} {}`", replicas.first().unwrap_or(&"r1")))
        }
        _ => unknown(line),
    }
}

fn unknown(line: &str) -> Typed {
    let verbs: Vec<_> = Verb::ALL.into_iter().map(Verb::word).collect();
    Typed::Unknown(format!("`{}` is none of: {} and a replica, or quit", line.trim(), verbs.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_or_answered() {
        for (line, want) in [
            ("kill r2", Typed::Replica(Verb::Kill, "r2".to_owned())),
            ("  join   r1 ", Typed::Replica(Verb::Join, "r1".to_owned())),
            ("quit", Typed::Quit),
            ("", Typed::Nothing),
        ] {
            assert_eq!(parse(line, &["r1", "r2"]), want, "{line:?}");
        }
        for (line, word) in [
            ("kill r3", "r1, r2"),
            ("kill", "which replica"),
            ("slay r1", "sicken, heal, kill"),
            ("kill r1 r2", "none of"),
        ] {
            let Typed::Unknown(text) = parse(line, &["r1", "r2"]) else { panic!("{line:?} is understood") };
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn every_verb_can_be_typed() {
        for verb in Verb::ALL {
            assert_eq!(parse(&format!("{} r1", verb.word()), &["r1"]), Typed::Replica(verb, "r1".to_owned()));
        }
    }
}
