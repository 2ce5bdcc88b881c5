//! `BackupService`: hands out what a node has, for a backup. What is read is read on threads where that may block, a few pieces ahead of the client.

use std::{io, pin::Pin, time::Duration};

use bytes::Bytes;
use docket_actors::{
    Docket, GroupId,
    backup::{BackupError, BackupPoint, LoggedEntry},
};
use docket_audit::Audit;
use docket_proto::api::show::timestamp;
use docket_proto::v1::{
    self, BackupEnd, BackupEntries, BackupHead, ReadBackupRequest, ReadBackupResponse,
    backup_service_server::BackupService, read_backup_request::Part, read_backup_response::Piece,
};
use futures::Stream;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use super::context;
use crate::{Refusal, audit::Change};

/// Pieces that are read ahead of the client.
const PIECES_AHEAD: usize = 4;
/// About so many bytes are in a piece.
const PIECE_BYTES: usize = 512 << 10;
/// When to come back where not all groups can be read.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// The longest message: an entry has one of its own where it is large.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The service.
pub(crate) struct BackupApi {
    docket: Docket,
    audit: Audit,
    /// Cancelled when the node stops.
    stopping: CancellationToken,
}

impl BackupApi {
    pub(crate) fn new(docket: Docket, audit: Audit, stopping: CancellationToken) -> Self {
        Self {
            docket,
            audit,
            stopping,
        }
    }

    /// A group of this name.
    fn group(&self, name: &str) -> Result<GroupId, Refusal> {
        let status = self.docket.status();
        let mut groups = status.cluster.groups.iter().map(|group| group.id);
        groups.find(|id| id.to_string() == name).ok_or_else(|| {
            Refusal::invalid([("group", "must be `meta` or `shard-{n}`, a shard of this cluster")])
        })
    }
}

type Pieces = Pin<Box<dyn Stream<Item = Result<ReadBackupResponse, Status>> + Send>>;
type Queue = mpsc::Sender<Result<ReadBackupResponse, Status>>;

#[tonic::async_trait]
impl BackupService for BackupApi {
    type ReadBackupStream = Pieces;

    async fn begin_backup(
        &self,
        request: Request<v1::BeginBackupRequest>,
    ) -> Result<Response<v1::BackupPoint>, Status> {
        let begun = async { self.docket.backup_point().await.map_err(refusal) };
        let change = Change::of(&context(&request)?, "backup.begin", "");
        let point = change.run(&self.audit, begun).await?;
        Ok(Response::new(told(&point)))
    }

    async fn read_backup(&self, request: Request<ReadBackupRequest>) -> Result<Response<Pieces>, Status> {
        let context = context(&request)?;
        let ReadBackupRequest { group, part } = request.into_inner();
        let group = self.group(&group)?;
        let missing = || Refusal::invalid([("part", "is required")]);
        let part = part.ok_or_else(missing)?;
        let name = match &part {
            Part::Snapshot(_) => "snapshot",
            Part::Archive(_) => "archive",
            Part::Log(_) => "log",
        };
        let change = Change::of(&context, "backup.read", group.to_string()).detail("part", name);
        let (queue, pieces) = mpsc::channel(PIECES_AHEAD);
        let begun = async { self.read(group, part, queue).await };
        change.run(&self.audit, begun).await?;
        let left = Some((pieces, self.stopping.clone()));
        let pieces = futures::stream::unfold(left, |left| async move {
            let (mut pieces, stopping): (mpsc::Receiver<_>, CancellationToken) = left?;
            tokio::select! {
                biased;
                piece = pieces.recv() => piece.map(|piece| (piece, Some((pieces, stopping)))),
                () = stopping.cancelled() => Some((Err(Refusal::stopping().into()), None)),
            }
        });
        Ok(Response::new(Box::pin(pieces)))
    }
}

impl BackupApi {
    /// Begins to read a part. What is wrong with the question itself is found before the first piece.
    async fn read(&self, group: GroupId, part: Part, queue: Queue) -> Result<(), Refusal> {
        let docket = self.docket.clone();
        match part {
            Part::Snapshot(_) => {
                let (tell, told) = oneshot::channel();
                spawn_blocking(move || read_state(&docket, group, tell, &queue));
                told.await.unwrap_or_else(|_| Err(Refusal::stopping()))
            }
            Part::Archive(asked) => {
                let archive = docket.backup_archive(group, asked.from, asked.before);
                let mut archive = archive.map_err(refusal)?;
                spawn_blocking(move || send_all(&queue, &mut archive));
                Ok(())
            }
            Part::Log(asked) => {
                let (from, before) = (asked.from_index, asked.before_index);
                if from >= before {
                    return Err(Refusal::invalid([(
                        "before_index",
                        "must be greater than from_index",
                    )]));
                }
                let first = docket.backup_log(group, from, before).await.map_err(refusal)?;
                tokio::spawn(async move {
                    let sent = send_log(&docket, group, (from, before), first, &queue).await;
                    if let Err(refused) = sent {
                        // Whoever asked may have gone.
                        let _ = queue.send(Err(refused.into())).await;
                    }
                });
                Ok(())
            }
        }
    }
}

/// Reads a snapshot. Blocks.
fn read_state(docket: &Docket, group: GroupId, begun: oneshot::Sender<Result<(), Refusal>>, queue: &Queue) {
    let state = match docket.backup_state(group) {
        Ok(state) => state,
        Err(error) => {
            let _ = begun.send(Err(refusal(error)));
            return;
        }
    };
    // Whoever asked may have gone, here and below.
    let _ = begun.send(Ok(()));
    let head = state
        .as_ref()
        .map_or_else(BackupHead::default, |state| BackupHead {
            next_index: state.next,
            term: state.term,
            time: Some(timestamp(state.time)),
            archived: state.archived,
        });
    if queue.blocking_send(Ok(of(Piece::Head(head)))).is_err() {
        return;
    }
    match state {
        Some(mut state) => send_all(queue, &mut state),
        None => {
            let _ = queue.blocking_send(Ok(of(Piece::End(BackupEnd { bytes: 0 }))));
        }
    }
}

/// Sends what there is, and its end. Blocks.
fn send_all(queue: &Queue, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) {
    let (mut bytes, mut gathered) = (0, Vec::new());
    let send = |gathered: &mut Vec<u8>| {
        let data = std::mem::take(gathered);
        queue.blocking_send(Ok(of(Piece::Data(data)))).is_ok()
    };
    for chunk in chunks {
        match chunk {
            Ok(chunk) => {
                bytes += chunk.len() as u64;
                gathered.extend_from_slice(&chunk);
            }
            Err(error) => {
                let _ = queue.blocking_send(Err(unreadable(error.to_string()).into()));
                return;
            }
        }
        if gathered.len() >= PIECE_BYTES && !send(&mut gathered) {
            return;
        }
    }
    if gathered.is_empty() || send(&mut gathered) {
        let _ = queue.blocking_send(Ok(of(Piece::End(BackupEnd { bytes }))));
    }
}

async fn send_log(
    docket: &Docket,
    group: GroupId,
    (from, before): (u64, u64),
    first: Vec<LoggedEntry>,
    queue: &Queue,
) -> Result<(), Refusal> {
    let (mut at, mut bytes, mut page) = (from, 0, first);
    while !page.is_empty() {
        let mut entries = BackupEntries {
            from_index: at,
            ..Default::default()
        };
        for entry in &page {
            entry.put(&mut entries.data);
            at = entry.index + 1;
            entries.before_index = at;
            if entries.data.len() >= PIECE_BYTES || at == before {
                bytes += entries.data.len() as u64;
                if queue.send(Ok(of(Piece::Entries(entries)))).await.is_err() {
                    return Ok(());
                }
                entries = BackupEntries {
                    from_index: at,
                    ..Default::default()
                };
            }
        }
        if !entries.data.is_empty() {
            bytes += entries.data.len() as u64;
            if queue.send(Ok(of(Piece::Entries(entries)))).await.is_err() {
                return Ok(());
            }
        }
        page = docket.backup_log(group, at, before).await.map_err(refusal)?;
    }
    let _ = queue.send(Ok(of(Piece::End(BackupEnd { bytes })))).await;
    Ok(())
}

fn of(piece: Piece) -> ReadBackupResponse {
    ReadBackupResponse { piece: Some(piece) }
}

fn told(point: &BackupPoint) -> v1::BackupPoint {
    let groups = point.groups.iter().map(|group| v1::BackupGroupPoint {
        group: group.group.to_string(),
        next_index: group.next,
    });
    v1::BackupPoint {
        cluster_id: point.cluster_id.clone(),
        shards: point.shards.into(),
        time: Some(timestamp(point.time)),
        groups: groups.collect(),
        node_id: point.node.0,
    }
}

pub(super) fn refusal(error: BackupError) -> Refusal {
    let message = error.to_string();
    match error {
        BackupError::NotHere(group) => Refusal::new(Code::FailedPrecondition, "NO_REPLICA_HERE", message)
            .with("group", group.to_string()),
        BackupError::NoGroup(_) => Refusal::new(Code::NotFound, "GROUP_NOT_FOUND", message),
        BackupError::Unread(_) => Refusal::new(Code::Unavailable, "LEADER_UNKNOWN", message).retry(RETRY),
        BackupError::ClocksApart => Refusal::new(Code::FailedPrecondition, "CLOCKS_APART", message),
        BackupError::Purged(_) => Refusal::new(Code::OutOfRange, "LOG_PURGED", message),
        BackupError::Io(_) => unreadable(message),
    }
}

fn unreadable(message: String) -> Refusal {
    Refusal::new(Code::DataLoss, "BACKUP_UNREADABLE", message)
}
