//! The changes of orders that other nodes' shards have.

use std::time::Duration;

use bytes::Bytes;
use docket_engine::{Change, ChangeKind, CustomerId, Order, OrderState, Time};
use prost::Message;

use super::{BadCall, VERSION, known, malformed};
use crate::{
    NoIntern,
    feed::{FeedFrom, FeedPosition},
    parts, peer as pb,
    peer::changes_from::From as Wire,
    snapshot::{self, SnapshotRecord},
};

/// The question which changes there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangesAsk {
    /// Shards, and from where on.
    pub shards: Vec<(u16, FeedFrom)>,
    /// Only this customer's.
    pub customer: Option<CustomerId>,
    /// Only changes that leave an order in one of these states; any when empty.
    pub states: Vec<OrderState>,
    /// So many at most.
    pub limit: usize,
    /// How long to wait for one where there is none.
    pub wait: Duration,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Each shard that was asked for, in the same order.
    pub shards: Vec<ShardChanges>,
}

/// Changes of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardChanges {
    /// The shard.
    pub shard: u16,
    /// Where it goes on; or why it does not.
    pub next: Result<FeedPosition, NoChanges>,
    /// What happened, each with its order as it was after it.
    pub changes: Vec<(Change, Order)>,
}

/// Why a shard has no changes from a position on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoChanges {
    /// They are not kept any more.
    TooOld,
    /// There is no such position.
    Unknown,
}

impl ChangesAsk {
    /// The question's bytes.
    pub fn encode(&self) -> Bytes {
        let shards = self.shards.iter().map(|(shard, from)| pb::ChangesFrom {
            shard: (*shard).into(),
            from: Some(match from {
                FeedFrom::At(at) => Wire::At(put_position(*at)),
                FeedFrom::Now => Wire::Now(pb::StepNothing {}),
                FeedFrom::Oldest => Wire::Oldest(pb::StepNothing {}),
            }),
        });
        let request = pb::ChangesRequest {
            version: VERSION,
            shards: shards.collect(),
            customer: self
                .customer
                .as_ref()
                .map(|id| id.as_str().to_owned())
                .unwrap_or_default(),
            states: parts::told_states(&self.states).collect(),
            limit: u32::try_from(self.limit).unwrap_or(u32::MAX),
            wait_ms: u32::try_from(self.wait.as_millis()).unwrap_or(u32::MAX),
        };
        request.encode_to_vec().into()
    }

    /// The question in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes) -> Result<Self, BadCall> {
        let request = pb::ChangesRequest::decode(body).map_err(malformed)?;
        known(request.version)?;
        let customer = match request.customer.is_empty() {
            true => None,
            false => Some(CustomerId::new(&request.customer).map_err(|_| BadCall::Field("customer"))?),
        };
        let states = request
            .states
            .iter()
            .map(|state| parts::state_of((*state).into()));
        let shards = request.shards.iter().map(|asked| {
            let shard = u16::try_from(asked.shard).map_err(|_| BadCall::Field("shard"))?;
            let from = match &asked.from {
                Some(Wire::At(at)) => FeedFrom::At(take_position(at)),
                Some(Wire::Now(_)) => FeedFrom::Now,
                Some(Wire::Oldest(_)) => FeedFrom::Oldest,
                None => return Err(BadCall::Field("from")),
            };
            Ok((shard, from))
        });
        Ok(Self {
            shards: shards.collect::<Result<_, _>>()?,
            customer,
            states: parts::meant_states(states.collect::<Option<_>>().ok_or(BadCall::Field("state"))?),
            limit: request.limit as usize,
            wait: Duration::from_millis(request.wait_ms.into()),
        })
    }
}

impl Changes {
    /// The answer's bytes.
    pub fn encode(&self) -> Bytes {
        let mut orders = Vec::new();
        let shards = self.shards.iter().map(|of| {
            let changes = of.changes.iter().map(|(change, order)| {
                snapshot::put_order(order, &mut orders);
                pb::ChangeOf {
                    kind: change.kind.number().into(),
                    at: change.at.0,
                }
            });
            pb::ChangesOf {
                changes: changes.collect(),
                shard: of.shard.into(),
                next: of.next.ok().map(put_position),
                too_old: of.next == Err(NoChanges::TooOld),
                unknown: of.next == Err(NoChanges::Unknown),
            }
        });
        let shards = shards.collect();
        let reply = pb::ChangesReply {
            shards,
            orders: orders.into(),
        };
        reply.encode_to_vec().into()
    }

    /// The answer in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes) -> Result<Self, BadCall> {
        let reply = pb::ChangesReply::decode(body).map_err(malformed)?;
        let mut orders = snapshot::records(&reply.orders, &NoIntern);
        let mut order = || match orders.next() {
            Some(Ok(SnapshotRecord::Order(order))) => Ok(order),
            Some(Err(error)) => Err(malformed(error)),
            Some(Ok(_)) | None => Err(BadCall::Field("orders")),
        };
        let shards = reply.shards.iter().map(|of| {
            let changes = of.changes.iter().map(|change| {
                let order = order()?;
                let kind = ChangeKind::from_number(change.kind.into());
                let change = Change {
                    kind: kind.ok_or(BadCall::Field("kind"))?,
                    version: order.version,
                    at: Time(change.at),
                };
                Ok((change, order))
            });
            let changes = changes.collect::<Result<_, _>>()?;
            let next = match &of.next {
                _ if of.too_old => Err(NoChanges::TooOld),
                _ if of.unknown => Err(NoChanges::Unknown),
                Some(next) => Ok(take_position(next)),
                None => return Err(BadCall::Field("next")),
            };
            Ok(ShardChanges {
                shard: u16::try_from(of.shard).map_err(|_| BadCall::Field("shard"))?,
                next,
                changes,
            })
        });
        Ok(Self {
            shards: shards.collect::<Result<_, _>>()?,
        })
    }
}

fn put_position(position: FeedPosition) -> pb::FeedAt {
    pb::FeedAt {
        index: position.index,
        ordinal: position.ordinal,
    }
}

fn take_position(at: &pb::FeedAt) -> FeedPosition {
    FeedPosition {
        index: at.index,
        ordinal: at.ordinal,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use docket_engine::{Amount, Line, OrderEvent, OrderId, Quantity, Sku, Version};

    use super::*;

    #[test]
    fn changes_arrive_as_they_were_asked_for_and_told() {
        let at = FeedPosition { index: 7, ordinal: 3 };
        let ask = ChangesAsk {
            shards: vec![(3, FeedFrom::At(at)), (4, FeedFrom::Now), (9, FeedFrom::Oldest)],
            customer: Some(CustomerId::new("ada").unwrap()),
            states: vec![OrderState::Confirmed],
            limit: 10,
            wait: Duration::from_millis(1_500),
        };
        assert_eq!(ChangesAsk::decode(ask.encode()), Ok(ask));
        let placed = OrderEvent::Placed {
            customer: CustomerId::new("ada").unwrap(),
            currency: "EUR".parse().unwrap(),
            lines: Arc::new([Line {
                sku: Sku::new("tea").unwrap(),
                quantity: Quantity(1),
                unit_price: Amount(1),
            }]),
            provider: None,
        };
        let order = Order::create(OrderId(9), &placed, Time(1)).unwrap();
        let change = Change {
            kind: ChangeKind::Placed,
            version: Version(1),
            at: Time(1),
        };
        let told = Changes {
            shards: vec![
                ShardChanges {
                    shard: 3,
                    next: Ok(at.next()),
                    changes: vec![(change, order)],
                },
                ShardChanges {
                    shard: 4,
                    next: Err(NoChanges::TooOld),
                    changes: Vec::new(),
                },
                ShardChanges {
                    shard: 9,
                    next: Err(NoChanges::Unknown),
                    changes: Vec::new(),
                },
            ],
        };
        assert_eq!(Changes::decode(told.encode()), Ok(told.clone()));
        let mut cut = told.encode();
        cut.truncate(cut.len() - 1);
        assert!(Changes::decode(cut).is_err());
    }

    #[test]
    fn what_is_no_question_is_refused() {
        assert!(ChangesAsk::decode(Bytes::from_static(&[8, 2])).is_err());
        let nowhere = pb::ChangesRequest {
            version: VERSION,
            shards: vec![pb::ChangesFrom { shard: 1, from: None }],
            ..pb::ChangesRequest::default()
        };
        let nowhere = ChangesAsk::decode(nowhere.encode_to_vec().into());
        assert_eq!(nowhere, Err(BadCall::Field("from")));
    }
}
