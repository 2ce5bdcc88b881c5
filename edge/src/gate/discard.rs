//! What becomes of the request of a call that was refused while it arrived.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use futures::future::poll_fn;
use http_body::Body as _;
use tokio::time::timeout;

use super::Source;

/// A refused call's request is read to its end as far as this, in bytes, and so long.
const DISCARD_BYTES_MAX: usize = 256 * 1_024;
const DISCARD_MAX: Duration = Duration::from_millis(500);

/// Takes what is still to come of a refused call's request, and throws it away. Where a reply ends a stream that the
/// client still sends on, HTTP/2 has it reset; what arrives behind that counts as the client's error, and a few hundred
/// of those end the connection (`http2.max_local_error_reset_streams`): an overloaded node would cut off whom it
/// refuses.
///
/// Nobody has been let in here, so that anybody can have calls wait: there are places for so many, and whoever finds none
/// is answered at once and has its stream reset.
///
/// Returns how many bytes came.
pub(super) async fn discard(source: Source) -> usize {
    let mut incoming = match source {
        Source::Arriving(incoming) => incoming,
        Source::Json(json) => match json.into_incoming() {
            Some(incoming) => incoming,
            None => return 0,
        },
        Source::Whole(bytes) => return bytes.len(),
    };
    let mut bytes = 0;
    let all = async {
        while bytes <= DISCARD_BYTES_MAX
            && let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await
        {
            bytes += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // Whoever sends no end has its stream reset after all.
    let _ = timeout(DISCARD_MAX, all).await;
    bytes
}
