//! `--debug`: spans and events of `tracing` as lines of the log.
//!
//! Installed by [`super::log::Log::open`] and by nobody else. The host and container sides open a span for each step
//! of a verb, with the field `step` for its number; the lines then read like the list of steps in the design: a line
//! when a step begins and one when it ends, with the time it took, and between them what happened in it. Without
//! `--debug` there is no subscriber, and a span costs one load.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::log::{Level, Sink};

/// Writes all spans and events of this process to `sink` from now on.
pub fn install(sink: Arc<Sink>) {
    // Fails only when there is one already: the first log that was opened keeps the messages.
    let _ = tracing::subscriber::set_global_default(Debug::new(sink));
}

/// The subscriber. The lock is there because the trait asks for it; the process has one thread.
pub struct Debug {
    sink: Arc<Sink>,
    spans: Mutex<Spans>,
}

/// The spans of the process: span `n` is `all[n - 1]`. A verb opens a few dozen, so no slot is reused.
#[derive(Default)]
struct Spans {
    all: Vec<Span>,
    /// Numbers of the spans entered and not left, the innermost last.
    entered: Vec<u64>,
}

struct Span {
    /// Number and name of the step.
    title: String,
    /// Its other fields, each with a blank before it.
    fields: String,
    begun: Option<Instant>,
    handles: usize,
}

impl Spans {
    fn get(&mut self, id: &Id) -> Option<&mut Span> {
        self.all.get_mut(id.into_u64() as usize - 1)
    }
}

impl Debug {
    /// A subscriber that writes to `sink`.
    pub fn new(sink: Arc<Sink>) -> Self {
        Self {
            sink,
            spans: Mutex::default(),
        }
    }

    fn spans(&self) -> MutexGuard<'_, Spans> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for Debug {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::DEBUG
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let name = attributes.metadata().name();
        let mut spans = self.spans();
        spans.all.push(Span {
            title: match fields.step {
                Some(step) => format!("{step} {name}"),
                None => name.to_owned(),
            },
            fields: fields.rest,
            begun: None,
            handles: 1,
        });
        Id::from_u64(spans.all.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        let mut spans = self.spans();
        if let Some(span) = spans.get(id) {
            span.fields.push_str(&fields.rest);
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let spans = self.spans();
        let mut text = match spans.entered.last().and_then(|id| spans.all.get(*id as usize - 1)) {
            Some(span) => format!("{}: ", span.title),
            None => String::new(),
        };
        drop(spans);
        text.push_str(&fields.message);
        text.push_str(match fields.message.is_empty() {
            true => fields.rest.trim_start(),
            false => &fields.rest,
        });
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warning,
            tracing::Level::INFO => Level::Info,
            _ => Level::Debug,
        };
        self.sink.write(level, &text);
    }

    fn enter(&self, id: &Id) {
        let mut spans = self.spans();
        spans.entered.push(id.into_u64());
        let Some(span) = spans.get(id).filter(|span| span.begun.is_none()) else {
            return;
        };
        let text = format!("{}{}", span.title, span.fields);
        span.begun = Some(Instant::now());
        drop(spans);
        self.sink.write(Level::Debug, &text);
    }

    fn exit(&self, id: &Id) {
        let mut spans = self.spans();
        if let Some(position) = spans.entered.iter().rposition(|entered| *entered == id.into_u64()) {
            spans.entered.remove(position);
        }
    }

    fn clone_span(&self, id: &Id) -> Id {
        if let Some(span) = self.spans().get(id) {
            span.handles += 1;
        }
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut spans = self.spans();
        let Some(span) = spans.get(&id) else {
            return false;
        };
        span.handles = span.handles.saturating_sub(1);
        if span.handles > 0 {
            return false;
        }
        if let Some(begun) = span.begun {
            let text = format!("{}: done in {:?}", span.title, begun.elapsed());
            drop(spans);
            self.sink.write(Level::Debug, &text);
        }
        true
    }
}

/// Collects the fields of a span or an event as text.
#[derive(Default)]
struct Fields {
    /// The number of a step.
    step: Option<u64>,
    /// An event's sentence.
    message: String,
    /// ` name=value` for each of the others.
    rest: String,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "step" => self.step = Some(value),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match (field.name(), u64::try_from(value)) {
            ("step", Ok(step)) => self.step = Some(step),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail; a Debug of ours does not either.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.rest, " {name}={value:?}"),
        };
    }
}
