//! The lines of an order: what they cost, of which items they are, and what is asked of each of these.

use super::{Effect, Line};
use crate::{Amount, Currency, LINES_MAX, Rejection, Sku, item::ReserveLine, money::QUANTITY_MAX};

/// The sum of all lines.
///
/// # Errors
/// [`Rejection::Overflow`] where it does not fit, with the line from which on it does not.
pub fn total(lines: &[Line]) -> Result<Amount, Rejection> {
    lines.iter().enumerate().try_fold(Amount::ZERO, |sum, (i, line)| {
        let sum = line
            .unit_price
            .times(line.quantity)
            .and_then(|cost| sum.plus(cost));
        sum.ok_or(Rejection::Overflow { line: Some(i as u16) })
    })
}

/// So many lines are compared each with each other.
pub(super) const FEW_LINES: usize = 4;

/// Whether each line is of an item of its own, and that is seen at a glance: as it is with most orders.
fn are_few_and_distinct(lines: &[Line]) -> bool {
    let is_first = |i: usize| lines[..i].iter().all(|line| line.sku != lines[i].sku);
    lines.len() <= FEW_LINES && (1..lines.len()).all(is_first)
}

/// The distinct items of some lines, in the order of their first line.
pub fn skus(lines: &[Line]) -> Vec<Sku> {
    if are_few_and_distinct(lines) {
        return lines.iter().map(|line| line.sku.clone()).collect();
    }
    let sorted = sorted_by_item(lines);
    let items = items(lines, &sorted);
    items
        .iter()
        .map(|of_item| lines[of_item[0]].sku.clone())
        .collect()
}

/// The numbers of the lines, by item, and the lines of an item as they come. (To compare each of a hundred lines with every other
/// one costs more than all else that is done for them.)
fn sorted_by_item(lines: &[Line]) -> Vec<usize> {
    let mut sorted: Vec<usize> = (0..lines.len()).collect();
    sorted.sort_by(|a, b| lines[*a].sku.cmp(&lines[*b].sku));
    sorted
}

/// The numbers of each item's lines, in the order of the items' first lines.
fn items<'a>(lines: &[Line], sorted: &'a [usize]) -> Vec<&'a [usize]> {
    let of_items = sorted.chunk_by(|a, b| lines[*a].sku == lines[*b].sku);
    let mut items: Vec<&[usize]> = of_items.collect();
    items.sort_unstable_by_key(|of_item| of_item[0]);
    items
}

pub(super) fn reserve_effects(currency: Currency, lines: &[Line], effects: &mut Vec<Effect>) {
    let line = |i: usize| ReserveLine {
        line: i as u16,
        quantity: lines[i].quantity,
        unit_price: lines[i].unit_price,
    };
    if are_few_and_distinct(lines) {
        effects.extend(lines.iter().enumerate().map(|(i, of_item)| Effect::ReserveStock {
            sku: of_item.sku.clone(),
            currency,
            lines: vec![line(i)],
        }));
        return;
    }
    let reserve = |of_item: &[usize]| Effect::ReserveStock {
        sku: lines[of_item[0]].sku.clone(),
        currency,
        lines: of_item.iter().map(|i| line(*i)).collect(),
    };
    let sorted = sorted_by_item(lines);
    effects.extend(items(lines, &sorted).into_iter().map(reserve));
}

/// What lines must be, of which each has so many at least, or why these are not.
pub(super) fn check_lines(lines: &[Line], least: i64) -> Result<(), &'static str> {
    if lines.is_empty() || lines.len() > LINES_MAX {
        return Err("it has no lines, or too many");
    }
    let quantities = least..=QUANTITY_MAX;
    if !lines.iter().all(|line| quantities.contains(&line.quantity.0)) {
        return Err("a line has no quantity, or too many");
    }
    if lines.iter().any(|line| line.unit_price < Amount::ZERO) {
        return Err("a line has a negative price");
    }
    Ok(())
}
