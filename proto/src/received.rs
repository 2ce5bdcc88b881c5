//! An order as a server is asked for it. On the wire it is `docket.v1.PlaceOrderRequest`; here its texts are in one piece of memory instead
//! of one each, and it is read without the generated code's detours. What this reader does not know, it leaves to the generated code, whose
//! answer is the same wherever both have one: the tests hold them against each other.

use std::ops::Range;

use prost::{DecodeError, Message as _};

use crate::{
    v1,
    wire::{self, Field, fields},
};

/// An order that is asked for.
#[derive(Debug, Clone, Default)]
pub struct ReceivedOrder {
    /// All texts, one behind the other.
    texts: String,
    request_id: Text,
    customer: Text,
    currency_code: Text,
    payment_method: Text,
    lines: Vec<ReceivedLine>,
    bytes: usize,
}

/// Where a text is among the others.
#[derive(Debug, Clone, Copy, Default)]
struct Text {
    from: u32,
    to: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct ReceivedLine {
    item: Text,
    quantity: i64,
    unit_price: i64,
    amount: i64,
}

/// One line of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineView<'a> {
    /// The item's resource name.
    pub item: &'a str,
    /// How many.
    pub quantity: i64,
    /// The price of one, in minor units.
    pub unit_price: i64,
}

impl ReceivedOrder {
    /// Reads one.
    ///
    /// # Errors
    /// Where the bytes are no `docket.v1.PlaceOrderRequest`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match Self::read(bytes) {
            Some(order) => Ok(order),
            None => v1::PlaceOrderRequest::decode(bytes).map(|message| Self::of(&message, bytes.len())),
        }
    }

    /// None where there is something in it that this reader does not know.
    fn read(bytes: &[u8]) -> Option<Self> {
        /// What most orders have; a vector grows to that all the same.
        const LINES: usize = 4;
        let mut order = Self {
            // Texts are the larger part, and all of them are no longer than the message.
            texts: String::with_capacity(bytes.len()),
            lines: Vec::with_capacity(LINES),
            bytes: bytes.len(),
            ..Self::default()
        };
        for field in fields("PlaceOrderRequest", bytes) {
            let field = field.ok()?;
            match field.number {
                1 => order.request_id = order.text(&field)?,
                2 => order.customer = order.text(&field)?,
                3 => order.currency_code = order.text(&field)?,
                4 => {
                    let line = order.line(&field)?;
                    order.lines.push(line);
                }
                5 => order.payment_method = order.text(&field)?,
                _ => return None,
            }
        }
        Some(order)
    }

    fn line(&mut self, field: &Field<'_>) -> Option<ReceivedLine> {
        let mut line = ReceivedLine::default();
        for field in fields("OrderLine", field.bytes().ok()?) {
            let field = field.ok()?;
            match field.number {
                1 => line.item = self.text(&field)?,
                2 => line.quantity = field.signed().ok()?,
                3 => line.unit_price = field.signed().ok()?,
                4 => line.amount = field.signed().ok()?,
                _ => return None,
            }
        }
        Some(line)
    }

    fn text(&mut self, field: &Field<'_>) -> Option<Text> {
        self.keep(field.text().ok()?)
    }

    fn keep(&mut self, text: &str) -> Option<Text> {
        let from = u32::try_from(self.texts.len()).ok()?;
        self.texts.push_str(text);
        let to = u32::try_from(self.texts.len()).ok()?;
        Some(Text { from, to })
    }

    fn of(message: &v1::PlaceOrderRequest, bytes: usize) -> Self {
        let mut order = Self {
            bytes,
            ..Self::default()
        };
        // gRPC's frames are of less than 4 GiB.
        let mut keep = |text: &str| order.keep(text).unwrap_or_default();
        let request_id = keep(&message.request_id);
        let customer = keep(&message.customer);
        let currency_code = keep(&message.currency_code);
        let payment_method = keep(&message.payment_method);
        let line = |line: &v1::OrderLine| ReceivedLine {
            item: keep(&line.item),
            quantity: line.quantity,
            unit_price: line.unit_price,
            amount: line.amount,
        };
        let lines = message.lines.iter().map(line).collect();
        Self {
            request_id,
            customer,
            currency_code,
            payment_method,
            lines,
            ..order
        }
    }

    /// How long the message was, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The client's id for the request; may be empty, as every text.
    pub fn request_id(&self) -> &str {
        self.at(self.request_id)
    }

    /// The same, as what is left of the request.
    pub fn into_request_id(mut self) -> String {
        let Range { start, end } = self.request_id.range();
        self.texts.truncate(end);
        self.texts.drain(..start);
        self.texts
    }

    /// The customer's resource name.
    pub fn customer(&self) -> &str {
        self.at(self.customer)
    }

    /// The currency of all amounts.
    pub fn currency_code(&self) -> &str {
        self.at(self.currency_code)
    }

    /// Who moves the money.
    pub fn payment_method(&self) -> &str {
        self.at(self.payment_method)
    }

    /// Whether somebody outside is to move the money, and not the customer's account.
    pub fn is_paid_outside(&self) -> bool {
        !matches!(self.payment_method(), "" | "account")
    }

    /// What is ordered.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = LineView<'_>> {
        self.lines.iter().map(|line| LineView {
            item: self.at(line.item),
            quantity: line.quantity,
            unit_price: line.unit_price,
        })
    }

    /// The message, for another node.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes);
        self.write(&mut out);
        out
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        wire::text(out, 1, self.request_id());
        wire::text(out, 2, self.customer());
        wire::text(out, 3, self.currency_code());
        for line in &self.lines {
            wire::nested(out, 4, |out| {
                wire::text(out, 1, self.at(line.item));
                wire::signed(out, 2, line.quantity);
                wire::signed(out, 3, line.unit_price);
                wire::signed(out, 4, line.amount);
            });
        }
        wire::text(out, 5, self.payment_method());
    }

    fn at(&self, text: Text) -> &str {
        self.texts.get(text.range()).unwrap_or_default()
    }
}

impl From<&v1::PlaceOrderRequest> for ReceivedOrder {
    fn from(message: &v1::PlaceOrderRequest) -> Self {
        Self::of(message, message.encoded_len())
    }
}

impl Text {
    fn range(self) -> Range<usize> {
        self.from as usize..self.to as usize
    }
}
