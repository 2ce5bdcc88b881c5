//! The section `[tracing]`: what is told of single calls, to whom.

use std::{fs, path::PathBuf, time::Duration};

use docket_traces::{Endpoint, TracerOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sections::Invalid;
use crate::failure::Failure;

/// What is told of single calls: traces, in OpenTelemetry's protocol.
///
/// Without `endpoint` nothing is traced.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tracing {
    /// The collector, which takes OTLP over gRPC: `http://HOST:PORT`, or `https://HOST:PORT` with TLS. Default none.
    pub endpoint: Option<String>,
    /// For `https`, a PEM file with the certificates that are trusted. Default none: those of the system.
    pub ca: Option<PathBuf>,
    /// Which share of the calls is traced of which the client says nothing, 0 to 1. Where a client says whether its trace is
    /// sampled (`traceparent`) that counts. Default 0.1.
    pub ratio: f64,
    /// Spans that may wait until the collector takes them; what comes then is dropped and counted. Twice as many are held while it is slow.
    /// Default 16,384, which are some 8 MiB.
    pub queue_spans_max: usize,
    /// How long the collector may take for a request, and what is left for its last at a stop, in milliseconds. Default 5,000.
    pub timeout_ms: u64,
}

impl Default for Tracing {
    fn default() -> Self {
        let TracerOptions {
            ratio,
            queue_spans_max,
        } = TracerOptions::default();
        Self {
            endpoint: None,
            ca: None,
            ratio,
            queue_spans_max,
            timeout_ms: 5_000,
        }
    }
}

impl Tracing {
    /// How calls are sampled.
    pub fn tracer(&self) -> TracerOptions {
        TracerOptions {
            ratio: self.ratio,
            queue_spans_max: self.queue_spans_max,
        }
    }

    /// Where to; `None` where nothing is traced.
    ///
    /// # Errors
    /// The certificates cannot be read.
    pub fn endpoint(&self) -> Result<Option<Endpoint>, Failure> {
        let Some(address) = self.endpoint.clone() else {
            return Ok(None);
        };
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|cause| {
                Failure::Other(format!("tracing.ca: cannot read {}: {cause}", path.display()))
            })
        };
        Ok(Some(Endpoint {
            address,
            ca: self.ca.as_ref().map(read).transpose()?,
        }))
    }

    /// How long the collector may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// Everything that is wrong with the section.
pub fn problems(tracing: &Tracing) -> Vec<Invalid> {
    let mut found = Vec::new();
    let mut refuse = |key: &str, requirement: &str| {
        found.push(Invalid {
            key: format!("tracing.{key}"),
            requirement: requirement.to_owned(),
        });
    };
    if !(0.0..=1.0).contains(&tracing.ratio) {
        refuse("ratio", "must be from 0 to 1");
    }
    if tracing.queue_spans_max == 0 {
        refuse("queue_spans_max", "must be at least 1");
    }
    if tracing.timeout_ms == 0 {
        refuse("timeout_ms", "must be at least 1");
    }
    let is_address = |address: &str| {
        let rest = address
            .strip_prefix("http://")
            .or_else(|| address.strip_prefix("https://"));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('@'))
    };
    if tracing
        .endpoint
        .as_deref()
        .is_some_and(|address| !is_address(address))
    {
        refuse("endpoint", "must be http://HOST:PORT or https://HOST:PORT");
    }
    found
}
