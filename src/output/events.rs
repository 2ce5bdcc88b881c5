//! What happened to an order.

use docket_proto::v1::{
    LineQuantity, OrderEvent, OrderSituation, order::State, order_hold::Reason,
    order_payment::State as Payment,
};
use serde_json::{Value, json};

use super::record::{Field, Resource, Tone};
use crate::values::money;

impl Resource for OrderEvent {
    const PLURAL: &'static str = "events";
    const COLUMNS: &'static [&'static str] = &[
        "event_time",
        "kind",
        "state",
        "payment",
        "requested_by",
        "request_id",
        "details",
    ];

    fn fields(&self) -> Vec<Field> {
        let (before, after) = (self.before.as_ref(), self.after.as_ref());
        let mut fields = vec![
            Field::moment("event_time", self.event_time.as_ref()),
            Field::text("kind", self.kind().as_str_name()).tone(match after.map(OrderSituation::state) {
                Some(State::Rejected) => Tone::Bad,
                _ => Tone::Plain,
            }),
            // Programs find these in before and after.
            Field::shown(
                "state",
                json!(after.map(state)),
                became(before.map(state), after.map(state)),
            ),
            Field::shown(
                "payment",
                json!(after.map(payment)),
                became(before.map(payment), after.map(payment)),
            ),
            Field::text("requested_by", &self.requested_by),
            Field::text("request_id", &self.request_id),
            Field::text("trace_id", &self.trace_id),
            Field::text("etag", &self.etag),
            Field::shown("before", json!(before.map(situation)), ""),
            Field::shown("after", json!(after.map(situation)), ""),
        ];
        let details = details(self);
        let text: Vec<_> = details.iter().map(|(_, _, text)| text.clone()).collect();
        let json: serde_json::Map<_, _> = details
            .into_iter()
            .map(|(name, value, _)| (name.to_owned(), value))
            .collect();
        fields.push(Field::shown("details", Value::Object(json), text.join(", ")));
        fields
    }
}

fn state(situation: &OrderSituation) -> &'static str {
    situation.state().as_str_name()
}

fn payment(situation: &OrderSituation) -> &'static str {
    let payment = situation.payment.as_ref();
    payment
        .map_or(Payment::Unspecified, |payment| payment.state())
        .as_str_name()
}

/// What something became; nothing where it is what it was.
fn became(before: Option<&str>, after: Option<&str>) -> String {
    match after {
        Some(after) if before != Some(after) => after.to_owned(),
        _ => String::new(),
    }
}

fn situation(situation: &OrderSituation) -> Value {
    let lines = situation.lines.iter();
    let lines: Vec<_> = lines
        .map(|line| {
            json!({
                "open_quantity": line.open_quantity,
                "fulfilled_quantity": line.fulfilled_quantity,
                "cancelled_quantity": line.cancelled_quantity,
            })
        })
        .collect();
    let money = situation.payment.as_ref().map(|payment| {
        json!({
            "state": payment.state().as_str_name(),
            "authorized": payment.authorized,
            "captured": payment.captured,
            "voided": payment.voided,
            "refunded": payment.refunded,
        })
    });
    json!({"state": state(situation), "payment": money, "lines": lines})
}

/// What was said with an event: a name, the value for programs, the text for people.
fn details(event: &OrderEvent) -> Vec<(&'static str, Value, String)> {
    let mut details = Vec::new();
    if event.hold_reason() != Reason::Unspecified {
        let reason = event.hold_reason().as_str_name();
        details.push(("hold_reason", json!(reason), reason.to_owned()));
    }
    for (name, number) in [
        ("fulfilment", event.fulfilment),
        ("return_number", event.return_number),
    ] {
        if number > 0 {
            let what = name.trim_end_matches("_number");
            details.push((name, json!(number), format!("{what} {number}")));
        }
    }
    if !event.lines.is_empty() {
        let json: Vec<_> = event.lines.iter().map(line_json).collect();
        let text = event.lines.iter();
        // As they are numbered elsewhere: the first is 1.
        let text: Vec<_> = text
            .map(|of_line| format!("{}:{}", of_line.line + 1, of_line.quantity))
            .collect();
        details.push(("lines", json!(json), format!("lines {}", text.join(" "))));
    }
    if event.amount != 0 {
        let text = money::show(event.amount, &event.currency_code);
        details.push(("amount", json!(event.amount), text));
    }
    if event.restock {
        details.push(("restock", json!(true), "back on the stock".to_owned()));
    }
    if let Some(rejection) = &event.rejection {
        let value =
            json!({"reason": rejection.reason, "message": rejection.message, "field": rejection.field});
        details.push(("rejection", value, rejection.reason.clone()));
    }
    if !event.note.is_empty() {
        details.push(("note", json!(event.note), format!("“{}”", event.note)));
    }
    details
}

fn line_json(of_line: &LineQuantity) -> Value {
    json!({"line": of_line.line, "quantity": of_line.quantity})
}
