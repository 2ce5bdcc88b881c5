//! The trace that a client says its call belongs to: what is taken as one is carried on as it was.

use docket_traces::{Context, TRACESTATE_BYTES_MAX};

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some((text, state, trace, span, flags)) =
        crate::input::<(&str, Option<&str>, [u8; 16], [u8; 8], u8)>(bytes)
    else {
        return;
    };
    // As it comes, and one that is nearly right.
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let near = format!("00-{}-{}-{flags:02x}{text}", hex(&trace), hex(&span));
    for given in [text, &near] {
        let Some(context) = Context::read(given, state) else {
            continue;
        };
        assert!(context.trace_id != [0; 16] && context.span_id != [0; 8]);
        assert!(context.tracestate().len() <= TRACESTATE_BYTES_MAX);
        assert!(
            !context.tracestate().contains(['\r', '\n']),
            "it goes into a header"
        );
        let again = Context::read(&context.traceparent(), context.state.as_deref());
        assert_eq!(again.as_ref(), Some(&context));
    }
    let is_one = text.is_empty() && trace != [0; 16] && span != [0; 8];
    assert!(!is_one || Context::read(&near, state).is_some_and(|context| context.trace_id == trace));
}
