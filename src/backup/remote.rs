//! A server as the source of a backup.

use bytes::Bytes;
use docket_backup::{Entries, Pieces, Point, PointOf, Source, SourceError, State};
use docket_cluster::GroupId;
use docket_proto::v1::{
    BeginBackupRequest, ReadArchive, ReadBackupRequest, ReadBackupResponse, ReadLog, ReadSnapshot,
    read_backup_request::Part, read_backup_response::Piece,
};
use tokio::sync::mpsc;
use tonic::{Code, Streaming};

use crate::client::{Client, Refusal};

/// Pieces that are here before they are put.
const PIECES_AHEAD: usize = 4;

/// A server.
pub struct Remote {
    client: Client,
}

impl Remote {
    /// The server behind this connection.
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.unbounded(),
        }
    }

    async fn read(&self, group: u32, part: Part) -> Result<Streaming<ReadBackupResponse>, SourceError> {
        let request = ReadBackupRequest {
            group: GroupId(group).to_string(),
            part: Some(part),
        };
        let answer = self.client.backup().read_backup(request).await;
        self.client.answer(answer).map_err(failed)
    }
}

impl Source for Remote {
    async fn point(&self) -> Result<Point, SourceError> {
        let answer = self.client.backup().begin_backup(BeginBackupRequest {}).await;
        let point = self.client.answer(answer).map_err(failed)?;
        let odd = || SourceError::Other("the server tells of a point that is none".to_owned());
        let time = point.time.ok_or_else(odd)?;
        let mut groups = Vec::new();
        for (number, group) in (0..).zip(point.groups) {
            if group.group != GroupId(number).to_string() {
                return Err(odd());
            }
            groups.push(PointOf {
                next: group.next_index,
            });
        }
        Ok(Point {
            cluster_id: point.cluster_id,
            node: point.node_id,
            shards: u16::try_from(point.shards).map_err(|_| odd())?,
            until_us: micros(&time),
            groups,
        })
    }

    async fn state(&self, group: u32) -> Result<Option<(State, Pieces<Bytes>)>, SourceError> {
        let mut stream = self.read(group, Part::Snapshot(ReadSnapshot {})).await?;
        let first = stream.message().await.map_err(|status| self.broken(status))?;
        let Some(Piece::Head(head)) = first.and_then(|first| first.piece) else {
            return Err(SourceError::Other(
                "the server sent no head of a snapshot".to_owned(),
            ));
        };
        if head.next_index == 0 {
            return Ok(None);
        }
        let state = State {
            next: head.next_index,
            term: head.term,
            time_us: head.time.as_ref().map_or(0, micros),
            archived: head.archived,
        };
        Ok(Some((state, self.bytes_of(stream))))
    }

    async fn archive(&self, group: u32, from: u64, before: u64) -> Result<Pieces<Bytes>, SourceError> {
        let stream = self
            .read(group, Part::Archive(ReadArchive { from, before }))
            .await?;
        Ok(self.bytes_of(stream))
    }

    async fn log(&self, group: u32, from: u64, before: u64) -> Result<Pieces<Entries>, SourceError> {
        let asked = ReadLog {
            from_index: from,
            before_index: before,
        };
        let stream = self.read(group, Part::Log(asked)).await?;
        let take = |piece| match piece {
            Piece::Entries(entries) => Some((
                entries.data.len() as u64,
                Entries {
                    from: entries.from_index,
                    before: entries.before_index,
                    bytes: entries.data.into(),
                },
            )),
            _ => None,
        };
        Ok(self.pieces_of(stream, take))
    }
}

impl Remote {
    fn bytes_of(&self, stream: Streaming<ReadBackupResponse>) -> Pieces<Bytes> {
        self.pieces_of(stream, |piece| match piece {
            Piece::Data(data) => Some((data.len() as u64, data.into())),
            _ => None,
        })
    }

    /// The pieces of a stream, as far as its end, which says how much there was.
    fn pieces_of<T: Send + 'static>(
        &self,
        mut stream: Streaming<ReadBackupResponse>,
        take: impl Fn(Piece) -> Option<(u64, T)> + Send + 'static,
    ) -> Pieces<T> {
        let (tell, pieces) = mpsc::channel(PIECES_AHEAD);
        let source = Self {
            client: self.client.clone(),
        };
        tokio::spawn(async move {
            let mut bytes = 0;
            loop {
                let odd = |what: &str| Err(SourceError::Other(format!("the server's stream {what}")));
                let piece = match stream.message().await {
                    Ok(message) => message.and_then(|message| message.piece),
                    Err(status) => {
                        // Whoever waits for it may have gone, here and below.
                        let _ = tell.send(Err(source.broken(status))).await;
                        return;
                    }
                };
                let told = match piece {
                    Some(Piece::End(end)) if end.bytes == bytes => return,
                    Some(Piece::End(_)) => odd("has lost something on its way"),
                    Some(piece) => match take(piece) {
                        Some((weight, piece)) => {
                            bytes += weight;
                            Ok(piece)
                        }
                        None => odd("has a piece that was not asked for"),
                    },
                    None => odd("ended before all was there"),
                };
                let is_over = told.is_err();
                if tell.send(told).await.is_err() || is_over {
                    return;
                }
            }
        });
        pieces
    }

    fn broken(&self, status: tonic::Status) -> SourceError {
        match self.client.answer::<()>(Err(status)) {
            Err(refusal) => failed(refusal),
            Ok(()) => SourceError::Other("the server answered nothing".to_owned()),
        }
    }
}

fn failed(refusal: Refusal) -> SourceError {
    match refusal.status().code() {
        Code::OutOfRange => SourceError::Purged(refusal.to_string()),
        _ => SourceError::Other(refusal.to_string()),
    }
}

fn micros(time: &prost_types::Timestamp) -> i64 {
    time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000
}
