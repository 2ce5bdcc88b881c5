//! Spans of calls that are sampled. There is none of others.

use std::{borrow::Cow, fmt, sync::Arc, time::Instant};

use crate::{context::Context, tracer::Inner};

/// What a span is to the one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A part of it, in the same node.
    Internal,
    /// A call that somebody else made.
    Server,
    /// A call to somebody else.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text of the contract or of this program, or an order's id; never what a person wrote.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// By OpenTelemetry's conventions: why something did not do what it was to do, as one of a few words.
const ERROR_TYPE: &str = "error.type";
/// And whom a client has called.
pub(crate) const SERVER_ADDRESS: &str = "server.address";
pub(crate) const SERVER_PORT: &str = "server.port";

/// What an attribute is called, and its value.
pub(crate) type Attribute = (&'static str, Value);

/// A span that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) context: Context,
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
    pub(crate) attributes: Vec<Attribute>,
    /// What it has in common with others.
    pub(crate) part: Option<Arc<Part>>,
    pub(crate) link: Option<Context>,
    pub(crate) failed: bool,
}

/// Something that is over, and that was a part of several calls at once.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it is called.
    pub name: &'static str,
    /// When it began.
    pub started: Instant,
    /// When it was over.
    pub ended: Instant,
    /// What is to be said of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What happened meanwhile, and when.
    pub events: Vec<(&'static str, Instant)>,
}

impl Part {
    /// Notes it under each of these, as a span of that one's trace; with why it failed, where it did as far as that one is concerned.
    pub fn note(self, under: &[(Scope, Option<&'static str>)]) {
        let Some((Scope(first), _)) = under.first() else {
            return;
        };
        let (part, queue) = (Arc::new(self), &first.tracer.queue);
        queue.put_all(under.iter().map(|(Scope(under), error)| Ended {
            context: under.tracer.under(&under.context),
            parent: Some(under.context.span_id),
            name: part.name,
            kind: Kind::Internal,
            started: part.started,
            ended: part.ended,
            attributes: error.iter().map(|error| (ERROR_TYPE, (*error).into())).collect(),
            part: Some(Arc::clone(&part)),
            link: None,
            failed: error.is_some(),
        }));
    }
}

/// A span that runs. It ends when it is dropped, and is exported then.
pub struct Span(Box<Running>);

struct Running {
    scope: Scope,
    parent: Option<[u8; 8]>,
    name: &'static str,
    kind: Kind,
    attributes: Vec<Attribute>,
    link: Option<Context>,
    failed: bool,
}

/// Where further spans belong: what travels with a call that is sampled. Cloning it copies a pointer.
#[derive(Clone)]
pub struct Scope(Arc<Under>);

struct Under {
    tracer: Arc<Inner>,
    context: Context,
    began: Instant,
}

impl Span {
    pub(crate) fn begin(
        tracer: Arc<Inner>,
        context: Context,
        parent: Option<[u8; 8]>,
        (name, kind): (&'static str, Kind),
        began: Instant,
    ) -> Self {
        let under = Under {
            tracer,
            context,
            began,
        };
        Self(Box::new(Running {
            scope: Scope(Arc::new(under)),
            parent,
            name,
            kind,
            attributes: Vec::new(),
            link: None,
            failed: false,
        }))
    }

    /// What further spans hang under this one by.
    pub fn scope(&self) -> &Scope {
        &self.0.scope
    }

    /// Says something of it.
    pub fn set(&mut self, attribute: &'static str, value: impl Into<Value>) {
        self.0.attributes.push((attribute, value.into()));
    }

    /// It has to do with that one, in another trace.
    pub fn link(&mut self, to: &Scope) {
        self.0.link = Some(to.context().clone());
    }

    /// It did not do what it was to do.
    pub fn fail(&mut self) {
        self.0.failed = true;
    }

    /// The same, and why: one of a few words.
    pub fn fail_by(&mut self, error: &'static str) {
        self.set(ERROR_TYPE, error);
        self.fail();
    }

    /// It is a call to who is there, `HOST:PORT`.
    pub fn calls(&mut self, address: &str) {
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host, port.parse::<u16>().ok()),
            None => (address, None),
        };
        // An address of IPv6 is in brackets, so that its port is told from it.
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        self.set(SERVER_ADDRESS, host.to_owned());
        if let Some(port) = port {
            self.set(SERVER_PORT, i64::from(port));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Running {
            scope,
            parent,
            name,
            kind,
            attributes,
            link,
            failed,
        } = &mut *self.0;
        let under = &scope.0;
        under.tracer.queue.put(Ended {
            context: under.context.clone(),
            parent: *parent,
            name,
            kind: *kind,
            started: under.began,
            ended: Instant::now(),
            attributes: std::mem::take(attributes),
            part: None,
            link: link.take(),
            failed: *failed,
        });
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.0.name, self.0.scope)
    }
}

impl Scope {
    /// The span.
    pub fn context(&self) -> &Context {
        &self.0.context
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.0.began
    }

    /// A span under it that begins now.
    pub fn child(&self, name: &'static str, kind: Kind) -> Span {
        self.child_since(name, kind, Instant::now())
    }

    /// A span under it that began then.
    pub fn child_since(&self, name: &'static str, kind: Kind, began: Instant) -> Span {
        let Under { tracer, context, .. } = &*self.0;
        let (above, context) = (context.span_id, tracer.under(context));
        Span::begin(Arc::clone(tracer), context, Some(above), (name, kind), began)
    }

    /// Notes a part of it that is over.
    pub fn note(
        &self,
        name: &'static str,
        (started, ended): (Instant, Instant),
        attributes: Vec<(&'static str, Value)>,
    ) {
        let Under { tracer, context, .. } = &*self.0;
        tracer.queue.put(Ended {
            context: tracer.under(context),
            parent: Some(context.span_id),
            name,
            kind: Kind::Internal,
            started,
            ended,
            attributes,
            part: None,
            link: None,
            failed: false,
        });
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.context, f)
    }
}
