//! The agent's log: text for people, JSON where it is asked for or where systemd's journal reads standard error. For the
//! journal each line begins with its priority (`<4>`, sd-daemon(3)), so that `journalctl -p warning` finds it.

use std::{env, fmt, io::IsTerminal as _};

use nix::sys::stat::fstat;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::events::Events;

/// Where systemd says what standard error is connected to: `DEVICE:INODE`.
const STREAM: &str = "JOURNAL_STREAM";

/// Starts logging to standard error. `RUST_LOG` says how much; without it, what an operator wants to read. `events` get what
/// they want of it in any case.
pub(super) fn start(json: bool, log_packets: bool, events: &Events) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(if log_packets { "info,dtr_lb_ebpf=debug" } else { "info" }));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = if to_journal() {
        lines.json().flatten_event(true).map_event_format(WithPriority).boxed()
    } else if json {
        lines.json().flatten_event(true).boxed()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(events.recorder()).init();
}

/// What a line of an error begins with, so that the journal knows it for one; nothing elsewhere.
#[must_use]
pub fn priority_of_an_error() -> &'static str {
    if to_journal() { priority(Level::ERROR) } else { "" }
}

/// Whether the journal reads what is written to standard error. The variable alone does not tell: it is inherited by
/// programs whose standard error is something else.
fn to_journal() -> bool {
    let Ok(stream) = env::var(STREAM) else { return false };
    fstat(std::io::stderr()).is_ok_and(|file| is_stream(&stream, file.st_dev, file.st_ino))
}

fn is_stream(stream: &str, device: u64, inode: u64) -> bool {
    stream.split_once(':').is_some_and(|(one, other)| {
        one.parse() == Ok::<u64, _>(device) && other.parse() == Ok::<u64, _>(inode)
    })
}

/// syslog(3) has the numbers.
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// Lines of another format, with their priority in front.
struct WithPriority<F>(F);

impl<S, N, F> FormatEvent<S, N> for WithPriority<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str(priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[test]
    fn only_the_journal_is_taken_for_the_journal() {
        for (stream, expected) in [
            ("8:123", true),
            ("8:124", false),
            ("9:123", false),
            ("123:8", false),
            ("8", false),
            ("", false),
            ("8:123:", false),
        ] {
            assert_eq!(is_stream(stream, 8, 123), expected, "{stream}");
        }
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_for_the_journal_is_its_priority_and_json() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .map_event_format(WithPriority)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(service = "http", "one");
            tracing::warn!("two");
            tracing::info!("three");
        });
        let text = String::from_utf8(sink.0.lock().expect("nobody panicked").clone()).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        for (line, (priority, message)) in
            lines.iter().zip([("<3>", "one"), ("<4>", "two"), ("<6>", "three")])
        {
            let json = line.strip_prefix(priority).unwrap_or_else(|| panic!("{line}"));
            let fields: serde_json::Value = serde_json::from_str(json).expect("JSON");
            assert_eq!(fields["message"], message);
        }
    }
}
