//! Which calls are sampled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use crate::{
    context::Context,
    queue::Queue,
    span::{Kind, Span},
};

/// Of a call without a context so many in 2⁶³ are sampled where all are.
const ALL: u64 = 1 << 63;
/// The increment of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014), whose numbers are the ids.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// How a tracer is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TracerOptions {
    /// Which share of the calls is sampled of which the client says nothing, 0 to 1.
    pub ratio: f64,
    /// Spans that may wait for their export.
    pub queue_spans_max: usize,
}

impl Default for TracerOptions {
    fn default() -> Self {
        Self {
            ratio: 0.1,
            queue_spans_max: 16_384,
        }
    }
}

/// Says which calls are sampled. Clones are the same tracer.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Inner>>);

pub(crate) struct Inner {
    /// So many in [`ALL`] are sampled.
    threshold: AtomicU64,
    /// Where this process's ids begin, and how many there have been.
    seed: u64,
    count: AtomicU64,
    pub(crate) queue: Queue,
}

impl Tracer {
    /// One that samples nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// One whose spans wait until an [`Exporter`](crate::Exporter) takes them.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub fn new(options: TracerOptions) -> Result<Self, getrandom::Error> {
        let tracer = Self(Some(Arc::new(Inner {
            threshold: AtomicU64::new(0),
            seed: getrandom::u64()?,
            count: AtomicU64::new(0),
            queue: Queue::new(options.queue_spans_max),
        })));
        tracer.set_ratio(options.ratio);
        Ok(tracer)
    }

    /// Samples this share from now on.
    pub fn set_ratio(&self, ratio: f64) {
        if let Some(inner) = &self.0 {
            // What is no number is no share, and would be all of them: the least of it and 1 is 1.
            let ratio = if ratio.is_nan() {
                0.0
            } else {
                ratio.clamp(0.0, 1.0)
            };
            inner.threshold.store((ratio * ALL as f64) as u64, Relaxed);
        }
    }

    /// Begins the span of a call that came in at `began`, if it is sampled: where its client says so in `given`, or by chance where that is
    /// nothing.
    #[inline]
    pub fn begin(
        &self,
        (name, kind): (&'static str, Kind),
        given: Option<&Context>,
        began: Instant,
    ) -> Option<Span> {
        let inner = self.0.as_ref()?;
        match given {
            Some(given) => inner.follow(given, (name, kind), began),
            None => inner.sample((name, kind), began),
        }
    }

    /// The same of a call on which another node has decided: where it says nothing the call is not sampled.
    #[inline]
    pub fn follow(
        &self,
        what: (&'static str, Kind),
        given: Option<&Context>,
        began: Instant,
    ) -> Option<Span> {
        self.0.as_ref()?.follow(given?, what, began)
    }

    pub(crate) fn inner(&self) -> Option<&Arc<Inner>> {
        self.0.as_ref()
    }
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() {
            "Tracer(on)"
        } else {
            "Tracer(off)"
        })
    }
}

impl Inner {
    fn follow(self: &Arc<Self>, given: &Context, what: (&'static str, Kind), began: Instant) -> Option<Span> {
        given.sampled.then(|| {
            let context = self.under(given);
            Span::begin(Arc::clone(self), context, Some(given.span_id), what, began)
        })
    }

    fn sample(self: &Arc<Self>, what: (&'static str, Kind), began: Instant) -> Option<Span> {
        let threshold = self.threshold.load(Relaxed);
        if threshold == 0 {
            return None;
        }
        let chance = self.random();
        // As OpenTelemetry's own samplers: by the part of the trace's id that is random in any case, so that others who go by the same rule decide alike.
        if chance >> 1 >= threshold {
            return None;
        }
        let mut trace_id = [0; 16];
        let (high, low) = trace_id.split_at_mut(8);
        high.copy_from_slice(&self.random_id());
        low.copy_from_slice(&chance.to_be_bytes());
        let context = Context {
            trace_id,
            span_id: self.random_id(),
            sampled: true,
            state: None,
        };
        Some(Span::begin(Arc::clone(self), context, None, what, began))
    }

    /// A new span in the same trace.
    pub(crate) fn under(&self, above: &Context) -> Context {
        Context {
            span_id: self.random_id(),
            ..above.clone()
        }
    }

    fn random_id(&self) -> [u8; 8] {
        // No id is all zero.
        self.random().max(1).to_be_bytes()
    }

    fn random(&self) -> u64 {
        let count = self.count.fetch_add(1, Relaxed);
        let mut mixed = self.seed.wrapping_add(count.wrapping_mul(GOLDEN));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHAT: (&str, Kind) = ("x", Kind::Server);

    fn tracer(ratio: f64) -> Tracer {
        Tracer::new(TracerOptions {
            ratio,
            queue_spans_max: 1_000_000,
        })
        .unwrap()
    }

    fn sampled(tracer: &Tracer, given: Option<&Context>) -> usize {
        let begun = (0..10_000).filter_map(|_| tracer.begin(WHAT, given, Instant::now()));
        begun.count()
    }

    #[test]
    fn the_share_is_sampled_of_which_nobody_says_anything() {
        assert_eq!(sampled(&tracer(0.0), None), 0);
        assert_eq!(sampled(&tracer(1.0), None), 10_000);
        assert_eq!(sampled(&tracer(f64::NAN), None), 0);
        assert_eq!(sampled(&Tracer::off(), None), 0);
        // Binomial, with a standard deviation of 30: eight of them.
        let tenth = sampled(&tracer(0.1), None);
        assert!((760..=1_240).contains(&tenth), "{tenth}");
        let tracer = tracer(0.0);
        tracer.set_ratio(1.0);
        assert_eq!(sampled(&tracer, None), 10_000);
    }

    #[test]
    fn the_client_decides_where_it_says_something() {
        let given = |sampled| Context {
            trace_id: [1; 16],
            span_id: [2; 8],
            sampled,
            state: Some("a=1".into()),
        };
        assert_eq!(sampled(&tracer(1.0), Some(&given(false))), 0);
        assert_eq!(sampled(&tracer(0.0), Some(&given(true))), 10_000);
        assert_eq!(sampled(&Tracer::off(), Some(&given(true))), 0);
        let tracer = tracer(0.0);
        let span = tracer.begin(WHAT, Some(&given(true)), Instant::now()).unwrap();
        let context = span.scope().context().clone();
        assert_eq!(
            (context.trace_id, context.sampled, context.tracestate()),
            ([1; 16], true, "a=1")
        );
        assert_ne!(context.span_id, [2; 8]);
        // Another node has decided, and says nothing where it does not sample.
        assert!(tracer.follow(WHAT, None, Instant::now()).is_none());
        assert!(tracer.follow(WHAT, Some(&given(true)), Instant::now()).is_some());
    }

    #[test]
    fn ids_are_never_the_same() {
        let tracer = tracer(1.0);
        let ids = (0..100_000).filter_map(|_| {
            let span = tracer.begin(WHAT, None, Instant::now())?;
            Some(span.scope().context().clone())
        });
        let ids: Vec<_> = ids.map(|context| (context.trace_id, context.span_id)).collect();
        let distinct: std::collections::HashSet<_> = ids.iter().copied().collect();
        assert_eq!(distinct.len(), ids.len());
    }
}
