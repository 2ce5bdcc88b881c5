//! A snapshot on its way to a peer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use docket_proto::peer as pb;
use docket_proto::peer::snapshot_part::Part;
use futures::stream;
use futures::{Stream, StreamExt};
use metrics::Counter;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::limits::{PEER_ALIVE_MS, PEER_CHUNK_BYTES};
use crate::peer;

/// Puts an empty chunk wherever the next part is long in coming, so that the peer does not take this node for gone: what is there already
/// is read and summed up without being sent, and a slow pace lets each part wait. The first part is waited for.
pub(super) fn kept_alive(
    parts: impl Stream<Item = pb::SnapshotPart> + Send + 'static,
) -> impl Stream<Item = pb::SnapshotPart> {
    stream::unfold((Box::pin(parts), false), |(mut parts, begun)| async move {
        let next = parts.next();
        let part = match begun {
            true => timeout(Duration::from_millis(PEER_ALIVE_MS), next).await,
            false => Ok(next.await),
        };
        let empty = pb::SnapshotPart {
            part: Some(Part::Chunk(Bytes::new())),
        };
        // Nothing of what is waited for is lost with the wait.
        let part = part.unwrap_or(Some(empty))?;
        Some((part, (parts, true)))
    })
}

/// Reads a snapshot and queues its parts, without what the peer has. Ends without a word where nobody takes them any more: the call tells why.
pub(super) async fn read_snapshot(
    head: pb::SnapshotHead,
    snapshot: impl Iterator<Item = std::io::Result<Bytes>> + Send + 'static,
    parts: mpsc::Sender<pb::SnapshotPart>,
    sent_bytes: Counter,
) -> Result<(), std::io::Error> {
    // On a thread of its own everywhere: it waits for the call to take what it has read.
    tokio::task::spawn_blocking(move || {
        let send = |part| {
            if let Part::Chunk(chunk) = &part {
                sent_bytes.increment(chunk.len() as u64);
            }
            let part = pb::SnapshotPart { part: Some(part) };
            parts.blocking_send(part).is_ok()
        };
        let mut there = usize::try_from(head.behind).unwrap_or(usize::MAX);
        if !send(Part::Head(head)) {
            return Ok(());
        }
        let (mut sum, mut gathered) = (peer::Sum::default(), BytesMut::new());
        for piece in snapshot {
            // An error drops the queue without an end, and the peer does not take what it has for the whole.
            let piece = piece?;
            sum.add(&piece);
            let skipped = there.min(piece.len());
            there -= skipped;
            gathered.extend_from_slice(&piece[skipped..]);
            while gathered.len() >= PEER_CHUNK_BYTES {
                if !send(Part::Chunk(gathered.split_to(PEER_CHUNK_BYTES).freeze())) {
                    return Ok(());
                }
            }
        }
        let rest: Bytes = gathered.freeze();
        let (bytes, checksum) = sum.end();
        let _ = send(Part::Chunk(rest)) && send(Part::End(pb::SnapshotEnd { bytes, checksum }));
        Ok(())
    })
    .await
    .map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use tokio_stream::wrappers::ReceiverStream;

    use super::super::STALL;
    use super::*;
    use crate::limits::PEER_STALL_MS;

    fn part(part: Part) -> pb::SnapshotPart {
        pb::SnapshotPart { part: Some(part) }
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_long_before_it_sends_is_heard_meanwhile() {
        let (parts, queue) = mpsc::channel(4);
        let mut sent = Box::pin(kept_alive(ReceiverStream::new(queue)));
        // Before the first part there is nothing to be heard of.
        let first = timeout(Duration::from_secs(60), sent.next()).await;
        assert!(first.is_err(), "{first:?}");
        parts
            .send(part(Part::Head(pb::SnapshotHead::default())))
            .await
            .unwrap();
        assert!(matches!(sent.next().await.unwrap().part, Some(Part::Head(_))));
        let reading = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(3 * PEER_STALL_MS)).await;
            parts
                .send(part(Part::Chunk(Bytes::from_static(b"x"))))
                .await
                .unwrap();
        });
        let (mut empty, mut last) = (0, tokio::time::Instant::now());
        loop {
            let next = sent.next().await.unwrap();
            assert!(last.elapsed() < STALL / 2, "not heard for {:?}", last.elapsed());
            last = tokio::time::Instant::now();
            match next.part {
                Some(Part::Chunk(chunk)) if chunk.is_empty() => empty += 1,
                Some(Part::Chunk(chunk)) if chunk == "x" => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(empty >= 3 * PEER_STALL_MS / PEER_ALIVE_MS - 1, "{empty}");
        reading.await.unwrap();
        assert!(sent.next().await.is_none());
    }
}
