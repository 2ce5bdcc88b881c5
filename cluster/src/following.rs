//! How a standby's groups take over the log of another cluster's, and how they come to lead it.
//!
//! ```text
//!   the primary's log ──▶ entries, in log order ──▶ AppendEntries from "node" PRIMARY ──▶ this node's own log ──▶ applied
//!                                                    with the primary's terms and indexes
//! ```
//! To Raft the standby is a follower that hears from a leader of those terms; it stands for no election until it is promoted, and then its only voter, itself, elects it
//! in the next term. Who the members are is not taken over: such entries, and the registry's, become blank at the same index, as in a restored backup.

use std::io;
use std::time::Duration;

use futures::future::try_join_all;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};

use crate::export::LoggedEntry;
use crate::raft::{EntryPayload, LogEntry, Payload, TypeConfig, Vote, log_id};
use crate::registry::is_record;
use crate::{Group, Leadership, Node, Posture};

/// Who leads a standby's groups, as their votes say: no node has this id.
pub(crate) const PRIMARY: u64 = u64::MAX;

/// How long a group may take to append and apply what it is given.
const APPLIED_WITHIN: Duration = Duration::from_secs(60);

/// How long groups may take to be led by this node once it was promoted.
const LED_WITHIN: Duration = Duration::from_secs(30);

/// The last entry of a log that is known: index and term.
pub type LastEntry = (u64, u64);

impl Group {
    /// The last entry that is applied here; `None` before the first.
    pub fn last_applied(&self) -> Option<LastEntry> {
        let index = self.progress().applied_index()?;
        Some((index, self.progress().last_applied_term()))
    }

    /// Appends entries of the primary's log behind `previous`, and applies them. What is here already is left out, so that the same can be given again.
    ///
    /// # Errors
    /// They do not follow what is here, or the group has stopped.
    pub async fn follow(&self, previous: Option<LastEntry>, entries: Vec<LoggedEntry>) -> io::Result<()> {
        let group = self.id();
        let failed = |cause: &dyn std::fmt::Display| io::Error::other(format!("{group}: {cause}"));
        let next = self.applied_next();
        let mut previous = previous;
        let mut fresh = Vec::with_capacity(entries.len());
        for entry in entries {
            let expected = previous.map_or(0, |(index, _)| index + 1);
            if entry.index != expected || previous.is_some_and(|(_, term)| entry.term < term) {
                return Err(failed(&format!(
                    "entry {} of term {} came where entry {expected} belongs",
                    entry.index, entry.term
                )));
            }
            if entry.index < next {
                previous = Some((entry.index, entry.term));
            } else {
                fresh.push(entry);
                // What follows it is held against it below.
                previous = fresh.last().map(|entry| (entry.index, entry.term));
            }
        }
        let Some(last) = fresh.last().map(|entry| (entry.index, entry.term)) else {
            return Ok(());
        };
        let before = match fresh.first() {
            Some(first) if first.index > 0 => self.entry_before(first.index, next, &failed)?,
            _ => None,
        };
        let last_id = log_id(last.1, last.0);
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(last.1, PRIMARY),
            prev_log_id: before.map(|(index, term)| log_id(term, index)),
            entries: fresh.into_iter().map(appended).collect(),
            leader_commit: Some(last_id),
        };
        self.append(request, last.0).await
    }

    /// Applies what is in the log: of a standby all of that is committed, which a start does not know. Nothing is appended but what the primary has committed.
    async fn apply_followed(&self) -> io::Result<()> {
        let last = self.inner().log.last();
        let Some(last) = last.filter(|last| !self.progress().has_applied(last.index)) else {
            return Ok(());
        };
        // Asked of Raft itself: right behind a start the metrics say 0, and an older term than it has voted for is refused.
        let raft = self.raft();
        let term = raft
            .with_raft_state(|state| state.vote_ref().leader_id.term)
            .await
            .map_err(|error| io::Error::other(format!("{}: {error}", self.id())))?;
        let index = last.index;
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(term, PRIMARY),
            prev_log_id: Some(last),
            entries: Vec::new(),
            leader_commit: Some(last),
        };
        self.append(request, index).await
    }

    /// Has Raft append, and waits until all up to this index is applied.
    async fn append(&self, request: AppendEntriesRequest<TypeConfig>, last: u64) -> io::Result<()> {
        let failed = |cause: &dyn std::fmt::Display| io::Error::other(format!("{}: {cause}", self.id()));
        let raft = self.raft();
        match raft
            .append_entries(request)
            .await
            .map_err(|error| failed(&error))?
        {
            AppendEntriesResponse::Success => {}
            other => return Err(failed(&format!("its log does not take the primary's: {other}"))),
        }
        let wait = raft.wait(Some(APPLIED_WITHIN));
        let applied = wait.applied_index_at_least(Some(last), "following").await;
        applied.map(drop).map_err(|error| failed(&error))
    }

    /// The entry before one that is appended, which is the last that was applied here.
    fn entry_before(
        &self,
        index: u64,
        next: u64,
        failed: &dyn Fn(&dyn std::fmt::Display) -> io::Error,
    ) -> io::Result<Option<LastEntry>> {
        if index != next {
            return Err(failed(&format!("entry {index} came where entry {next} belongs")));
        }
        Ok(self.last_applied())
    }

    /// Has the group stand for election from here on, as its only voter.
    async fn stand(&self) -> io::Result<()> {
        let raft = self.raft();
        raft.runtime_config().elect(true);
        let asked = raft.trigger().elect(!self.progress().votes_alone()).await;
        asked.map_err(|error| io::Error::other(format!("{}: {error}", self.id())))
    }

    async fn until_led(&self) {
        let mut leadership = self.leadership();
        // An error means that the group has ended, which its node tells.
        let _ = leadership
            .wait_for(|now| matches!(now, Leadership::Leader { .. }))
            .await;
    }
}

impl Node {
    /// Applies what a standby has appended in an earlier life.
    ///
    /// # Errors
    /// A group has stopped.
    pub async fn apply_followed(&self) -> io::Result<()> {
        try_join_all(self.groups().iter().map(Group::apply_followed))
            .await
            .map(drop)
    }

    /// A standby leads its groups from here on: its epoch must be durable before.
    ///
    /// # Errors
    /// It is no standby, or its groups are not led in time; asked again it goes on.
    pub async fn lead(&self) -> io::Result<()> {
        if !self.posture().is_open() && !matches!(*self.posture(), Posture::Standby { .. }) {
            return Err(io::Error::other("this node is no standby"));
        }
        self.hush().set(Posture::Open);
        for group in self.groups() {
            group.stand().await?;
        }
        let led = try_join_all(self.groups().iter().map(|group| async {
            group.until_led().await;
            Ok::<_, io::Error>(())
        }));
        match tokio::time::timeout(LED_WITHIN, led).await {
            Ok(led) => led.map(drop),
            Err(_elapsed) => Err(io::Error::other("not all groups are led after 30 s")),
        }
    }
}

/// An entry as it is appended.
fn appended(entry: LoggedEntry) -> LogEntry {
    let payload = match entry.payload {
        Some(payload) if !is_record(&payload) => EntryPayload::Normal(Payload(payload, None)),
        _ => EntryPayload::Blank,
    };
    LogEntry {
        log_id: log_id(entry.term, entry.index),
        payload,
    }
}
