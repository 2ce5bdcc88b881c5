//! One line of an order as it is written: `SKU:QTY` or `SKU:QTY@PRICE`.

use std::str::FromStr;

use super::{
    money::{Amount, AmountError},
    names,
};

/// A line: which item, how many, and at which price when one was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The item's resource name.
    pub item: String,
    /// How many.
    pub quantity: i64,
    /// The price of one; what the item costs now, when it is not given.
    pub price: Option<Amount>,
}

/// Why a line cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// No colon.
    #[error("write SKU:QTY or SKU:QTY@PRICE, for instance tea:2 or tea:2@4.50")]
    Shape,
    /// No item in front of the colon.
    #[error("{0}")]
    Item(String),
    /// Not a whole number.
    #[error("`{0}` is not a whole quantity")]
    Quantity(String),
    /// Not an amount.
    #[error(transparent)]
    Price(#[from] AmountError),
}

impl FromStr for Line {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let (item, rest) = text.split_once(':').ok_or(LineError::Shape)?;
        let (quantity, price) = match rest.split_once('@') {
            Some((quantity, price)) => (quantity, Some(price.parse()?)),
            None => (rest, None),
        };
        Ok(Self {
            item: names::item(item).map_err(LineError::Item)?,
            quantity: quantity
                .parse()
                .map_err(|_| LineError::Quantity(quantity.to_owned()))?,
            price,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_an_item_a_quantity_and_perhaps_a_price() {
        let line: Line = "tea:2@4.50".parse().unwrap();
        assert_eq!(
            line,
            Line {
                item: "items/tea".into(),
                quantity: 2,
                price: Some("4.50".parse().unwrap())
            }
        );
        let line: Line = "items/tea:3".parse().unwrap();
        assert_eq!(
            line,
            Line {
                item: "items/tea".into(),
                quantity: 3,
                price: None
            }
        );
    }

    #[test]
    fn a_line_that_is_not_one_says_what_one_is() {
        for (text, part) in [
            ("tea", "SKU:QTY"),
            (":2", "items/ID"),
            ("tea:two", "`two` is not a whole quantity"),
            ("tea:", "`` is not a whole quantity"),
            ("tea:2@", "is not an amount"),
            ("tea:2@1e9", "is not an amount"),
        ] {
            let error = text.parse::<Line>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
