//! What facts and snapshots of webhooks have in common.

use std::sync::Arc;

use docket_engine::{
    ChangeKind, CustomerId, OrderId, Request, Time, Version,
    webhook::{
        DeadLetter, Deferred, DeliveryFailure, DeliveryId, FeedPositions, OldSecret, PauseCause, Webhook,
        WebhookFilter, WebhookId, WebhookSecret, limits::SHARDS_MAX,
    },
};

use crate::{
    access::AccessDecodeError,
    journal as wire,
    parts::{state_number, state_of},
};

/// A status that was answered is this much more as a failure's number.
const STATUS: u32 = 1_000;

pub(super) fn webhook_to_wire(webhook: &Webhook) -> wire::WebhookAsOfNow {
    let old_secrets = webhook.old_secrets.iter().map(|old| wire::WebhookOldSecret {
        secret: old.secret.0.to_vec(),
        expires: old.expires.0,
    });
    wire::WebhookAsOfNow {
        id: webhook.id.0.to_vec(),
        secret: webhook.secret.0.to_vec(),
        old_secrets: old_secrets.collect(),
        url: webhook.url.to_string(),
        description: webhook.description.to_string(),
        filter: Some(filter_to_wire(&webhook.filter)),
        positions: Some(positions_to_wire(&webhook.positions)),
        paused: cause_number(webhook.paused),
        revision: webhook.revision,
        epoch: webhook.epoch,
        since: webhook.since.map(|time| time.0),
        created: webhook.created.0,
        updated: webhook.updated.0,
        dead_forgotten: webhook.dead_forgotten,
        delivered: webhook.delivered,
        last_delivered: webhook.last_delivered.map(|time| time.0),
        last_failed: webhook.last_failure.map(|(time, _)| time.0),
        last_failure: webhook.last_failure.map_or(0, |(_, why)| failure_number(why)),
        gaps: webhook.gaps,
        last_gap: webhook.last_gap.map(|time| time.0),
    }
}

pub(super) fn webhook_of(webhook: wire::WebhookAsOfNow) -> Result<Webhook, AccessDecodeError> {
    let old_secrets = webhook.old_secrets.iter().map(|old| {
        Ok(OldSecret {
            secret: secret(&old.secret)?,
            expires: Time(old.expires),
        })
    });
    let last_failure = match webhook.last_failed {
        Some(at) => Some((Time(at), failure(webhook.last_failure)?)),
        None => None,
    };
    Ok(Webhook {
        id: webhook_id(&webhook.id)?,
        url: webhook.url.into(),
        description: webhook.description.into(),
        filter: filter(webhook.filter)?,
        paused: cause(webhook.paused)?,
        secret: secret(&webhook.secret)?,
        old_secrets: old_secrets.collect::<Result<_, AccessDecodeError>>()?,
        revision: webhook.revision,
        epoch: webhook.epoch,
        positions: positions(webhook.positions)?,
        since: webhook.since.map(Time),
        created: Time(webhook.created),
        updated: Time(webhook.updated),
        deferred: Default::default(),
        dead: Default::default(),
        dead_forgotten: webhook.dead_forgotten,
        delivered: webhook.delivered,
        last_delivered: webhook.last_delivered.map(Time),
        last_failure,
        gaps: webhook.gaps,
        last_gap: webhook.last_gap.map(Time),
    })
}

pub(super) fn mark_to_wire(request: &Request, webhook: WebhookId, at: Time) -> wire::WebhookRequestMark {
    wire::WebhookRequestMark {
        key: request.key.to_be_bytes().to_vec(),
        fingerprint: request.fingerprint,
        webhook: webhook.0.to_vec(),
        time: at.0,
    }
}

pub(super) fn mark_of(
    mark: &wire::WebhookRequestMark,
) -> Result<(Request, WebhookId, Time), AccessDecodeError> {
    let request = Request {
        key: u128::from_be_bytes(array(&mark.key, "key")?),
        fingerprint: mark.fingerprint,
    };
    Ok((request, webhook_id(&mark.webhook)?, Time(mark.time)))
}

pub(super) fn filter_to_wire(filter: &WebhookFilter) -> wire::WebhookFilter {
    wire::WebhookFilter {
        customer: filter
            .customer
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        states: filter.states.iter().map(|state| state_number(*state)).collect(),
        kinds: filter.kinds.iter().map(|kind| kind.number().into()).collect(),
    }
}

pub(super) fn filter(filter: Option<wire::WebhookFilter>) -> Result<WebhookFilter, AccessDecodeError> {
    let filter = filter.ok_or_else(|| unknown("filter"))?;
    let customer = match filter.customer.as_str() {
        "" => None,
        text => Some(CustomerId::new(text).map_err(|_| unknown("customer"))?),
    };
    let states = filter
        .states
        .iter()
        .map(|number| state_of((*number).into()).ok_or_else(|| unknown("states")));
    Ok(WebhookFilter {
        customer,
        states: states.collect::<Result<_, _>>()?,
        kinds: filter
            .kinds
            .iter()
            .map(|number| kind(*number))
            .collect::<Result<_, _>>()?,
    })
}

pub(super) fn positions_to_wire(positions: &FeedPositions) -> wire::WebhookPositions {
    let numbers = positions
        .0
        .iter()
        .flat_map(|(index, ordinal)| [*index, u64::from(*ordinal)]);
    wire::WebhookPositions {
        numbers: numbers.collect(),
    }
}

pub(super) fn positions(
    positions: Option<wire::WebhookPositions>,
) -> Result<FeedPositions, AccessDecodeError> {
    let numbers = positions.ok_or_else(|| unknown("positions"))?.numbers;
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > SHARDS_MAX {
        return Err(unknown("positions"));
    }
    let of_shard = |[index, ordinal]: &[u64; 2]| {
        let ordinal = u32::try_from(*ordinal).map_err(|_| unknown("positions"))?;
        Ok((*index, ordinal))
    };
    let pairs: Arc<[(u64, u32)]> = pairs
        .iter()
        .map(of_shard)
        .collect::<Result<_, AccessDecodeError>>()?;
    Ok(FeedPositions(pairs))
}

pub(super) fn delivery_to_wire(id: DeliveryId) -> wire::WebhookDelivery {
    let OrderId(order) = id.order;
    wire::WebhookDelivery {
        order: order.to_be_bytes().to_vec(),
        version: id.version.0,
    }
}

pub(super) fn delivery(id: Option<wire::WebhookDelivery>) -> Result<DeliveryId, AccessDecodeError> {
    let id = id.ok_or_else(|| unknown("delivery"))?;
    Ok(DeliveryId {
        order: OrderId(u128::from_be_bytes(array(&id.order, "order")?)),
        version: Version(id.version),
    })
}

pub(super) fn deferred_to_wire(id: DeliveryId, deferred: &Deferred) -> wire::WebhookDeferred {
    wire::WebhookDeferred {
        delivery: Some(delivery_to_wire(id)),
        kind: deferred.kind.number().into(),
        at: deferred.at.0,
        first: deferred.first.0,
        failures: deferred.failures,
        due: deferred.due.0,
        failure: failure_number(deferred.failure),
    }
}

pub(super) fn deferred_of(
    deferred: wire::WebhookDeferred,
) -> Result<(DeliveryId, Deferred), AccessDecodeError> {
    let id = delivery(deferred.delivery)?;
    let deferred = Deferred {
        kind: kind(deferred.kind)?,
        at: Time(deferred.at),
        first: Time(deferred.first),
        failures: deferred.failures,
        due: Time(deferred.due),
        failure: failure(deferred.failure)?,
    };
    Ok((id, deferred))
}

pub(super) fn dead_to_wire(id: DeliveryId, letter: &DeadLetter) -> wire::WebhookDeadLetter {
    wire::WebhookDeadLetter {
        delivery: Some(delivery_to_wire(id)),
        kind: letter.kind.number().into(),
        at: letter.at.0,
        first: letter.first.0,
        failures: letter.failures,
        died: letter.died.0,
        failure: failure_number(letter.failure),
    }
}

pub(super) fn dead_of(
    letter: wire::WebhookDeadLetter,
) -> Result<(DeliveryId, DeadLetter), AccessDecodeError> {
    let id = delivery(letter.delivery)?;
    let letter = DeadLetter {
        kind: kind(letter.kind)?,
        at: Time(letter.at),
        first: Time(letter.first),
        failures: letter.failures,
        died: Time(letter.died),
        failure: failure(letter.failure)?,
    };
    Ok((id, letter))
}

pub(super) fn cause_number(cause: Option<PauseCause>) -> u32 {
    match cause {
        None => 0,
        Some(PauseCause::Asked) => 1,
        Some(PauseCause::Gone) => 2,
    }
}

pub(super) fn cause(number: u32) -> Result<Option<PauseCause>, AccessDecodeError> {
    match number {
        0 => Ok(None),
        1 => Ok(Some(PauseCause::Asked)),
        2 => Ok(Some(PauseCause::Gone)),
        _ => Err(unknown("paused")),
    }
}

fn failure_number(failure: DeliveryFailure) -> u32 {
    match failure {
        DeliveryFailure::TimedOut => 1,
        DeliveryFailure::NotResolved => 2,
        DeliveryFailure::NotAllowed => 3,
        DeliveryFailure::NotConnected => 4,
        DeliveryFailure::NotTrusted => 5,
        DeliveryFailure::NotHttp => 6,
        DeliveryFailure::NotReadable => 7,
        DeliveryFailure::Status(status) => STATUS + u32::from(status),
    }
}

fn failure(number: u32) -> Result<DeliveryFailure, AccessDecodeError> {
    Ok(match number {
        1 => DeliveryFailure::TimedOut,
        2 => DeliveryFailure::NotResolved,
        3 => DeliveryFailure::NotAllowed,
        4 => DeliveryFailure::NotConnected,
        5 => DeliveryFailure::NotTrusted,
        6 => DeliveryFailure::NotHttp,
        7 => DeliveryFailure::NotReadable,
        _ => {
            let status = number
                .checked_sub(STATUS)
                .and_then(|status| u16::try_from(status).ok());
            DeliveryFailure::Status(status.ok_or_else(|| unknown("failure"))?)
        }
    })
}

fn kind(number: u32) -> Result<ChangeKind, AccessDecodeError> {
    ChangeKind::from_number(number.into()).ok_or_else(|| unknown("kind"))
}

pub(super) fn webhook_id(bytes: &[u8]) -> Result<WebhookId, AccessDecodeError> {
    array(bytes, "webhook").map(WebhookId)
}

pub(super) fn secret(bytes: &[u8]) -> Result<WebhookSecret, AccessDecodeError> {
    array(bytes, "secret").map(WebhookSecret)
}

fn array<const N: usize>(bytes: &[u8], field: &'static str) -> Result<[u8; N], AccessDecodeError> {
    bytes.try_into().map_err(|_| unknown(field))
}

pub(super) fn unknown(field: &'static str) -> AccessDecodeError {
    AccessDecodeError::Field { field }
}
