//! What the actors and the edge of one node ask of another's (`docket.peer.v1`, `call.proto`), as the engine's types.
//!
//! A question that is not understood is declined: nothing of it was done. So a node of another version is told, and never half obeyed.

use bytes::Bytes;
use docket_engine::{
    Amount, Currency, Customer, CustomerId, Item, Order, OrderId, OrderState, Quantity, Rejection, Sku,
    access::{ApiKeyId, Credential, Principal, Role, Scope, SessionId, Username},
    item::ReserveLine,
};
use prost::Message;

use crate::{
    NoIntern,
    parts::{state_number, state_of},
    peer as pb, refusal,
    snapshot::{self, SnapshotRecord},
};

/// The version of the questions that this program asks, and the only one that it answers.
pub const VERSION: u32 = 1;

/// What a call's body is.
pub mod kind {
    /// An order asks an item: [`Step`](super::Step).
    pub const STEP: u32 = 1;
    /// Whether orders want what is reserved for them: [`Reservation`](super::Reservation)s.
    pub const WANTED: u32 = 2;
    /// Reservations without an order may have been left.
    pub const LOOK: u32 = 3;
    /// A page of what other shards have: [`PageAsk`](super::PageAsk).
    pub const PAGE: u32 = 4;
    /// A client's call: [`Forward`](super::Forward).
    pub const FORWARD: u32 = 16;
}

/// Reservations in one question at most.
pub const RESERVATIONS_MAX: usize = 1_000;

/// Bytes that do not say what they should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCall {
    /// No message of this kind.
    #[error("it does not decode: {0}")]
    Malformed(String),
    /// Another version's.
    #[error("it is of version {0}; this program knows version {VERSION}")]
    Version(u32),
    /// A field that does not say what it should.
    #[error("its {0} has no meaning")]
    Field(&'static str),
}

/// What an order asks of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// In which the item's shard is led by whom is asked.
    pub term: u64,
    /// The order.
    pub order: OrderId,
    /// The item.
    pub sku: Sku,
    /// What is asked.
    pub action: StepAction,
}

/// What an order may ask of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepAction {
    /// To reserve.
    Reserve {
        /// The order's.
        currency: Currency,
        /// At least one.
        lines: Vec<ReserveLine>,
    },
    /// To give back.
    Release,
    /// What there is of the order, after the item panicked over it.
    GiveUp {
        /// The order's first line of the item, from 0.
        line: u16,
    },
}

/// An item's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepAnswer {
    /// It is committed.
    Done,
    /// A domain answer, which rests on nothing that is not committed.
    Rejected(Rejection),
    /// There is none.
    Failed(pb::StepFailure),
}

/// What is reserved for an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reservation {
    /// The order.
    pub order: OrderId,
    /// The item.
    pub sku: Sku,
}

/// A client's call on its way to where it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The method's path.
    pub method: String,
    /// The request.
    pub message: Bytes,
    /// Who calls; `None` for methods that need no credentials.
    pub principal: Option<Principal>,
    /// The client's IP address.
    pub address: String,
    /// W3C trace context; empty where there is none.
    pub traceparent: String,
}

impl Step {
    /// The question's bytes.
    pub fn encode(&self) -> Bytes {
        use pb::step_request::Action;
        let action = match &self.action {
            StepAction::Reserve { currency, lines } => Action::Reserve(pb::StepReserve {
                currency: currency.as_str().to_owned(),
                lines: lines.iter().map(put_line).collect(),
            }),
            StepAction::Release => Action::Release(pb::StepNothing {}),
            StepAction::GiveUp { line } => Action::GiveUp(pb::StepGiveUp {
                line: u32::from(*line),
            }),
        };
        let request = pb::StepRequest {
            version: VERSION,
            term: self.term,
            order: put_order(self.order),
            sku: self.sku.as_str().to_owned(),
            action: Some(action),
        };
        request.encode_to_vec().into()
    }

    /// The question in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes) -> Result<Self, BadCall> {
        use pb::step_request::Action;
        let request = pb::StepRequest::decode(body).map_err(malformed)?;
        known(request.version)?;
        let action = match request.action.ok_or(BadCall::Field("action"))? {
            Action::Reserve(reserve) => StepAction::Reserve {
                currency: reserve.currency.parse().map_err(|_| BadCall::Field("currency"))?,
                lines: reserve
                    .lines
                    .iter()
                    .map(take_line)
                    .collect::<Result<Vec<_>, _>>()?,
            },
            Action::Release(_) => StepAction::Release,
            Action::GiveUp(give_up) => StepAction::GiveUp {
                line: line(give_up.line)?,
            },
        };
        // What an actor is told has been checked: an order without lines of an item asks nothing of it.
        if matches!(&action, StepAction::Reserve { lines, .. } if lines.is_empty()) {
            return Err(BadCall::Field("lines"));
        }
        Ok(Self {
            term: request.term,
            order: take_order(&request.order)?,
            sku: take_sku(&request.sku)?,
            action,
        })
    }
}

impl StepAnswer {
    /// The answer's bytes.
    pub fn encode(&self) -> Bytes {
        use pb::step_reply::Result as R;
        let result = match self {
            Self::Done => R::Done(pb::StepNothing {}),
            Self::Rejected(rejection) => R::Rejected(refusal::encode(rejection).into()),
            Self::Failed(failure) => R::Failed((*failure).into()),
        };
        let reply = pb::StepReply { result: Some(result) };
        reply.encode_to_vec().into()
    }

    /// The answer in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes) -> Result<Self, BadCall> {
        use pb::step_reply::Result as R;
        let reply = pb::StepReply::decode(body).map_err(malformed)?;
        Ok(match reply.result.ok_or(BadCall::Field("result"))? {
            R::Done(_) => Self::Done,
            R::Rejected(bytes) => Self::Rejected(refusal::decode(&bytes, &NoIntern).map_err(malformed)?),
            // A failure that this version does not know is one whose outcome it does not know.
            R::Failed(failure) => Self::Failed(failure.try_into().unwrap_or_default()),
        })
    }
}

/// The question whether orders want these reservations.
pub fn encode_wanted(reservations: &[Reservation]) -> Bytes {
    let reservations = reservations.iter().map(|reservation| pb::WantedReservation {
        order: put_order(reservation.order),
        sku: reservation.sku.as_str().to_owned(),
    });
    let request = pb::WantedRequest {
        version: VERSION,
        reservations: reservations.collect(),
    };
    request.encode_to_vec().into()
}

/// The reservations of that question.
///
/// # Errors
/// Where there is none that this program knows.
pub fn decode_wanted(body: Bytes) -> Result<Vec<Reservation>, BadCall> {
    let request = pb::WantedRequest::decode(body).map_err(malformed)?;
    known(request.version)?;
    if request.reservations.len() > RESERVATIONS_MAX {
        return Err(BadCall::Field("number of reservations"));
    }
    let taken = request.reservations.iter().map(|reservation| {
        Ok(Reservation {
            order: take_order(&reservation.order)?,
            sku: take_sku(&reservation.sku)?,
        })
    });
    taken.collect()
}

/// The answer: which of them nothing wants.
pub fn encode_orphaned(orphaned: Vec<bool>) -> Bytes {
    pb::WantedReply { orphaned }.encode_to_vec().into()
}

/// The same taken apart.
///
/// # Errors
/// Where it is not the answer to a question about so many.
pub fn decode_orphaned(body: Bytes, asked: usize) -> Result<Vec<bool>, BadCall> {
    let reply = pb::WantedReply::decode(body).map_err(malformed)?;
    if reply.orphaned.len() == asked {
        Ok(reply.orphaned)
    } else {
        Err(BadCall::Field("number of answers"))
    }
}

/// The word that reservations without an order may have been left.
pub fn encode_look() -> Bytes {
    pb::LookRequest { version: VERSION }.encode_to_vec().into()
}

/// Whether it is that.
///
/// # Errors
/// Where it is not, or another version's.
pub fn decode_look(body: Bytes) -> Result<(), BadCall> {
    known(pb::LookRequest::decode(body).map_err(malformed)?.version)
}

/// A question for a page of what some shards have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageAsk {
    /// Their numbers.
    pub shards: Vec<u16>,
    /// Of what.
    pub what: PageOf,
}

/// What a page is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageOf {
    /// Orders, newest first.
    Orders {
        /// Only this customer's.
        customer: Option<CustomerId>,
        /// Only in these states; any when empty.
        states: Vec<OrderState>,
        /// Only orders below it.
        before: Option<OrderId>,
        /// At most so many.
        limit: usize,
    },
    /// Customers, by their ids.
    Customers {
        /// Behind this one.
        after: Option<CustomerId>,
        /// At most so many.
        limit: usize,
    },
    /// Items, by their skus.
    Items {
        /// Behind this one.
        after: Option<Sku>,
        /// At most so many.
        limit: usize,
    },
}

/// A page of some shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Orders.
    pub orders: Vec<Order>,
    /// Customers.
    pub customers: Vec<Customer>,
    /// Items.
    pub items: Vec<Item>,
    /// Orders below it have not been looked at; `None` at the end.
    pub next: Option<OrderId>,
}

impl PageAsk {
    /// The question's bytes.
    pub fn encode(&self) -> Bytes {
        use pb::page_request::What;
        let limit_of = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
        let what = match &self.what {
            PageOf::Orders {
                customer,
                states,
                before,
                limit,
            } => What::Orders(pb::PageOfOrders {
                customer: customer
                    .as_ref()
                    .map_or_else(String::new, |id| id.as_str().to_owned()),
                states: states.iter().map(|state| state_number(*state)).collect(),
                before: before.map(put_order).unwrap_or_default(),
                limit: limit_of(*limit),
            }),
            PageOf::Customers { after, limit } => What::Customers(pb::PageBehind {
                after: after
                    .as_ref()
                    .map_or_else(String::new, |id| id.as_str().to_owned()),
                limit: limit_of(*limit),
            }),
            PageOf::Items { after, limit } => What::Items(pb::PageBehind {
                after: after
                    .as_ref()
                    .map_or_else(String::new, |sku| sku.as_str().to_owned()),
                limit: limit_of(*limit),
            }),
        };
        let request = pb::PageRequest {
            version: VERSION,
            shards: self.shards.iter().copied().map(u32::from).collect(),
            what: Some(what),
        };
        request.encode_to_vec().into()
    }

    /// The question in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes) -> Result<Self, BadCall> {
        use pb::page_request::What;
        let request = pb::PageRequest::decode(body).map_err(malformed)?;
        known(request.version)?;
        let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let customer = |text: &str| {
            let id = optional(text).map(|id| CustomerId::new(&id)).transpose();
            id.map_err(|_| BadCall::Field("customer"))
        };
        let what = match request.what.ok_or(BadCall::Field("kind of page"))? {
            What::Orders(orders) => PageOf::Orders {
                customer: customer(&orders.customer)?,
                states: orders
                    .states
                    .iter()
                    .map(|state| state_of(u64::from(*state)).ok_or(BadCall::Field("state")))
                    .collect::<Result<_, _>>()?,
                before: take_optional_order(&orders.before)?,
                limit: orders.limit as usize,
            },
            What::Customers(behind) => PageOf::Customers {
                after: customer(&behind.after)?,
                limit: behind.limit as usize,
            },
            What::Items(behind) => PageOf::Items {
                after: optional(&behind.after).map(|sku| take_sku(&sku)).transpose()?,
                limit: behind.limit as usize,
            },
        };
        let shards = request.shards.iter().map(|shard| u16::try_from(*shard));
        let shards = shards
            .collect::<Result<_, _>>()
            .map_err(|_| BadCall::Field("shard"))?;
        Ok(Self { shards, what })
    }
}

impl Page {
    /// The page's bytes.
    pub fn encode(&self) -> Bytes {
        let mut records = Vec::new();
        self.orders
            .iter()
            .for_each(|order| snapshot::put_order(order, &mut records));
        self.customers
            .iter()
            .for_each(|customer| snapshot::put_customer(customer, &mut records));
        self.items
            .iter()
            .for_each(|item| snapshot::put_item(item, &mut records));
        let reply = pb::PageReply {
            records: records.into(),
            next: self.next.map(put_order).unwrap_or_default(),
        };
        reply.encode_to_vec().into()
    }

    /// The page in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes) -> Result<Self, BadCall> {
        let reply = pb::PageReply::decode(body).map_err(malformed)?;
        let mut page = Self {
            next: take_optional_order(&reply.next)?,
            ..Self::default()
        };
        for record in snapshot::records(&reply.records, &NoIntern) {
            match record.map_err(malformed)? {
                SnapshotRecord::Order(order) => page.orders.push(order),
                SnapshotRecord::Customer(customer) => page.customers.push(customer),
                SnapshotRecord::Item(item) => page.items.push(item),
                _ => return Err(BadCall::Field("record")),
            }
        }
        Ok(page)
    }
}

impl Forward {
    /// The call's bytes.
    pub fn encode(self) -> Bytes {
        let request = pb::ForwardRequest {
            version: VERSION,
            method: self.method,
            message: self.message,
            principal: self.principal.as_ref().map(put_principal),
            address: self.address,
            traceparent: self.traceparent,
        };
        request.encode_to_vec().into()
    }

    /// The call in these bytes.
    ///
    /// # Errors
    /// Where there is none that this program knows.
    pub fn decode(body: Bytes) -> Result<Self, BadCall> {
        let request = pb::ForwardRequest::decode(body).map_err(malformed)?;
        known(request.version)?;
        Ok(Self {
            method: request.method,
            message: request.message,
            principal: request.principal.as_ref().map(take_principal).transpose()?,
            address: request.address,
            traceparent: request.traceparent,
        })
    }
}

/// What became of a forwarded call.
pub fn encode_forwarded(result: pb::forward_reply::Result) -> Bytes {
    let reply = pb::ForwardReply { result: Some(result) };
    reply.encode_to_vec().into()
}

/// The same taken apart.
///
/// # Errors
/// Where there is nothing that this program knows.
pub fn decode_forwarded(body: Bytes) -> Result<pb::forward_reply::Result, BadCall> {
    let reply = pb::ForwardReply::decode(body).map_err(malformed)?;
    reply.result.ok_or(BadCall::Field("result"))
}

fn malformed(error: impl std::fmt::Display) -> BadCall {
    BadCall::Malformed(error.to_string())
}

fn known(version: u32) -> Result<(), BadCall> {
    if version == VERSION {
        Ok(())
    } else {
        Err(BadCall::Version(version))
    }
}

fn put_order(order: OrderId) -> Bytes {
    Bytes::copy_from_slice(&order.0.to_be_bytes())
}

fn take_order(bytes: &Bytes) -> Result<OrderId, BadCall> {
    let bytes = <[u8; 16]>::try_from(&bytes[..]).map_err(|_| BadCall::Field("order"))?;
    Ok(OrderId(u128::from_be_bytes(bytes)))
}

fn take_optional_order(bytes: &Bytes) -> Result<Option<OrderId>, BadCall> {
    match bytes.is_empty() {
        true => Ok(None),
        false => take_order(bytes).map(Some),
    }
}

fn take_sku(text: &str) -> Result<Sku, BadCall> {
    Sku::new(text).map_err(|_| BadCall::Field("sku"))
}

fn put_line(line: &ReserveLine) -> pb::StepLine {
    pb::StepLine {
        line: u32::from(line.line),
        quantity: line.quantity.0,
        unit_price: line.unit_price.0,
    }
}

fn take_line(taken: &pb::StepLine) -> Result<ReserveLine, BadCall> {
    if taken.quantity < 1 || taken.unit_price < 0 {
        return Err(BadCall::Field("quantity or price"));
    }
    Ok(ReserveLine {
        line: line(taken.line)?,
        quantity: Quantity(taken.quantity),
        unit_price: Amount(taken.unit_price),
    })
}

fn line(number: u32) -> Result<u16, BadCall> {
    u16::try_from(number).map_err(|_| BadCall::Field("line"))
}

fn put_principal(principal: &Principal) -> pb::ForwardPrincipal {
    use pb::forward_principal::Credential as C;
    let credential = match principal.credential {
        Credential::Session(SessionId(id)) => C::Session(Bytes::copy_from_slice(&id)),
        Credential::ApiKey(ApiKeyId(id)) => C::ApiKey(Bytes::copy_from_slice(&id)),
    };
    pb::ForwardPrincipal {
        account: principal.account.as_str().to_owned(),
        role: principal.role.as_str().to_owned(),
        customer: principal
            .customer
            .as_ref()
            .map_or_else(String::new, |customer| customer.as_str().to_owned()),
        scopes: principal
            .scopes
            .iter()
            .map(|scope| scope.as_str().to_owned())
            .collect(),
        credential: Some(credential),
    }
}

fn take_principal(taken: &pb::ForwardPrincipal) -> Result<Principal, BadCall> {
    use pb::forward_principal::Credential as C;
    let role = Role::ALL.into_iter().find(|role| role.as_str() == taken.role);
    let customer = match taken.customer.as_str() {
        "" => None,
        id => Some(CustomerId::new(id).map_err(|_| BadCall::Field("customer"))?),
    };
    // A scope that is not known here opens nothing here.
    let scopes = Scope::ALL
        .into_iter()
        .filter(|scope| taken.scopes.iter().any(|name| name == scope.as_str()));
    let credential = match taken.credential.as_ref().ok_or(BadCall::Field("credential"))? {
        C::Session(id) => id[..].try_into().ok().map(SessionId).map(Credential::Session),
        C::ApiKey(id) => id[..].try_into().ok().map(ApiKeyId).map(Credential::ApiKey),
    };
    Ok(Principal {
        account: Username::new(&taken.account).map_err(|_| BadCall::Field("account"))?,
        role: role.ok_or(BadCall::Field("role"))?,
        customer,
        scopes: scopes.collect(),
        credential: credential.ok_or(BadCall::Field("credential"))?,
    })
}

#[cfg(test)]
mod tests {
    use docket_engine::access::Scopes;

    use super::*;

    fn sku(text: &str) -> Sku {
        Sku::new(text).unwrap()
    }

    #[test]
    fn questions_and_answers_arrive_as_they_were_sent() {
        let lines = vec![ReserveLine {
            line: 3,
            quantity: Quantity(2),
            unit_price: Amount(0),
        }];
        let actions = [
            StepAction::Reserve {
                currency: "EUR".parse().unwrap(),
                lines,
            },
            StepAction::Release,
            StepAction::GiveUp { line: 7 },
        ];
        for action in actions {
            let step = Step {
                term: 9,
                order: OrderId(1 << 127),
                sku: sku("tea"),
                action,
            };
            assert_eq!(Step::decode(step.encode()).unwrap(), step);
        }
        let rejection = Rejection::InsufficientStock {
            line: 2,
            sku: sku("tea"),
            wanted: Quantity(3),
            available: Quantity(1),
        };
        for answer in [
            StepAnswer::Done,
            StepAnswer::Rejected(rejection),
            StepAnswer::Failed(pb::StepFailure::Panicked),
        ] {
            assert_eq!(StepAnswer::decode(answer.encode()).unwrap(), answer);
        }
        let asked = [1, 2].map(|n| Reservation {
            order: OrderId(n),
            sku: sku("tea"),
        });
        assert_eq!(decode_wanted(encode_wanted(&asked)).unwrap(), asked);
        let orphaned = vec![true, false];
        assert_eq!(
            decode_orphaned(encode_orphaned(orphaned.clone()), 2).unwrap(),
            orphaned
        );
        assert_eq!(
            decode_orphaned(encode_orphaned(orphaned), 3),
            Err(BadCall::Field("number of answers"))
        );
        decode_look(encode_look()).unwrap();
        for what in [
            PageOf::Orders {
                customer: Some(CustomerId::new("ada").unwrap()),
                states: vec![OrderState::Pending, OrderState::Rejected],
                before: Some(OrderId(7)),
                limit: 9,
            },
            PageOf::Customers {
                after: None,
                limit: 1,
            },
            PageOf::Items {
                after: Some(sku("tea")),
                limit: 2,
            },
        ] {
            let shards = vec![0, 7];
            let ask = PageAsk { shards, what };
            assert_eq!(PageAsk::decode(ask.encode()).unwrap(), ask);
        }
        let page = Page {
            next: Some(OrderId(3)),
            ..Page::default()
        };
        assert_eq!(Page::decode(page.encode()).unwrap(), page);
    }

    #[test]
    fn a_forwarded_call_keeps_who_made_it() {
        for (role, customer, credential) in [
            (Role::Admin, None, Credential::ApiKey(ApiKeyId([7; 12]))),
            (
                Role::Customer,
                Some("ada"),
                Credential::Session(SessionId([8; 16])),
            ),
        ] {
            let forward = Forward {
                method: "/docket.v1.OrderService/GetOrder".into(),
                message: Bytes::from_static(b"message"),
                principal: Some(Principal {
                    account: Username::new("root").unwrap(),
                    role,
                    customer: customer.map(|id| CustomerId::new(id).unwrap()),
                    scopes: Scopes::of(&[Scope::Read, Scope::Operations]),
                    credential,
                }),
                address: "::1".into(),
                traceparent: String::new(),
            };
            assert_eq!(Forward::decode(forward.clone().encode()).unwrap(), forward);
        }
    }

    #[test]
    fn what_another_version_asks_is_not_half_understood() {
        let request = pb::StepRequest {
            version: 2,
            ..pb::StepRequest::default()
        };
        let refused = Step::decode(request.encode_to_vec().into()).unwrap_err();
        assert_eq!(refused, BadCall::Version(2));
        let request = pb::StepRequest {
            version: VERSION,
            order: put_order(OrderId(1)),
            sku: "tea".into(),
            ..pb::StepRequest::default()
        };
        let refused = Step::decode(request.encode_to_vec().into()).unwrap_err();
        assert_eq!(refused, BadCall::Field("action"));
    }
}
