//! One attempt to deliver one change.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docket_actors::{Call, CallError};
use docket_engine::{
    Change, Order, Rejection,
    webhook::{Attempt, DeliveryFailure, WebhookId},
};
use tokio::time::sleep;

use super::Done;
use crate::{
    NotDelivered,
    deliverer::{Due, Shared},
    telemetry,
};

/// When a delivery is looked for again that could not begin, since its order's shard cannot be read.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Delivers one change: of the order as it is given, or as it is read anew.
pub(super) async fn deliver(
    shared: Arc<Shared>,
    webhook: WebhookId,
    due: Due,
    order: Option<Order>,
    run: u64,
) -> Done {
    let is_fresh = order.is_some();
    let attempt = attempt(&shared, webhook, due, order).await;
    Done {
        due,
        attempt,
        is_fresh,
        run,
    }
}

async fn attempt(shared: &Shared, webhook: WebhookId, due: Due, order: Option<Order>) -> Option<Attempt> {
    let change = Change {
        kind: due.kind,
        version: due.id.version,
        at: due.at,
    };
    let order = match order {
        Some(order) => Ok(order),
        None => match shared.docket.get_order(Call::default(), due.id.order).await {
            Ok(order) => Ok(order.after(&change)),
            Err(CallError::Rejected(Rejection::OrderNotFound { .. })) => Err(DeliveryFailure::NotReadable),
            Err(_) => {
                sleep(READ_AGAIN).await;
                return None;
            }
        },
    };
    let body = order.and_then(|order| {
        let body = shared.events.of_change(due.id, &change, &order);
        body.map_err(|error| {
            tracing::error!(%error, order = %due.id.order, "an event cannot be made");
            DeliveryFailure::NotReadable
        })
    });
    let body = match body {
        Ok(body) => body,
        Err(failure) => return Some(failed(failure, None)),
    };
    let _place = shared.places.take(webhook).await?;
    let now = (shared.clock)();
    // As it is now: the URL and the secrets may have changed while this waited.
    let (url, secrets) = shared.docket.webhooks().read(|state| {
        let webhook = state.webhook(webhook)?;
        Some((Arc::clone(&webhook.url), webhook.secrets(now).collect()))
    })?;
    let begun = Instant::now();
    let sent = shared
        .sender()
        .deliver(&url, &due.id.to_string(), body, secrets, now)
        .await;
    let seconds = begun.elapsed().as_secs_f64();
    shared.places.note(webhook, sent.is_ok());
    Some(match sent {
        Ok(_) => {
            telemetry::tried("delivered", seconds);
            Attempt::Delivered
        }
        Err(NotDelivered { failure, retry_after }) => {
            telemetry::tried(outcome(failure), seconds);
            failed(failure, retry_after)
        }
    })
}

fn failed(failure: DeliveryFailure, retry_after: Option<Duration>) -> Attempt {
    Attempt::Failed {
        failure,
        retry_after_us: retry_after.map(|wait| i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)),
        // Where there is no chance to be had, what failed together comes back together.
        jitter: getrandom::u32().map_or(0, |chance| chance as u16),
    }
}

/// A failure as a metric's label has it.
fn outcome(failure: DeliveryFailure) -> &'static str {
    match failure {
        DeliveryFailure::Status(_) => "refused",
        DeliveryFailure::TimedOut => "timed_out",
        DeliveryFailure::NotResolved => "not_resolved",
        DeliveryFailure::NotAllowed => "not_allowed",
        DeliveryFailure::NotConnected => "not_connected",
        DeliveryFailure::NotTrusted => "not_trusted",
        DeliveryFailure::NotHttp => "not_http",
        DeliveryFailure::NotReadable => "not_readable",
    }
}
