//! Orders, customers and items.

use docket_proto::v1::{
    Customer, Fulfilment, Item, Order, OrderHold, OrderLine, OrderPayment, OrderRefund, OrderReturn,
    PaymentStep, order::State, order_payment::State as PaymentState, payment_step::State as StepState,
};
use serde_json::json;

use super::record::{self, Field, Records, Resource, Tone};
use crate::values::time;

impl Resource for Order {
    const PLURAL: &'static str = "orders";
    const COLUMNS: &'static [&'static str] = &["name", "customer", "state", "total", "create_time"];

    fn fields(&self) -> Vec<Field> {
        let lines: Vec<_> = self
            .lines
            .iter()
            .map(|line| record::object(&line_fields(line, self)))
            .collect();
        let mut fields = vec![
            Field::resource("name", &self.name),
            Field::resource("customer", &self.customer),
            Field::text("state", self.state().as_str_name()).tone(match self.state() {
                State::Confirmed | State::PartiallyFulfilled | State::Fulfilled => Tone::Good,
                State::Rejected | State::Expired => Tone::Bad,
                State::Pending => Tone::Pending,
                State::Cancelled | State::Closed | State::Unspecified => Tone::Plain,
            }),
            Field::text("currency_code", &self.currency_code).hidden(),
            Field::money("total", self.total, &self.currency_code),
            Field::shown("lines", json!(lines), ""),
            Field::moment("create_time", self.create_time.as_ref()),
            Field::moment("update_time", self.update_time.as_ref()),
            Field::text("etag", &self.etag),
        ];
        if let Some(rejection) = &self.rejection {
            let place = if rejection.field.is_empty() {
                String::new()
            } else {
                format!(" ({})", rejection.field)
            };
            let value =
                json!({"reason": rejection.reason, "message": rejection.message, "field": rejection.field});
            let text = format!("{}: {}{place}", rejection.reason, rejection.message);
            fields.push(Field::shown("rejection", value, text).tone(Tone::Bad));
        }
        if !self.holds.is_empty() {
            let holds: Vec<_> = self
                .holds
                .iter()
                .map(|hold| record::object(&hold_fields(hold)))
                .collect();
            let texts: Vec<_> = self.holds.iter().map(hold_text).collect();
            fields.push(Field::shown("holds", json!(holds), texts.join("; ")).tone(Tone::Pending));
        }
        if let Some(payment) = &self.payment {
            fields.push(payment_field(payment, self));
        }
        let shipments = self.fulfilments.iter();
        let shipments: Vec<_> = shipments
            .map(|it| record::object(&fulfilment_fields(it, self)))
            .collect();
        if !shipments.is_empty() {
            fields.push(Field::shown("fulfilments", json!(shipments), ""));
        }
        let returns = self.returns.iter();
        let returns: Vec<_> = returns.map(|it| record::object(&return_fields(it))).collect();
        if !returns.is_empty() {
            fields.push(Field::shown("returns", json!(returns), ""));
        }
        if !self.refunds.is_empty() {
            let refunds = self.refunds.iter();
            let refunds: Vec<_> = refunds
                .map(|it| record::object(&refund_fields(it, self)))
                .collect();
            fields.push(Field::shown("refunds", json!(refunds), ""));
        }
        fields
    }

    fn parts(&self) -> Vec<Records> {
        let rows = self.lines.iter().map(|line| line_fields(line, self)).collect();
        // How many were shipped and cancelled is in what became of their stock.
        let columns = &["item", "quantity", "unit_price", "amount", "reservations"];
        let mut parts = vec![Records { columns, rows }];
        if !self.fulfilments.is_empty() {
            let shipments = self.fulfilments.iter();
            parts.push(Records {
                columns: &[
                    "number",
                    "state",
                    "carrier",
                    "tracking_code",
                    "captured",
                    "ship_time",
                ],
                rows: shipments.map(|it| fulfilment_fields(it, self)).collect(),
            });
        }
        if !self.returns.is_empty() {
            parts.push(Records {
                columns: &["return", "state", "lines", "note", "restocked", "update_time"],
                rows: self.returns.iter().map(return_fields).collect(),
            });
        }
        if !self.refunds.is_empty() {
            parts.push(Records {
                columns: &["refund", "note", "create_time"],
                rows: self.refunds.iter().map(|it| refund_fields(it, self)).collect(),
            });
        }
        parts
    }
}

/// What became of the money; in a terminal only where there is something to say.
fn payment_field(payment: &OrderPayment, order: &Order) -> Field {
    // Its currency is beside the total.
    let money = |amount| {
        let shown = crate::values::money::show(amount, &order.currency_code);
        shown.trim_end_matches(&order.currency_code).trim_end().to_owned()
    };
    let value = json!({
        "state": payment.state().as_str_name(),
        "authorized": payment.authorized,
        "captured": payment.captured,
        "voided": payment.voided,
        "refunded": payment.refunded,
        "provider": payment.provider,
        "steps": payment.steps.iter().map(|step| record::object(&payment_step_fields(step))).collect::<Vec<_>>(),
    });
    let figures = [
        ("captured", payment.captured),
        ("refunded", payment.refunded),
        ("voided", payment.voided),
    ];
    let figures = figures.iter().filter(|(_, amount)| *amount > 0);
    let figures: Vec<_> = figures
        .map(|(what, amount)| format!("{what} {}", money(*amount)))
        .collect();
    let by = match payment.provider.is_empty() {
        true => String::new(),
        false => format!(" by {}", record::visible(&payment.provider)),
    };
    let state = format!("{}{by}", payment.state().as_str_name());
    let mut text = match (figures.is_empty(), by.is_empty()) {
        (true, true) => String::new(),
        (true, false) => state,
        (false, _) => format!("{state}: {}", figures.join(", ")),
    };
    // What waits for the provider, or for a person.
    for step in &payment.steps {
        let kind = step.kind().as_str_name().to_lowercase();
        let amount = money(step.amount);
        // Most orders have one payment.
        let of = match step.payment {
            0 | 1 => String::new(),
            payment => format!(" of payment {payment}"),
        };
        match step.state() {
            StepState::Due => text.push_str(&format!("; step {}: {kind} {amount}{of} is due", step.number)),
            StepState::Declined => {
                text.push_str(&format!(
                    "; step {}: {kind} {amount}{of} was declined",
                    step.number
                ));
                if !step.decline_reason.is_empty() {
                    text.push_str(&format!(" ({})", record::visible(&step.decline_reason)));
                }
            }
            StepState::Done | StepState::Retried | StepState::Abandoned | StepState::Unspecified => {}
        }
    }
    let field = Field::shown("payment", value, text);
    match payment.state() {
        PaymentState::Failed => field.tone(Tone::Bad),
        PaymentState::Required => field.tone(Tone::Pending),
        _ => field,
    }
}

fn payment_step_fields(step: &PaymentStep) -> Vec<Field> {
    vec![
        Field::number("step", step.number),
        Field::text("kind", step.kind().as_str_name()),
        Field::text("state", step.state().as_str_name()),
        Field::number("amount", step.amount),
        Field::number("payment", step.payment),
        Field::text("reference", &step.reference),
        Field::text("decline_reason", &step.decline_reason),
        Field::moment("create_time", step.create_time.as_ref()),
        Field::moment("answer_time", step.answer_time.as_ref()),
    ]
}

fn return_fields(found: &OrderReturn) -> Vec<Field> {
    let lines = found.lines.iter();
    let json: Vec<_> = lines
        .map(|of_line| json!({"line": of_line.line, "quantity": of_line.quantity}))
        .collect();
    let lines = found.lines.iter();
    let text: Vec<_> = lines
        .map(|of_line| format!("{}:{}", of_line.line + 1, of_line.quantity))
        .collect();
    vec![
        Field::number("return", found.number),
        Field::text("state", found.state().as_str_name()),
        Field::shown("lines", json!(json), text.join(" ")),
        Field::text("note", &found.note),
        Field::text("decline_note", &found.decline_note),
        Field::flag("restocked", found.restocked),
        Field::moment("create_time", found.create_time.as_ref()),
        Field::moment("update_time", found.update_time.as_ref()),
        Field::text("requested_by", &found.requested_by),
    ]
}

fn refund_fields(refund: &OrderRefund, order: &Order) -> Vec<Field> {
    vec![
        Field::money("refund", refund.amount, &order.currency_code),
        Field::text("note", &refund.note),
        Field::moment("create_time", refund.create_time.as_ref()),
        Field::text("refunded_by", &refund.refunded_by),
    ]
}

fn fulfilment_fields(fulfilment: &Fulfilment, order: &Order) -> Vec<Field> {
    let lines: Vec<_> = fulfilment
        .lines
        .iter()
        .map(|of_line| json!({"line": of_line.line, "quantity": of_line.quantity}))
        .collect();
    vec![
        Field::number("number", fulfilment.number),
        Field::text("state", fulfilment.state().as_str_name()),
        Field::shown("lines", json!(lines), ""),
        Field::text("carrier", &fulfilment.carrier),
        Field::text("tracking_code", &fulfilment.tracking_code),
        Field::money("captured", fulfilment.captured, &order.currency_code),
        Field::moment("open_time", fulfilment.open_time.as_ref()),
        Field::moment("ship_time", fulfilment.ship_time.as_ref()),
        Field::moment("deliver_time", fulfilment.deliver_time.as_ref()),
        Field::moment("cancel_time", fulfilment.cancel_time.as_ref()),
        Field::text("opened_by", &fulfilment.opened_by),
        Field::text("shipped_by", &fulfilment.shipped_by),
        Field::text("delivered_by", &fulfilment.delivered_by),
        Field::text("cancelled_by", &fulfilment.cancelled_by),
    ]
}

fn hold_fields(hold: &OrderHold) -> Vec<Field> {
    vec![
        Field::text("reason", hold.reason().as_str_name()),
        Field::text("note", &hold.note),
        Field::text("placed_by", &hold.placed_by),
        Field::moment("create_time", hold.create_time.as_ref()),
    ]
}

fn hold_text(hold: &OrderHold) -> String {
    let note = match hold.note.as_str() {
        "" => String::new(),
        note => format!(": {note}"),
    };
    format!("{} by {}{note}", hold.reason().as_str_name(), hold.placed_by)
}

fn line_fields(line: &OrderLine, order: &Order) -> Vec<Field> {
    vec![
        Field::resource("item", &line.item),
        Field::number("quantity", line.quantity),
        Field::money("unit_price", line.unit_price, &order.currency_code),
        Field::money("amount", line.amount, &order.currency_code),
        Field::number("fulfilled_quantity", line.fulfilled_quantity),
        Field::number("cancelled_quantity", line.cancelled_quantity),
        reservations_field(line),
    ]
}

/// What became of a line's stock: for people without its number where that is the line's.
fn reservations_field(line: &OrderLine) -> Field {
    let found = line.reservations.iter();
    let json: Vec<_> = found
        .map(|it| {
            let mut shown = json!({"state": it.state().as_str_name(), "quantity": it.quantity});
            if it.expire_time.is_some() {
                shown["expire_time"] = json!(time::show(it.expire_time.as_ref()));
            }
            shown
        })
        .collect();
    let texts = line.reservations.iter().map(|it| {
        let state = it.state().as_str_name();
        let until = time::show_whole(it.expire_time.as_ref());
        let until = until.map_or(String::new(), |until| format!(" until {until}"));
        match it.quantity == line.quantity {
            true => format!("{state}{until}"),
            false => format!("{} {state}{until}", it.quantity),
        }
    });
    let text = texts.collect::<Vec<_>>().join(", ");
    Field::shown("reservations", json!(json), text)
}

impl Resource for Customer {
    const PLURAL: &'static str = "customers";
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "display_name",
        "credit_limit",
        "balance",
        "held",
        "available",
    ];

    fn fields(&self) -> Vec<Field> {
        let money = |name, minor_units| Field::money(name, minor_units, &self.currency_code);
        vec![
            Field::resource("name", &self.name),
            Field::text("display_name", &self.display_name),
            Field::text("currency_code", &self.currency_code).hidden(),
            money("credit_limit", self.credit_limit),
            money("balance", self.balance),
            money("held", self.held),
            money("available", self.available),
            Field::moment("create_time", self.create_time.as_ref()),
            Field::moment("update_time", self.update_time.as_ref()),
            Field::text("etag", &self.etag),
        ]
    }
}

impl Resource for Item {
    const PLURAL: &'static str = "items";
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "display_name",
        "unit_price",
        "on_hand",
        "reserved",
        "available",
    ];

    fn fields(&self) -> Vec<Field> {
        vec![
            Field::resource("name", &self.name),
            Field::text("display_name", &self.display_name),
            Field::text("currency_code", &self.currency_code).hidden(),
            Field::money("unit_price", self.unit_price, &self.currency_code),
            Field::number("on_hand", self.on_hand),
            Field::number("reserved", self.reserved),
            Field::number("available", self.available),
            Field::number("backorder_limit", self.backorder_limit),
            Field::number("backordered", self.backordered),
            Field::moment("create_time", self.create_time.as_ref()),
            Field::moment("update_time", self.update_time.as_ref()),
            Field::text("etag", &self.etag),
        ]
    }
}

#[cfg(test)]
mod tests {
    use docket_proto::v1::Rejection;

    use super::*;

    fn order() -> Order {
        let line = OrderLine {
            item: "items/tea".into(),
            quantity: 2,
            unit_price: 450,
            amount: 900,
            ..OrderLine::default()
        };
        Order {
            name: "orders/01J".into(),
            customer: "customers/acme".into(),
            state: State::Rejected.into(),
            currency_code: "EUR".into(),
            lines: vec![line],
            total: 900,
            rejection: Some(Rejection {
                reason: "INSUFFICIENT_STOCK".into(),
                message: "only 1 is available".into(),
                field: "lines[0].quantity".into(),
            }),
            create_time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
            update_time: None,
            etag: "7".into(),
            holds: Vec::new(),
            ..Order::default()
        }
    }

    #[test]
    fn programs_get_the_contracts_names_and_exact_numbers() {
        assert_eq!(
            record::object(&order().fields()),
            json!({
                "name": "orders/01J",
                "customer": "customers/acme",
                "state": "REJECTED",
                "currency_code": "EUR",
                "total": 900,
                "lines": [{
                    "item": "items/tea",
                    "quantity": 2,
                    "unit_price": 450,
                    "amount": 900,
                    "fulfilled_quantity": 0,
                    "cancelled_quantity": 0,
                    "reservations": [],
                }],
                "create_time": "2023-11-14T22:13:20Z",
                "update_time": null,
                "etag": "7",
                "rejection": {
                    "reason": "INSUFFICIENT_STOCK",
                    "message": "only 1 is available",
                    "field": "lines[0].quantity",
                },
            })
        );
    }

    #[test]
    fn people_get_ids_main_units_and_the_reason() {
        let order = order();
        let text = |name: &str| {
            order
                .fields()
                .into_iter()
                .find(|field| field.name == name)
                .unwrap()
                .text
        };
        assert_eq!(text("customer"), "acme");
        assert_eq!(text("total"), "9.00 EUR");
        assert_eq!(
            text("rejection"),
            "INSUFFICIENT_STOCK: only 1 is available (lines[0].quantity)"
        );
    }

    #[test]
    fn every_column_of_a_list_is_a_field() {
        fn check<R: Resource + Default>() {
            let fields = R::default().fields();
            for column in R::COLUMNS {
                assert!(
                    fields.iter().any(|field| field.name == *column),
                    "{} has no {column}",
                    R::PLURAL
                );
            }
        }
        check::<Order>();
        check::<Customer>();
        check::<Item>();
        check::<docket_proto::v1::ApiKey>();
    }
}
