//! A verification of the books in the contract's words.

use std::time::Duration;

use docket_actors::{
    Discrepancy, DiscrepancyKind, GroupId, NodeId, NotLookedAt, ShardBooks, VerifyError, VerifyReport,
    VerifyStatus,
};
use docket_proto::v1;
use tonic::Code;

use crate::{Refusal, status::whole_ms};

/// When the next may begin: most take seconds.
const BUSY_RETRY: Duration = Duration::from_secs(5);

/// What a node tells of its books.
pub(crate) fn response(node: NodeId, report: &VerifyReport) -> v1::VerifyBooksResponse {
    let VerifyReport {
        shards,
        not_looked_at,
        half_open,
        owned_elsewhere,
        unpaired,
        undecided,
        due_payments,
        balances_compared,
        discrepancies,
        discrepancies_total,
        by_kind: _,
        by_shard: _,
    } = report;
    v1::VerifyBooksResponse {
        node_id: node.0,
        shards: shards.iter().map(shard).collect(),
        unverified_shards: not_looked_at.iter().map(unverified).collect(),
        half_open_orders: *half_open,
        orders_owned_elsewhere: *owned_elsewhere,
        unpaired_reservations: *unpaired,
        undecided: *undecided,
        discrepancies: discrepancies.iter().map(discrepancy).collect(),
        discrepancy_count: *discrepancies_total,
        due_payments: *due_payments,
        compared_balances: *balances_compared,
    }
}

/// What a node's status says of them.
pub(crate) fn status(books: &VerifyStatus) -> v1::BooksStatus {
    let shown = v1::BooksStatus {
        running: books.is_running,
        giving_way: books.gives_way,
        ..Default::default()
    };
    let Some(last) = &books.last else { return shown };
    let report = &last.report;
    let sum = |of: fn(&ShardBooks) -> u64| report.shards.iter().map(of).sum();
    let kind = |(kind, count): (&DiscrepancyKind, &u64)| v1::DiscrepancyCount {
        kind: kind.as_str().to_owned(),
        count: *count,
    };
    let group = |(group, count): (&GroupId, &u64)| v1::GroupDiscrepancies {
        group: group.to_string(),
        discrepancy_count: *count,
    };
    v1::BooksStatus {
        start_time: Some(last.begun.into()),
        duration: prost_types::Duration::try_from(whole_ms(last.took)).ok(),
        by_itself: last.by_itself,
        shards: report.shards.len() as u64,
        unverified_shards: report.not_looked_at.len() as u64,
        customers: sum(|shard| shard.customers),
        items: sum(|shard| shard.items),
        orders: sum(|shard| shard.orders),
        reservations: sum(|shard| shard.reservations),
        undecided: report.undecided,
        discrepancy_count: books.standing.values().sum(),
        discrepancies: books.standing.iter().map(kind).collect(),
        groups: books.by_group.iter().map(group).collect(),
        ..shown
    }
}

fn shard(books: &ShardBooks) -> v1::ShardBooks {
    v1::ShardBooks {
        group: books.group.to_string(),
        leader: books.led,
        applied_index: books.applied_index,
        customers: books.customers,
        items: books.items,
        orders: books.orders,
        reservations: books.reservations,
        changes: books.changes,
        archived_orders: books.archived,
    }
}

fn unverified(shard: &NotLookedAt) -> v1::UnverifiedShard {
    v1::UnverifiedShard {
        group: shard.group.to_string(),
        reason: shard.why.to_owned(),
    }
}

fn discrepancy(found: &Discrepancy) -> v1::Discrepancy {
    v1::Discrepancy {
        kind: found.kind.as_str().to_owned(),
        name: found.entity.clone(),
        description: found.why.clone(),
    }
}

/// Why there is no report.
pub(crate) fn refusal(error: VerifyError) -> Refusal {
    match error {
        VerifyError::Busy => Refusal::new(Code::ResourceExhausted, "VERIFICATION_RUNNING", error.to_string())
            .quota("verifications")
            .retry(BUSY_RETRY),
        VerifyError::Stopping => Refusal::stopping(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use docket_actors::Verification;

    use super::*;

    #[test]
    fn a_node_tells_what_stands_and_not_only_what_its_last_verification_found() {
        let books = VerifyStatus {
            last: Some(Verification {
                begun: std::time::UNIX_EPOCH,
                took: Duration::from_secs(1),
                by_itself: true,
                // Of the shard that is wrong it says nothing.
                report: Arc::new(VerifyReport::default()),
            }),
            standing: [(DiscrepancyKind::HeldSum, 2), (DiscrepancyKind::IndexDiffers, 1)].into(),
            ..VerifyStatus::default()
        };
        let shown = status(&books);
        let kinds: Vec<_> = shown
            .discrepancies
            .iter()
            .map(|it| (&*it.kind, it.count))
            .collect();
        assert_eq!(kinds, [("HELD_SUM", 2), ("INDEX_DIFFERS", 1)]);
        assert_eq!(shown.discrepancy_count, 3);
    }

    #[test]
    fn who_asks_while_another_is_answered_is_told_to_come_back() {
        for (error, code, reason) in [
            (VerifyError::Busy, Code::ResourceExhausted, "VERIFICATION_RUNNING"),
            (VerifyError::Stopping, Code::Unavailable, "NODE_STOPPING"),
        ] {
            let refusal = refusal(error);
            assert_eq!((refusal.code(), refusal.reason()), (code, reason));
        }
    }
}
