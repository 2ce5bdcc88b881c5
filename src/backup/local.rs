//! This node as the source of a backup, without a call.

use std::io;

use bytes::Bytes;
use docket_actors::{
    Docket, GroupId,
    backup::{BackupError, BackupState},
};
use docket_backup::{Entries, Pieces, Point, PointOf, Source, SourceError, State};
use tokio::sync::mpsc;

/// Pieces that are read before they are put.
const PIECES_AHEAD: usize = 4;

/// The node.
pub struct Local(pub Docket);

impl Source for Local {
    async fn point(&self) -> Result<Point, SourceError> {
        let point = self.0.backup_point().await.map_err(failed)?;
        let groups = point.groups.iter().map(|group| PointOf { next: group.next });
        Ok(Point {
            groups: groups.collect(),
            cluster_id: point.cluster_id,
            node: point.node.0,
            shards: point.shards,
            until_us: point.time.0,
        })
    }

    async fn state(&self, group: u32) -> Result<Option<(State, Pieces<Bytes>)>, SourceError> {
        let docket = self.0.clone();
        let read = tokio::task::spawn_blocking(move || docket.backup_state(GroupId(group)));
        let read = read
            .await
            .map_err(|error| SourceError::Other(error.to_string()))?;
        let Some(state) = read.map_err(failed)? else {
            return Ok(None);
        };
        let BackupState {
            next,
            term,
            time,
            archived,
            ..
        } = &state;
        let told = State {
            next: *next,
            term: *term,
            time_us: time.0,
            archived: *archived,
        };
        Ok(Some((told, sent(state))))
    }

    async fn archive(&self, group: u32, from: u64, before: u64) -> Result<Pieces<Bytes>, SourceError> {
        let archive = self.0.backup_archive(GroupId(group), from, before);
        Ok(sent(archive.map_err(failed)?))
    }

    async fn log(&self, group: u32, from: u64, before: u64) -> Result<Pieces<Entries>, SourceError> {
        let (docket, group) = (self.0.clone(), GroupId(group));
        let mut page = docket.backup_log(group, from, before).await.map_err(failed)?;
        let (tell, pieces) = mpsc::channel(PIECES_AHEAD);
        tokio::spawn(async move {
            let mut at = from;
            while let Some(last) = page.last() {
                let mut bytes = Vec::new();
                page.iter().for_each(|entry| entry.put(&mut bytes));
                let entries = Entries {
                    from: at,
                    before: last.index + 1,
                    bytes: bytes.into(),
                };
                at = entries.before;
                // Whoever asked may have gone.
                if tell.send(Ok(entries)).await.is_err() {
                    return;
                }
                match docket.backup_log(group, at, before).await {
                    Ok(next) => page = next,
                    Err(error) => {
                        let _ = tell.send(Err(failed(error))).await;
                        return;
                    }
                }
            }
        });
        Ok(pieces)
    }
}

/// Reads them where that may block.
fn sent(chunks: impl Iterator<Item = io::Result<Bytes>> + Send + 'static) -> Pieces<Bytes> {
    let (tell, pieces) = mpsc::channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        for chunk in chunks {
            let chunk = chunk.map_err(|error| SourceError::Other(error.to_string()));
            let is_over = chunk.is_err();
            if tell.blocking_send(chunk).is_err() || is_over {
                return;
            }
        }
    });
    pieces
}

fn failed(error: BackupError) -> SourceError {
    match error {
        BackupError::Purged(why) => SourceError::Purged(why),
        other => SourceError::Other(other.to_string()),
    }
}
