//! `--debug`: events of `tracing` as lines of the log.
//!
//! Installed by [`super::log::Log::open`] alone. Both sides of a verb send an event for each step ([`crate::step`]). Without
//! `--debug` there is no subscriber, and an event costs one load.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::log::{Level, Sink};

/// Writes all events of this process to `sink` from now on.
pub fn install(sink: Arc<Sink>) {
    // Fails only when there is one already: the first log that was opened keeps the messages.
    let _ = tracing::subscriber::set_global_default(Debug(sink));
}

/// The subscriber. It ignores spans, and none is opened.
pub struct Debug(pub Arc<Sink>);

impl Subscriber for Debug {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.is_span() && *metadata.level() <= tracing::Level::DEBUG
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let text = fields.message + &fields.rest;
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warning,
            tracing::Level::INFO => Level::Info,
            _ => Level::Debug,
        };
        self.0.write(level, text.trim_start());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Collects the fields of an event as text.
#[derive(Default)]
struct Fields {
    /// The sentence.
    message: String,
    /// ` name=value` for each of the others.
    rest: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail; a Debug of ours does not either.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.rest, " {name}={value:?}"),
        };
    }
}
