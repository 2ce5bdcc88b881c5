//! [`Fact`]s in the journal's bytes: the `fact` of `docket.journal.v1.Event`, whose field number says which it is.

mod backorder;
mod edit;
mod life;
mod payment;
mod plan;

use docket_engine::{
    Amount, CustomerEvent, CustomerId, Fact, ItemEvent, OrderEvent, OrderId, ProviderName, Quantity, Sku,
};

use crate::{
    parts::{self, Intern, required},
    refusal,
    wire::{self, DecodeError, Field, fields},
};

const ORDER_PLACED: u32 = 2;
const ORDER_CONFIRMED: u32 = 3;
const ORDER_REJECTED: u32 = 4;
const ORDER_CANCELLED: u32 = 5;
const ORDER_RELEASED: u32 = 6;
const CUSTOMER_CREATED: u32 = 7;
const CUSTOMER_UPDATED: u32 = 8;
const CUSTOMER_CREDITED: u32 = 9;
const CREDIT_HELD: u32 = 10;
const CREDIT_RELEASED: u32 = 11;
const ITEM_CREATED: u32 = 12;
const ITEM_UPDATED: u32 = 13;
const STOCK_ADJUSTED: u32 = 14;
const STOCK_RESERVED: u32 = 15;
const STOCK_RELEASED: u32 = 16;
// 17 is the event's decider.
const ORDER_HELD: u32 = 18;
const ORDER_HOLD_RELEASED: u32 = 19;
const ORDER_SHIPPED: u32 = 20;
const ORDER_DELIVERED: u32 = 21;
const ORDER_LINES_CANCELLED: u32 = 22;
const ORDER_CONSUMED: u32 = 23;
const CREDIT_CAPTURED: u32 = 24;
const STOCK_CONSUMED: u32 = 25;
const ORDER_RETURN_REQUESTED: u32 = 26;
const ORDER_RETURN_MOVED: u32 = 27;
const ORDER_RESTOCKED: u32 = 28;
const ORDER_REFUNDED: u32 = 29;
const CREDIT_REFUNDED: u32 = 30;
const STOCK_RESTOCKED: u32 = 31;
const ORDER_RESERVED: u32 = 32;
const ORDER_AUTHORIZED: u32 = 33;
const ORDER_EXPIRED: u32 = 34;
const ORDER_PAYMENT_ANSWERED: u32 = 35;
const ORDER_PAYMENT_RETRIED: u32 = 36;
const ORDER_EDIT_BEGUN: u32 = 40;
const ORDER_EDITED: u32 = 41;
const ORDER_EDIT_REFUSED: u32 = 42;
const STOCK_RAISED: u32 = 43;
const ORDER_CLOSED: u32 = 44;
const ORDER_ARCHIVED: u32 = 45;
const ORDER_FULFILMENT_OPENED: u32 = 48;
const ORDER_FULFILMENT_SHIPPED: u32 = 49;
const ORDER_FULFILMENT_CANCELLED: u32 = 50;
const ORDER_BACKORDERED: u32 = 51;
const ORDER_BACKORDER_FILLED: u32 = 52;
const ORDER_EDIT_RESERVED: u32 = 56;

pub(crate) fn put(out: &mut Vec<u8>, fact: &Fact) {
    match fact {
        Fact::Order(id, event) => put_order(out, *id, event),
        Fact::Archived(id) => wire::nested(out, ORDER_ARCHIVED, |out| parts::put_order_id(out, 1, *id)),
        Fact::Customer(id, event) => put_customer(out, id, event),
        Fact::Item(sku, event) => put_item(out, sku, event),
    }
}

pub(crate) fn get(field: Field<'_>, ids: &dyn Intern) -> Result<Fact, DecodeError> {
    match field.number {
        ORDER_PLACED => order_placed(field, ids),
        ORDER_CONFIRMED => only_order("OrderConfirmed", field, OrderEvent::Confirmed),
        ORDER_REJECTED => order_rejected(field, ids),
        ORDER_CANCELLED => only_order("OrderCancelled", field, OrderEvent::Cancelled),
        ORDER_RELEASED => only_order("OrderReleased", field, OrderEvent::Released),
        CUSTOMER_CREATED => customer_created(field, ids),
        CUSTOMER_UPDATED => customer_updated(field, ids),
        CUSTOMER_CREDITED => customer_credited(field, ids),
        CREDIT_HELD => {
            let (id, order, amount) = for_order("CreditHeld", field)?;
            let event = CustomerEvent::Held {
                order,
                amount: Amount(amount),
            };
            Ok(Fact::Customer(parts::customer_id("CreditHeld", id, ids)?, event))
        }
        CREDIT_RELEASED => {
            let (id, order, amount) = for_order("CreditReleased", field)?;
            let event = CustomerEvent::Released {
                order,
                amount: Amount(amount),
            };
            Ok(Fact::Customer(
                parts::customer_id("CreditReleased", id, ids)?,
                event,
            ))
        }
        ITEM_CREATED => item_created(field, ids),
        ITEM_UPDATED => item_updated(field, ids),
        STOCK_ADJUSTED => stock_adjusted(field, ids),
        STOCK_RESERVED => {
            let (sku, order, quantity) = for_order("StockReserved", field)?;
            let event = ItemEvent::Reserved {
                order,
                quantity: Quantity(quantity),
            };
            Ok(Fact::Item(parts::sku("StockReserved", sku, ids)?, event))
        }
        STOCK_RELEASED => {
            let (sku, order, quantity) = for_order("StockReleased", field)?;
            let event = ItemEvent::Released {
                order,
                quantity: Quantity(quantity),
            };
            Ok(Fact::Item(parts::sku("StockReleased", sku, ids)?, event))
        }
        ORDER_HELD => life::order_held(field),
        ORDER_HOLD_RELEASED => life::order_hold_released(field),
        ORDER_SHIPPED => life::order_shipped(field),
        ORDER_DELIVERED => life::order_delivered(field),
        ORDER_LINES_CANCELLED => life::order_lines_cancelled(field),
        ORDER_CONSUMED => only_order("OrderConsumed", field, OrderEvent::Consumed),
        ORDER_RETURN_REQUESTED => life::order_return_requested(field),
        ORDER_RETURN_MOVED => life::order_return_moved(field),
        ORDER_RESTOCKED => only_order("OrderRestocked", field, OrderEvent::Restocked),
        ORDER_REFUNDED => life::order_refunded(field),
        ORDER_RESERVED => only_order("OrderReserved", field, OrderEvent::Reserved),
        ORDER_AUTHORIZED => payment::order_authorized(field),
        ORDER_EXPIRED => only_order("OrderExpired", field, OrderEvent::Expired),
        ORDER_CLOSED => only_order("OrderClosed", field, OrderEvent::Closed),
        ORDER_ARCHIVED => order_of("OrderArchived", field).map(Fact::Archived),
        ORDER_PAYMENT_ANSWERED => payment::order_payment_answered(field),
        ORDER_PAYMENT_RETRIED => payment::order_payment_retried(field),
        ORDER_FULFILMENT_OPENED => plan::order_fulfilment_opened(field),
        ORDER_FULFILMENT_SHIPPED => plan::order_fulfilment_shipped(field),
        ORDER_FULFILMENT_CANCELLED => plan::order_fulfilment_cancelled(field),
        ORDER_BACKORDERED => backorder::get("OrderBackordered", field, false),
        ORDER_BACKORDER_FILLED => backorder::get("OrderBackorderFilled", field, true),
        ORDER_EDIT_BEGUN => edit::order_edit_begun(field),
        ORDER_EDIT_RESERVED => only_order("OrderEditReserved", field, OrderEvent::EditReserved),
        ORDER_EDITED => edit::order_edited(field),
        ORDER_EDIT_REFUSED => edit::order_edit_refused(field, ids),
        STOCK_RAISED => {
            let (sku, order, quantity) = for_order("StockRaised", field)?;
            let event = ItemEvent::Raised {
                order,
                quantity: Quantity(quantity),
            };
            Ok(Fact::Item(parts::sku("StockRaised", sku, ids)?, event))
        }
        CREDIT_REFUNDED => {
            let (id, order, amount) = for_order("CreditRefunded", field)?;
            let event = CustomerEvent::Refunded {
                order,
                amount: Amount(amount),
            };
            Ok(Fact::Customer(
                parts::customer_id("CreditRefunded", id, ids)?,
                event,
            ))
        }
        STOCK_RESTOCKED => {
            let (sku, order, quantity) = for_order("StockRestocked", field)?;
            let event = ItemEvent::Restocked {
                order,
                quantity: Quantity(quantity),
            };
            Ok(Fact::Item(parts::sku("StockRestocked", sku, ids)?, event))
        }
        CREDIT_CAPTURED => {
            let (id, order, amount) = for_order("CreditCaptured", field)?;
            let event = CustomerEvent::Captured {
                order,
                amount: Amount(amount),
            };
            Ok(Fact::Customer(
                parts::customer_id("CreditCaptured", id, ids)?,
                event,
            ))
        }
        STOCK_CONSUMED => {
            let (sku, order, quantity) = for_order("StockConsumed", field)?;
            let event = ItemEvent::Consumed {
                order,
                quantity: Quantity(quantity),
            };
            Ok(Fact::Item(parts::sku("StockConsumed", sku, ids)?, event))
        }
        _ => Err(field.unknown()),
    }
}

fn put_order(out: &mut Vec<u8>, id: OrderId, event: &OrderEvent) {
    let field = match event {
        OrderEvent::Placed { .. } => ORDER_PLACED,
        OrderEvent::Confirmed => ORDER_CONFIRMED,
        OrderEvent::Rejected { .. } => ORDER_REJECTED,
        OrderEvent::Cancelled => ORDER_CANCELLED,
        OrderEvent::Released => ORDER_RELEASED,
        OrderEvent::Held { .. } => ORDER_HELD,
        OrderEvent::HoldReleased { .. } => ORDER_HOLD_RELEASED,
        OrderEvent::Shipped { .. } => ORDER_SHIPPED,
        OrderEvent::Delivered { .. } => ORDER_DELIVERED,
        OrderEvent::LinesCancelled { .. } => ORDER_LINES_CANCELLED,
        OrderEvent::Consumed => ORDER_CONSUMED,
        OrderEvent::ReturnRequested { .. } => ORDER_RETURN_REQUESTED,
        OrderEvent::ReturnMoved { .. } => ORDER_RETURN_MOVED,
        OrderEvent::Restocked => ORDER_RESTOCKED,
        OrderEvent::Refunded { .. } => ORDER_REFUNDED,
        OrderEvent::Reserved => ORDER_RESERVED,
        OrderEvent::Authorized { .. } => ORDER_AUTHORIZED,
        OrderEvent::Expired => ORDER_EXPIRED,
        OrderEvent::PaymentAnswered { .. } => ORDER_PAYMENT_ANSWERED,
        OrderEvent::PaymentRetried { .. } => ORDER_PAYMENT_RETRIED,
        OrderEvent::EditBegun { .. } => ORDER_EDIT_BEGUN,
        OrderEvent::EditReserved => ORDER_EDIT_RESERVED,
        OrderEvent::Edited { .. } => ORDER_EDITED,
        OrderEvent::EditRefused { .. } => ORDER_EDIT_REFUSED,
        OrderEvent::Closed => ORDER_CLOSED,
        OrderEvent::FulfilmentOpened { .. } => ORDER_FULFILMENT_OPENED,
        OrderEvent::FulfilmentShipped { .. } => ORDER_FULFILMENT_SHIPPED,
        OrderEvent::FulfilmentCancelled { .. } => ORDER_FULFILMENT_CANCELLED,
        OrderEvent::Backordered { .. } => ORDER_BACKORDERED,
        OrderEvent::BackorderFilled { .. } => ORDER_BACKORDER_FILLED,
    };
    wire::nested(out, field, |out| {
        parts::put_order_id(out, 1, id);
        match event {
            OrderEvent::Placed {
                customer,
                currency,
                lines,
                provider,
            } => {
                wire::text(out, 2, customer.as_str());
                wire::text(out, 3, currency.as_str());
                for line in lines.iter() {
                    parts::put_line(out, 4, line);
                }
                wire::text(out, 5, provider.as_ref().map_or("", ProviderName::as_str));
            }
            OrderEvent::Rejected { rejection, release } => {
                refusal::put(out, 2, rejection);
                for sku in release {
                    wire::element(out, 3, sku.as_str());
                }
            }
            _ => {
                life::put(out, event);
                payment::put(out, event);
                edit::put(out, event);
                plan::put(out, event);
                backorder::put(out, event);
            }
        }
    });
}

fn put_customer(out: &mut Vec<u8>, id: &CustomerId, event: &CustomerEvent) {
    let field = match event {
        CustomerEvent::Created { .. } => CUSTOMER_CREATED,
        CustomerEvent::Updated { .. } => CUSTOMER_UPDATED,
        CustomerEvent::Credited { .. } => CUSTOMER_CREDITED,
        CustomerEvent::Held { .. } => CREDIT_HELD,
        CustomerEvent::Released { .. } => CREDIT_RELEASED,
        CustomerEvent::Captured { .. } => CREDIT_CAPTURED,
        CustomerEvent::Refunded { .. } => CREDIT_REFUNDED,
    };
    wire::nested(out, field, |out| {
        wire::text(out, 1, id.as_str());
        match event {
            CustomerEvent::Created {
                display_name,
                currency,
                credit_limit,
            } => {
                wire::text(out, 2, display_name);
                wire::text(out, 3, currency.as_str());
                wire::signed(out, 4, credit_limit.0);
            }
            CustomerEvent::Updated {
                display_name,
                credit_limit,
            } => {
                wire::text(out, 2, display_name);
                wire::signed(out, 3, credit_limit.0);
            }
            CustomerEvent::Credited { amount } => wire::signed(out, 2, amount.0),
            CustomerEvent::Held { order, amount }
            | CustomerEvent::Released { order, amount }
            | CustomerEvent::Captured { order, amount }
            | CustomerEvent::Refunded { order, amount } => {
                parts::put_order_id(out, 2, *order);
                wire::signed(out, 3, amount.0);
            }
        }
    });
}

fn put_item(out: &mut Vec<u8>, sku: &Sku, event: &ItemEvent) {
    let field = match event {
        ItemEvent::Created { .. } => ITEM_CREATED,
        ItemEvent::Updated { .. } => ITEM_UPDATED,
        ItemEvent::Adjusted { .. } => STOCK_ADJUSTED,
        ItemEvent::Reserved { .. } => STOCK_RESERVED,
        ItemEvent::Released { .. } => STOCK_RELEASED,
        ItemEvent::Consumed { .. } => STOCK_CONSUMED,
        ItemEvent::Restocked { .. } => STOCK_RESTOCKED,
        ItemEvent::Raised { .. } => STOCK_RAISED,
    };
    wire::nested(out, field, |out| {
        wire::text(out, 1, sku.as_str());
        match event {
            ItemEvent::Created {
                display_name,
                currency,
                unit_price,
                on_hand,
            } => {
                wire::text(out, 2, display_name);
                wire::text(out, 3, currency.as_str());
                wire::signed(out, 4, unit_price.0);
                wire::signed(out, 5, on_hand.0);
            }
            ItemEvent::Updated {
                display_name,
                unit_price,
                backorder_limit,
            } => {
                wire::text(out, 2, display_name);
                wire::signed(out, 3, unit_price.0);
                wire::signed(out, 4, backorder_limit.0);
            }
            ItemEvent::Adjusted { delta } => wire::signed(out, 2, delta.0),
            ItemEvent::Reserved { order, quantity }
            | ItemEvent::Released { order, quantity }
            | ItemEvent::Consumed { order, quantity }
            | ItemEvent::Raised { order, quantity }
            | ItemEvent::Restocked { order, quantity } => {
                parts::put_order_id(out, 2, *order);
                wire::signed(out, 3, quantity.0);
            }
        }
    });
}

fn order_placed(field: Field<'_>, ids: &dyn Intern) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderPlaced";
    let (mut id, mut customer, mut currency) = (None, "", "");
    let (mut lines, mut provider) = (Vec::with_capacity(4), None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => customer = field.text()?,
            3 => currency = field.text()?,
            4 => lines.push(parts::line(field, ids)?),
            5 => provider = Some(parts::provider(field)?),
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::Placed {
        customer: parts::customer_id(MESSAGE, customer, ids)?,
        currency: parts::currency(MESSAGE, currency)?,
        lines: lines.into(),
        provider,
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}

fn order_rejected(field: Field<'_>, ids: &dyn Intern) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "OrderRejected";
    let (mut id, mut rejection) = (None, None);
    let mut release = Vec::new();
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            2 => rejection = Some(refusal::get(field, ids)?),
            3 => release.push(parts::sku(MESSAGE, field.text()?, ids)?),
            _ => return Err(field.unknown()),
        }
    }
    let event = OrderEvent::Rejected {
        rejection: Box::new(required(MESSAGE, 2, rejection)?),
        release: release.into(),
    };
    Ok(Fact::Order(required(MESSAGE, 1, id)?, event))
}

/// A message with nothing but an order's id.
fn only_order(message: &'static str, field: Field<'_>, event: OrderEvent) -> Result<Fact, DecodeError> {
    Ok(Fact::Order(order_of(message, field)?, event))
}

/// That id.
fn order_of(message: &'static str, field: Field<'_>) -> Result<OrderId, DecodeError> {
    let mut id = None;
    for field in fields(message, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = Some(parts::order_id(field)?),
            _ => return Err(field.unknown()),
        }
    }
    required(message, 1, id)
}

/// A message that says how much of something an order takes or gives back.
fn for_order<'a>(message: &'static str, field: Field<'a>) -> Result<(&'a str, OrderId, i64), DecodeError> {
    let (mut of, mut order, mut much) = ("", None, 0);
    for field in fields(message, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => of = field.text()?,
            2 => order = Some(parts::order_id(field)?),
            3 => much = field.signed()?,
            _ => return Err(field.unknown()),
        }
    }
    Ok((of, required(message, 2, order)?, much))
}

fn customer_created(field: Field<'_>, ids: &dyn Intern) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "CustomerCreated";
    let (mut id, mut display_name, mut currency, mut credit_limit) = ("", "", "", 0);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = field.text()?,
            2 => display_name = field.text()?,
            3 => currency = field.text()?,
            4 => credit_limit = field.signed()?,
            _ => return Err(field.unknown()),
        }
    }
    let event = CustomerEvent::Created {
        display_name: display_name.into(),
        currency: parts::currency(MESSAGE, currency)?,
        credit_limit: Amount(credit_limit),
    };
    Ok(Fact::Customer(parts::customer_id(MESSAGE, id, ids)?, event))
}

fn customer_updated(field: Field<'_>, ids: &dyn Intern) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "CustomerUpdated";
    let (id, display_name, credit_limit) = updated(MESSAGE, field)?;
    let event = CustomerEvent::Updated {
        display_name: display_name.into(),
        credit_limit: Amount(credit_limit),
    };
    Ok(Fact::Customer(parts::customer_id(MESSAGE, id, ids)?, event))
}

fn customer_credited(field: Field<'_>, ids: &dyn Intern) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "CustomerCredited";
    let (id, amount) = changed(MESSAGE, field)?;
    let event = CustomerEvent::Credited {
        amount: Amount(amount),
    };
    Ok(Fact::Customer(parts::customer_id(MESSAGE, id, ids)?, event))
}

fn item_created(field: Field<'_>, ids: &dyn Intern) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "ItemCreated";
    let (mut sku, mut display_name, mut currency) = ("", "", "");
    let (mut unit_price, mut on_hand) = (0, 0);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => sku = field.text()?,
            2 => display_name = field.text()?,
            3 => currency = field.text()?,
            4 => unit_price = field.signed()?,
            5 => on_hand = field.signed()?,
            _ => return Err(field.unknown()),
        }
    }
    let event = ItemEvent::Created {
        display_name: display_name.into(),
        currency: parts::currency(MESSAGE, currency)?,
        unit_price: Amount(unit_price),
        on_hand: Quantity(on_hand),
    };
    Ok(Fact::Item(parts::sku(MESSAGE, sku, ids)?, event))
}

fn item_updated(field: Field<'_>, ids: &dyn Intern) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "ItemUpdated";
    let (mut sku, mut display_name) = ("", "");
    let (mut unit_price, mut backorder_limit) = (0, 0);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => sku = field.text()?,
            2 => display_name = field.text()?,
            3 => unit_price = field.signed()?,
            4 => backorder_limit = field.signed()?,
            _ => return Err(field.unknown()),
        }
    }
    let event = ItemEvent::Updated {
        display_name: display_name.into(),
        unit_price: Amount(unit_price),
        backorder_limit: Quantity(backorder_limit),
    };
    Ok(Fact::Item(parts::sku(MESSAGE, sku, ids)?, event))
}

fn stock_adjusted(field: Field<'_>, ids: &dyn Intern) -> Result<Fact, DecodeError> {
    const MESSAGE: &str = "StockAdjusted";
    let (sku, delta) = changed(MESSAGE, field)?;
    let event = ItemEvent::Adjusted {
        delta: Quantity(delta),
    };
    Ok(Fact::Item(parts::sku(MESSAGE, sku, ids)?, event))
}

/// An id, a display name and a number.
fn updated<'a>(message: &'static str, field: Field<'a>) -> Result<(&'a str, &'a str, i64), DecodeError> {
    let (mut id, mut display_name, mut number) = ("", "", 0);
    for field in fields(message, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = field.text()?,
            2 => display_name = field.text()?,
            3 => number = field.signed()?,
            _ => return Err(field.unknown()),
        }
    }
    Ok((id, display_name, number))
}

/// An id and a number.
fn changed<'a>(message: &'static str, field: Field<'a>) -> Result<(&'a str, i64), DecodeError> {
    let (mut id, mut number) = ("", 0);
    for field in fields(message, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => id = field.text()?,
            2 => number = field.signed()?,
            _ => return Err(field.unknown()),
        }
    }
    Ok((id, number))
}
