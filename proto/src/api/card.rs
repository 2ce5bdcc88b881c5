//! Numbers of payment cards, which no text may have in it: what holds one falls under PCI DSS, with its disks, backups, logs and whoever reads
//! them. A payment is told apart by its provider's reference instead.

/// How many digits a card's number has, of any scheme (ISO/IEC 7812).
const DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// Whether a text has what looks like a card's number: as many digits in a row as one has, between which there may be one space or hyphen each, which
/// begin as those of a scheme do and have the right check digit. Of other numbers of that length one in a hundred or so looks like one.
pub(super) fn has_card_number(text: &str) -> bool {
    let mut digits = Vec::new();
    // Whether a separator came behind the last digit.
    let mut is_apart = false;
    for c in text.chars() {
        match (c.to_digit(10), c) {
            (Some(digit), _) => {
                digits.push(digit);
                is_apart = false;
            }
            (None, ' ' | '-') if !is_apart && !digits.is_empty() => is_apart = true,
            _ => {
                if is_card_number(&digits) {
                    return true;
                }
                digits.clear();
                is_apart = false;
            }
        }
    }
    is_card_number(&digits)
}

fn is_card_number(digits: &[u32]) -> bool {
    DIGITS.contains(&digits.len()) && is_of_a_scheme(digits) && has_check_digit(digits)
}

/// Whether it begins, and is as long, as the numbers of the large schemes.
fn is_of_a_scheme(digits: &[u32]) -> bool {
    let first = |n: usize| digits.iter().take(n).fold(0, |number, digit| number * 10 + digit);
    match digits.len() {
        // Visa.
        13 | 16 | 19 if first(1) == 4 => true,
        // American Express.
        15 => matches!(first(2), 34 | 37),
        // Diners Club.
        14 => matches!(first(3), 300..=305) || matches!(first(2), 36 | 38 | 39),
        // Mastercard.
        16 if matches!(first(2), 51..=55) || matches!(first(4), 2221..=2720) => true,
        // Discover, JCB, UnionPay, Maestro.
        16..=19 => {
            first(4) == 6011
                || matches!(first(3), 644..=649)
                || matches!(first(2), 65 | 62 | 50 | 56..=58)
                || matches!(first(4), 3528..=3589)
        }
        _ => false,
    }
}

/// Luhn's: every second digit from the right counts twice, the digits of what that makes are added, and the sum ends with 0.
fn has_check_digit(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match at % 2 {
            0 => *digit,
            _ => digit * 2 / 10 + digit * 2 % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_numbers_that_schemes_have_for_tests_are_found_in_any_writing() {
        for number in [
            "4111111111111111",
            "4222222222222",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "30569309025904",
            "6011111111111117",
            "3530111333300000",
            "6200000000000005",
            "4111 1111 1111 1111",
            "3782-822463-10005",
            "paid with 5105-1051-0510-5100, thanks",
            "Karte:4012888888881881.",
        ] {
            assert!(has_card_number(number), "{number}");
        }
    }

    #[test]
    fn what_only_has_as_many_digits_is_none() {
        for other in [
            "",
            "call +49 30 1234567",
            // Another check digit.
            "4111111111111112",
            // EAN-13, an ISBN, and a parcel's number.
            "4006381333931",
            "978-3-16-148410-0",
            "1Z999AA10123456784",
            "9400 1000 0000 0000 0000 00",
            // Too long, and in two pieces.
            "41111111111111111111",
            "4111 1111  1111 1111",
            "4111/1111/1111/1111",
            "123e4567-e89b-12d3-a456-426614174000",
            "2026-11-30 17:04:05",
            // Digits that no card is embossed with.
            "٤١١١١١١١١١١١١١١١",
        ] {
            assert!(!has_card_number(other), "{other}");
        }
    }

    proptest! {
        /// Any number of Visa's with its check digit is found wherever it stands, and with any other check digit it is not.
        #[test]
        fn the_check_digit_decides(body in "4[0-9]{14}", before in "[a-z ]{0,20}", wrong in 1u32..10) {
            let right = (0..10).find(|digit| {
                let digits: Vec<u32> = format!("{body}{digit}").chars().filter_map(|c| c.to_digit(10)).collect();
                has_check_digit(&digits)
            });
            let right: u32 = right.unwrap();
            let text = format!("{before}x{body}{right}y");
            prop_assert!(has_card_number(&text));
            let other = format!("{before}x{body}{}y", (right + wrong) % 10);
            prop_assert!(!has_card_number(&other));
        }
    }
}
