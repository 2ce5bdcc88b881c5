//! Amounts of money. People write the currency's main unit (`12.34`); the contract carries whole minor units (`1234`).
//!
//! The number of decimals comes from ISO 4217 (EUR has two, JPY none, BHD three). A conversion is exact or refused.

use std::{fmt, str::FromStr};

use iso_currency::Currency;

/// An amount in a currency's main unit as it was written; which currency is known later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    negative: bool,
    whole: String,
    fraction: String,
}

/// Why an amount cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a decimal number.
    #[error("`{0}` is not an amount: write the main unit, for instance 12 or 12.34")]
    NotANumber(String),
    /// Not an ISO 4217 code, or one without minor units (gold, for instance).
    #[error("`{0}` is not an ISO 4217 currency with minor units: write, for instance, EUR or USD")]
    Currency(String),
    /// More decimals than the currency has.
    #[error("{amount} has {given} decimals, but {currency} has {allowed}")]
    Decimals {
        /// What was written.
        amount: String,
        /// How many decimals it has.
        given: usize,
        /// The currency.
        currency: String,
        /// How many decimals the currency has.
        allowed: usize,
    },
    /// Beyond 64 bits of minor units.
    #[error("{0} is too large")]
    TooLarge(String),
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let refused = || AmountError::NotANumber(text.to_owned());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(refused()),
            Some(parts) => parts,
            None => (digits, ""),
        };
        if whole.is_empty() || !whole.chars().chain(fraction.chars()).all(|c| c.is_ascii_digit()) {
            return Err(refused());
        }
        Ok(Self {
            negative,
            whole: whole.to_owned(),
            fraction: fraction.to_owned(),
        })
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let point = if self.fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{}{point}{}", self.whole, self.fraction)
    }
}

impl Amount {
    /// The amount in minor units of `currency`, exactly.
    ///
    /// # Errors
    /// An unknown currency, more decimals than it has (trailing zeros too: they are a claim about precision), or more
    /// than 64 bits hold.
    pub fn minor_units(&self, currency: &str) -> Result<i64, AmountError> {
        let allowed = exponent(currency).ok_or_else(|| AmountError::Currency(currency.to_owned()))?;
        let given = self.fraction.len();
        if given > allowed {
            return Err(AmountError::Decimals {
                amount: self.to_string(),
                given,
                currency: currency.to_owned(),
                allowed,
            });
        }
        let sign = if self.negative { "-" } else { "" };
        let zeros = "0".repeat(allowed - given);
        format!("{sign}{}{}{zeros}", self.whole, self.fraction)
            .parse()
            .map_err(|_| AmountError::TooLarge(format!("{self} {currency}")))
    }
}

/// Reads an ISO 4217 code, for clap; small letters are taken as capitals.
pub fn currency(text: &str) -> Result<String, String> {
    let code = text.to_ascii_uppercase();
    match exponent(&code) {
        Some(_) => Ok(code),
        None => Err(AmountError::Currency(text.to_owned()).to_string()),
    }
}

/// `12.34 EUR` for 1234 minor units of EUR. A currency that is not known shows its minor units and says so.
pub fn show(minor_units: i64, currency: &str) -> String {
    let Some(decimals) = exponent(currency) else {
        return format!("{minor_units} minor units of {currency}");
    };
    let sign = if minor_units < 0 { "-" } else { "" };
    let digits = format!("{:0width$}", minor_units.unsigned_abs(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let point = if decimals == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction} {currency}")
}

/// How many decimals a currency has; none where it is not a currency with minor units.
fn exponent(currency: &str) -> Option<usize> {
    Currency::from_code(currency)?.exponent().map(usize::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, currency: &str, minor: Result<i64, &str>) {
        let read = text
            .parse::<Amount>()
            .and_then(|amount| amount.minor_units(currency));
        match (read, minor) {
            (Ok(read), Ok(minor)) => assert_eq!(read, minor),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (read, minor) => panic!("{text} {currency}: {read:?} is not {minor:?}"),
        }
    }

    #[test]
    fn the_currency_decides_how_many_decimals_there_are() {
        check("12.34", "EUR", Ok(1234));
        check("12", "EUR", Ok(1200));
        check("12.3", "EUR", Ok(1230));
        check("-0.05", "EUR", Ok(-5));
        check("+7", "JPY", Ok(7));
        check("1.234", "BHD", Ok(1234));
        check("0", "EUR", Ok(0));
        check("92233720368547758.07", "EUR", Ok(i64::MAX));
        check("-92233720368547758.08", "EUR", Ok(i64::MIN));
    }

    #[test]
    fn nothing_is_rounded() {
        check("12.345", "EUR", Err("12.345 has 3 decimals, but EUR has 2"));
        check("7.0", "JPY", Err("JPY has 0"));
        check("92233720368547758.08", "EUR", Err("too large"));
        check("1", "XAU", Err("not an ISO 4217 currency"));
        check("1", "ABC", Err("not an ISO 4217 currency"));
    }

    #[test]
    fn only_plain_decimals_are_amounts() {
        for text in [
            "", "-", ".", "1.", ".5", "1e3", "1,000", "0x1", "NaN", "--1", "1.2.3", "١", "1 ",
        ] {
            check(text, "EUR", Err("is not an amount"));
        }
    }

    #[test]
    fn amounts_are_shown_with_every_decimal() {
        assert_eq!(show(1234, "EUR"), "12.34 EUR");
        assert_eq!(show(-5, "EUR"), "-0.05 EUR");
        assert_eq!(show(0, "JPY"), "0 JPY");
        assert_eq!(show(1, "BHD"), "0.001 BHD");
        assert_eq!(show(i64::MIN, "EUR"), "-92233720368547758.08 EUR");
        assert_eq!(show(5, "???"), "5 minor units of ???");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(minor: i64, currency in prop::sample::select(vec!["EUR", "JPY", "BHD", "USD"])) {
            let shown = show(minor, currency);
            let amount: Amount = shown.trim_end_matches(currency).trim().parse().unwrap();
            prop_assert_eq!(amount.minor_units(currency).unwrap(), minor);
        }
    }
}
