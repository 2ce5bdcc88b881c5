//! Cutting the journal behind what no group needs any more.
//!
//! Entries up to a purge are in a snapshot. What else stands before the cut and still counts (a group's newest vote and newest purge, and
//! that a replica of it was dropped) is written again first, and the cut waits until that is durable.

use docket_persistence::{JournalError, Position};
use tokio::sync::mpsc;

use super::index::Place;
use super::record;
use super::store::{GroupLog, NodeJournal};

/// Cuts the journal before the first entry that any group still holds. Waits until what must survive is durable.
///
/// The groups go on writing meanwhile. The journal tells of writes in the order in which they stand in it, hence: whatever stands before
/// a place that was seen to be durable is seen to be durable by whoever looks later. So the entries are looked at twice, and the first
/// look only bounds the cut.
///
/// # Errors
/// The journal takes nothing now (full or stopped); the cut can be tried again later.
pub(crate) async fn cut_journal(
    journal: &NodeJournal,
    logs: &[GroupLog],
) -> Result<Option<Position>, JournalError> {
    let bound = oldest_entry(logs);
    // Three messages a group at most.
    let (tell, mut durable) = mpsc::unbounded_channel();
    for log in logs {
        write_again(journal, log, bound, &tell)?;
    }
    drop(tell);
    let mut oldest_state = None;
    while let Some(written) = durable.recv().await {
        let position: Position = written?;
        oldest_state = Some(oldest_state.map_or(position, |oldest: Position| oldest.min(position)));
    }
    // Without entries, what was just written again is all there is.
    let Some(bound) = bound.or(oldest_state) else {
        return Ok(None);
    };
    let cut = oldest_entry(logs).map_or(bound, |oldest| oldest.min(bound));
    journal.journal.truncate_before(cut)?;
    Ok(Some(cut))
}

/// Where the oldest durable entry is that starts a group's log.
fn oldest_entry(logs: &[GroupLog]) -> Option<Position> {
    logs.iter().filter_map(GroupLog::oldest_durable).min()
}

/// Writes again what counts of a group wherever it stands, where it stands before the bound; without one, in any case.
fn write_again(
    journal: &NodeJournal,
    log: &GroupLog,
    bound: Option<Position>,
    tell: &mpsc::UnboundedSender<Result<Position, JournalError>>,
) -> Result<(), JournalError> {
    let is_before_bound = |place: Place| match (place, bound) {
        (Place::Nowhere, _) => false,
        (_, None) => true,
        (Place::At(position), Some(bound)) => position < bound,
        // The bound was durable before this was.
        (Place::Queued(_), Some(_)) => false,
    };
    // Read and queued under one lock: a newer vote can only come behind it in the journal.
    log.with_index(|group, index| {
        if let Some(vote) = index.vote().filter(|_| is_before_bound(index.vote_at())) {
            let (write, log, tell) = (index.begin_write(), log.clone(), tell.clone());
            let done = move |result: Result<&[Position], JournalError>| {
                settle(result, &tell, |position| {
                    log.with_index(|_, index| index.settle_vote(write, position))
                });
            };
            journal
                .journal
                .append(vec![record::vote(group, &vote)], Box::new(done))?;
            index.requeue_vote(write);
        }
        if let Some(purged) = index.purged().filter(|_| is_before_bound(index.purged_at())) {
            let (write, log, tell) = (index.begin_write(), log.clone(), tell.clone());
            let done = move |result: Result<&[Position], JournalError>| {
                settle(result, &tell, |position| {
                    log.with_index(|_, index| index.settle_purge(write, position))
                });
            };
            journal
                .journal
                .append(vec![record::purge(group, &purged)], Box::new(done))?;
            index.requeue_purge(write);
        }
        if let Some(dropped) = index.dropped().filter(|_| is_before_bound(index.dropped_at())) {
            let (write, log, tell) = (index.begin_write(), log.clone(), tell.clone());
            let done = move |result: Result<&[Position], JournalError>| {
                settle(result, &tell, |position| {
                    log.with_index(|_, index| index.settle_dropped(write, position))
                });
            };
            // Between the two no entry is written, so that none stands before the first one written again.
            let record = match dropped.whole {
                true => record::dropped(group, &dropped.floor),
                false => record::drop(group, &dropped.floor),
            };
            journal.journal.append(vec![record], Box::new(done))?;
            index.requeue_dropped(write);
        }
        Ok(())
    })
}

fn settle(
    result: Result<&[Position], JournalError>,
    tell: &mpsc::UnboundedSender<Result<Position, JournalError>>,
    note: impl FnOnce(Position),
) {
    if let Ok([position]) = result {
        note(*position);
        // The cut may have been given up meanwhile.
        let _ = tell.send(Ok(*position));
    } else if let Err(error) = result {
        let _ = tell.send(Err(error));
    }
}
