//! A verification of the books in the contract's words.

use std::time::Duration;

use docket_actors::{Discrepancy, NodeId, NotLookedAt, ShardBooks, VerifyError, VerifyReport};
use docket_proto::v1;
use tonic::Code;

use crate::{Refusal, telemetry::Telemetry};

/// When the next may begin: most take seconds.
const BUSY_RETRY: Duration = Duration::from_secs(5);

/// What a node tells of its books.
pub(crate) fn response(node: NodeId, report: VerifyReport) -> v1::VerifyBooksResponse {
    let VerifyReport {
        shards,
        not_looked_at,
        half_open,
        owned_elsewhere,
        unpaired,
        undecided,
        discrepancies,
        discrepancies_total,
    } = report;
    v1::VerifyBooksResponse {
        node_id: node.0,
        shards: shards.into_iter().map(shard).collect(),
        unverified_shards: not_looked_at.into_iter().map(unverified).collect(),
        half_open_orders: half_open,
        orders_owned_elsewhere: owned_elsewhere,
        unpaired_reservations: unpaired,
        undecided,
        discrepancies: discrepancies.into_iter().map(discrepancy).collect(),
        discrepancy_count: discrepancies_total,
    }
}

fn shard(books: ShardBooks) -> v1::ShardBooks {
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

fn unverified(shard: NotLookedAt) -> v1::UnverifiedShard {
    v1::UnverifiedShard {
        group: shard.group.to_string(),
        reason: shard.why.to_owned(),
    }
}

fn discrepancy(found: Discrepancy) -> v1::Discrepancy {
    v1::Discrepancy {
        kind: found.kind.as_str().to_owned(),
        name: found.entity,
        description: found.why,
    }
}

/// Why there is no report.
pub(crate) fn refusal(error: VerifyError, telemetry: &Telemetry) -> Refusal {
    match error {
        VerifyError::Busy => Refusal::new(Code::ResourceExhausted, "VERIFICATION_RUNNING", error.to_string())
            .quota("verifications")
            .retry(BUSY_RETRY),
        VerifyError::Stopping => Refusal::stopping(),
        VerifyError::Failed(_) => {
            let incident = telemetry.incident();
            tracing::error!(%error, incident, "the books could not be verified");
            Refusal::internal(&incident)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_while_another_is_answered_is_told_to_come_back() {
        let telemetry = Telemetry::new();
        for (error, code, reason) in [
            (VerifyError::Busy, Code::ResourceExhausted, "VERIFICATION_RUNNING"),
            (VerifyError::Stopping, Code::Unavailable, "NODE_STOPPING"),
            (
                VerifyError::Failed("it panicked".into()),
                Code::Internal,
                "INTERNAL",
            ),
        ] {
            let refusal = refusal(error, &telemetry);
            assert_eq!((refusal.code(), refusal.reason()), (code, reason));
        }
    }
}
