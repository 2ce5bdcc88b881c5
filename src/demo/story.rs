//! The whole life of one order, step by step, beside the busy clients: what a shop does with it from its placing to the refund.

use docket_proto::v1::{
    CancelOrderLinesRequest, CreateCustomerRequest, CreateItemRequest, Customer, DeliverFulfilmentRequest,
    EditOrderRequest, GetCustomerRequest, GetItemRequest, GetOrderRequest, HoldOrderRequest, Item,
    LineQuantity, OpenFulfilmentRequest, Order, OrderLine, PlaceOrderRequest, ReceiveReturnRequest,
    RefundOrderRequest, ReleaseOrderHoldRequest, RequestReturnRequest, ResolveReturnRequest,
    ShipOrderRequest, order::State, order_hold::Reason, order_payment::State as Paid,
};
use uuid::Uuid;

use super::{
    books::Check,
    script::{CURRENCY, Good},
};
use crate::{client::Client, failure::Failure};

/// Whose order it is: nobody else's of the demo.
pub const CUSTOMER: &str = "customers/ada";
const LIMIT: i64 = 20_000;
const LAMP: Good = Good {
    sku: "lamp",
    display_name: "Desk lamp",
    unit_price: 3_500,
    on_hand: 20,
};
const BULB: Good = Good {
    sku: "bulb",
    display_name: "Bulb, 60 W",
    unit_price: 250,
    on_hand: 100,
};

/// One step of it, and the order as it was answered.
pub struct Step {
    /// What was done.
    pub what: &'static str,
    /// What the order was then.
    pub order: Order,
}

/// What was told of it.
pub struct Story {
    /// Its steps.
    pub steps: Vec<Step>,
}

/// Plays it.
pub async fn play(client: &Client) -> Result<Story, Failure> {
    seed(client).await?;
    let id = || Uuid::now_v7().to_string();
    let of = |line, quantity| LineQuantity { line, quantity };
    let mut steps = Vec::new();
    let mut step = |what, order: Order| {
        let name = order.name.clone();
        steps.push(Step { what, order });
        name
    };
    let orders = || client.orders();
    let line = |good: &Good, quantity| OrderLine {
        item: format!("items/{}", good.sku),
        quantity,
        unit_price: good.unit_price,
        ..OrderLine::default()
    };
    let place = PlaceOrderRequest {
        request_id: id(),
        customer: CUSTOMER.to_owned(),
        currency_code: CURRENCY.to_owned(),
        lines: vec![line(&LAMP, 3), line(&BULB, 5)],
        payment_method: String::new(),
    };
    let order = client.answer(orders().place_order(place).await)?;
    let etag = order.etag.clone();
    let name = step("ada orders 3 lamps and 5 bulbs", order);
    let edit = EditOrderRequest {
        name: name.clone(),
        request_id: id(),
        etag,
        lines: vec![of(1, 6)],
    };
    let order = client.answer(orders().edit_order(edit).await)?;
    step("she wants 6 bulbs: one more is reserved, and held", order);

    let hold = HoldOrderRequest {
        name: name.clone(),
        request_id: id(),
        reason: Reason::Address.into(),
        note: "no such street".to_owned(),
        ..HoldOrderRequest::default()
    };
    let order = client.answer(orders().hold_order(hold).await)?;
    step("its address is not known: it is held", order);
    let release = ReleaseOrderHoldRequest {
        name: name.clone(),
        request_id: id(),
        reason: Reason::Address.into(),
        ..ReleaseOrderHoldRequest::default()
    };
    let order = client.answer(orders().release_order_hold(release).await)?;
    step("ada wrote back: the hold is released", order);

    let plan = OpenFulfilmentRequest {
        name: name.clone(),
        request_id: id(),
        lines: vec![of(0, 2), of(1, 4)],
        ..OpenFulfilmentRequest::default()
    };
    let order = client.answer(orders().open_fulfilment(plan).await)?;
    step("the depot takes 2 lamps and 4 bulbs upon itself", order);

    let ship = |fulfilment, tracking: &str| ShipOrderRequest {
        name: name.clone(),
        request_id: id(),
        fulfilment,
        carrier: "DHL".to_owned(),
        tracking_code: tracking.to_owned(),
        ..ShipOrderRequest::default()
    };
    let order = client.answer(orders().ship_order(ship(1, "JD014")).await)?;
    step("they are shipped, and paid for", order);
    let deliver = DeliverFulfilmentRequest {
        name: name.clone(),
        request_id: id(),
        fulfilment: 1,
        ..DeliverFulfilmentRequest::default()
    };
    let order = client.answer(orders().deliver_fulfilment(deliver).await)?;
    step("they arrive", order);
    let cancel = CancelOrderLinesRequest {
        name: name.clone(),
        request_id: id(),
        lines: vec![of(1, 1)],
        ..CancelOrderLinesRequest::default()
    };
    let order = client.answer(orders().cancel_order_lines(cancel).await)?;
    step("ada wants a bulb less", order);
    let order = client.answer(orders().ship_order(ship(0, "JD015")).await)?;
    step("the rest is shipped", order);

    let request = RequestReturnRequest {
        name: name.clone(),
        request_id: id(),
        lines: vec![of(0, 1)],
        note: "too bright".to_owned(),
        ..RequestReturnRequest::default()
    };
    let order = client.answer(orders().request_return(request).await)?;
    step("a lamp is too bright: ada wants to send it back", order);
    let approve = ResolveReturnRequest {
        name: name.clone(),
        request_id: id(),
        return_number: 1,
        approve: true,
        ..ResolveReturnRequest::default()
    };
    let order = client.answer(orders().resolve_return(approve).await)?;
    step("she may", order);
    let receive = ReceiveReturnRequest {
        name: name.clone(),
        request_id: id(),
        return_number: 1,
        restock: true,
        ..ReceiveReturnRequest::default()
    };
    let order = client.answer(orders().receive_return(receive).await)?;
    step("it is back, and on the shelf again", order);
    let refund = RefundOrderRequest {
        name: name.clone(),
        request_id: id(),
        amount: LAMP.unit_price,
        note: "lamp sent back".to_owned(),
        ..RefundOrderRequest::default()
    };
    let order = client.answer(orders().refund_order(refund).await)?;
    step("its price is given back", order);
    Ok(Story { steps })
}

async fn seed(client: &Client) -> Result<(), Failure> {
    let (_, id) = CUSTOMER.split_once('/').unwrap_or_default();
    let request = CreateCustomerRequest {
        customer_id: id.to_owned(),
        customer: Some(Customer {
            display_name: "Ada".to_owned(),
            currency_code: CURRENCY.to_owned(),
            credit_limit: LIMIT,
            ..Customer::default()
        }),
        request_id: Uuid::now_v7().to_string(),
    };
    client.answer(client.customers().create_customer(request).await)?;
    for good in [&LAMP, &BULB] {
        let request = CreateItemRequest {
            sku: good.sku.to_owned(),
            item: Some(Item {
                display_name: good.display_name.to_owned(),
                currency_code: CURRENCY.to_owned(),
                unit_price: good.unit_price,
                on_hand: good.on_hand,
                ..Item::default()
            }),
            request_id: Uuid::now_v7().to_string(),
        };
        client.answer(client.items().create_item(request).await)?;
    }
    Ok(())
}

/// Whether the order, its customer's account and its items are what must have come of it.
pub async fn check(client: &Client, story: &Story) -> Result<Check, Failure> {
    let mut faults = Vec::new();
    if let Some(last) = story.steps.last() {
        let request = GetOrderRequest {
            name: last.order.name.clone(),
        };
        let order = client.answer(client.orders().get_order(request).await)?;
        let payment = order.payment.clone().unwrap_or_default();
        let figures = (payment.captured, payment.voided, payment.refunded);
        // A lamp of three was given back, and a bulb of six was never paid for.
        let (sent, less, back) = (
            3 * LAMP.unit_price + 5 * BULB.unit_price,
            BULB.unit_price,
            LAMP.unit_price,
        );
        let is_right = order.state() == State::Fulfilled && payment.state() == Paid::PartiallyRefunded;
        if !is_right || figures != (sent, less, back) {
            faults.push(format!(
                "the order of the story is {:?}, {figures:?}",
                order.state()
            ));
        }
        let request = GetCustomerRequest {
            name: CUSTOMER.to_owned(),
        };
        let customer = client.answer(client.customers().get_customer(request).await)?;
        if (customer.balance, customer.held) != (back - sent, 0) {
            faults.push(format!(
                "ada's balance is {}, held {}",
                customer.balance, customer.held
            ));
        }
    }
    for (good, left) in [(&LAMP, LAMP.on_hand - 2), (&BULB, BULB.on_hand - 5)] {
        let name = format!("items/{}", good.sku);
        let item = client.answer(client.items().get_item(GetItemRequest { name }).await)?;
        if (item.on_hand, item.reserved) != (left, 0) {
            faults.push(format!(
                "{}: {} are on hand, {} reserved",
                good.sku, item.on_hand, item.reserved
            ));
        }
    }
    Ok(Check {
        rule: "one order's whole life: its money and its stock are exact",
        faults,
    })
}
