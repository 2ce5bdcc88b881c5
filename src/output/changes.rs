//! Changes of orders, one a line, as they come.

use docket_proto::v1::{OrderChange, order_change::Kind};
use serde_json::json;

use super::{Format, Output, record, record::Resource as _, write};
use crate::{
    failure::Failure,
    values::{money, names, time},
};

/// How wide a time of day, a kind, an order and a total are; the customer comes last and has what is left of 80 columns.
const KIND: usize = 20;
const ORDER: usize = 26;
const TOTAL: usize = 12;

impl Output {
    /// Prints a change: a line for people, or one for programs, with the token with which a watch goes on behind it.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn change(&self, change: &OrderChange, resume_token: Option<&str>) -> Result<(), Failure> {
        let order = change.order.clone().unwrap_or_default();
        let kind = change.kind().as_str_name();
        if self.format == Format::Json {
            let line = json!({
                "kind": kind,
                "change_time": time::show(change.change_time.as_ref()),
                "order": record::object(&order.fields()),
                "resume_token": resume_token,
            });
            return write(&format!("{line}\n"));
        }
        let moment = time::show_whole(change.change_time.as_ref()).unwrap_or_default();
        // 2026-11-28T20:15:00Z: the day is today's, mostly.
        let of_day = moment.get(11..19).unwrap_or(&moment);
        let id = names::bare(&order.name);
        let total = money::show(order.total, &order.currency_code);
        let customer = record::visible(names::bare(&order.customer));
        let kind = self.coloured(change.kind(), format!("{kind:<KIND$}"));
        let mut text = format!("{of_day}  {kind}  {id:<ORDER$}  {total:>TOTAL$}  {customer}\n");
        if let Some(rejection) = order
            .rejection
            .filter(|_| matches!(change.kind(), Kind::Rejected | Kind::Expired))
        {
            let why = record::visible(&rejection.message);
            text.push_str(&format!("{:10}{}: {why}\n", "", rejection.reason));
        }
        write(&text)
    }

    fn coloured(&self, kind: Kind, text: String) -> String {
        let code = match kind {
            Kind::Confirmed | Kind::Shipped | Kind::Delivered | Kind::Edited => 32,
            Kind::Rejected
            | Kind::ReturnDeclined
            | Kind::Expired
            | Kind::PaymentDeclined
            | Kind::EditRefused => 31,
            Kind::Placed
            | Kind::Reserved
            | Kind::Held
            | Kind::ReturnRequested
            | Kind::EditBegun
            | Kind::Backordered
            | Kind::EditReserved
            | Kind::FulfilmentOpened => 33,
            Kind::Cancelled
            | Kind::Closed
            | Kind::LinesCancelled
            | Kind::FulfilmentCancelled
            | Kind::Released
            | Kind::Consumed
            | Kind::ReturnApproved
            | Kind::ReturnClosed
            | Kind::ReturnReceived
            | Kind::Restocked
            | Kind::Refunded
            | Kind::PaymentDone
            | Kind::PaymentRetried
            | Kind::HoldReleased
            | Kind::BackorderFilled
            | Kind::Unspecified => return text,
        };
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use docket_engine::ChangeKind;
    use docket_proto::api::feed::kind_to_proto;

    use super::*;

    #[test]
    fn every_kind_fits_its_column() {
        for kind in ChangeKind::ALL {
            let name = kind_to_proto(kind).as_str_name();
            assert!(name.len() <= KIND, "{name}");
        }
    }
}
