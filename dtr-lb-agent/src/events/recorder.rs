//! Makes events of log lines: of those that have a name, `event`. What `RUST_LOG` says is for the log only.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{
    Level, Metadata, Subscriber,
    field::{Field, Visit},
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer,
    filter::LevelFilter,
    layer::{Context, Filter},
    registry::LookupSpan,
};

use super::{Event, Events, now, words};

/// The field that has the name.
const NAME: &str = "event";
/// Lines that say nothing about a change: a thousand replicas have as many at each start.
const NOT_EVENTS: &[&str] = &["next_hop"];
/// Lines that the log leaves out as others say as much, which do not say who it was.
const QUIET_EVENTS: &[&str] = &["order_done"];

/// Hands them to [`Events`].
pub(super) struct Recorder(Events);

impl Recorder {
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(events: Events) -> impl Layer<S> + use<S> {
        Self(events).with_filter(Named)
    }
}

/// Lines of the agent's that have a name.
struct Named;

fn is_named(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
        && metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
        && metadata.fields().field(NAME).is_some()
}

impl<S> Filter<S> for Named {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        is_named(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_named(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }
}

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, line: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        line.record(&mut fields);
        let Fields { message, mut fields } = fields;
        let Some(Value::String(name)) = fields.remove(NAME) else { return };
        if !is_recorded(*line.metadata().level(), &name) {
            return;
        }
        self.0.record(event(name, &message, fields));
    }
}

fn is_recorded(level: Level, name: &str) -> bool {
    (level <= Level::INFO && !NOT_EVENTS.contains(&name)) || QUIET_EVENTS.contains(&name)
}

/// The event of a line, without a number.
pub(super) fn event(name: String, message: &str, mut fields: Map<String, Value>) -> Event {
    let by = words::by(&mut fields);
    let mut take = |key: &str| match fields.remove(key) {
        Some(Value::String(text)) => Some(text),
        Some(_) | None => None,
    };
    let (service, replica) = (take("service"), take("replica"));
    let text = words::sentence(&name, message, service.as_deref(), replica.as_deref(), &fields);
    Event { id: 0, time: now(), event: name, service, replica, text, by, details: fields }
}

/// Text that is longer is cut: a config may be wrong in a hundred lines.
const LONGEST: usize = 4096;

/// What a line says.
#[derive(Default)]
struct Fields {
    message: String,
    fields: Map<String, Value>,
}

impl Fields {
    fn take(&mut self, field: &Field, value: Value) {
        self.fields.insert(field.name().to_owned(), value);
    }

    fn text(&mut self, field: &Field, mut text: String) {
        if let Some((end, _)) = text.char_indices().find(|(place, _)| *place >= LONGEST) {
            text.truncate(end);
            text.push('…');
        }
        if field.name() == "message" {
            self.message = text;
        } else {
            self.take(field, text.into());
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }
}
