//! Fulfilments that are planned: somebody takes quantities of a confirmed order's lines upon itself, and sends them later, or does not.
//!
//! A plan is recorded by the order alone: its stock stays reserved and its money held, as before. When it is sent that is a shipment as any
//! other. What is planned cannot be sent by somebody else, cancelled or edited away: whoever has taken it may have it in a parcel already, and
//! must say first that it does not send it. A held order may be planned, since nothing of it leaves the house by that; so may what is backordered,
//! which is sent when it is there.

use std::sync::Arc;

use super::{
    Order, OrderEvent, OrderState, backordering, check_version,
    deciding::{capture, chosen, may_be_shipped},
    life::{are_within, derived_state, skus_of, value},
};
use crate::{
    Amount, Broken, Decision, FULFILMENTS_MAX, Fulfilment, FulfilmentState, LineQuantity, PLANS_MAX,
    PaymentKind, Quantity, Rejection, Time, Version, access::Username, few,
};

pub(super) fn open(
    order: &Order,
    lines: &[LineQuantity],
    by: &Username,
    expected: Option<Version>,
) -> Result<Decision<OrderEvent>, Rejection> {
    check_version(order, expected)?;
    may_be_shipped(order)?;
    let lines = free(order, lines)?;
    if !order.may_be_planned_once_more() {
        return Err(Rejection::TooManyFulfilments);
    }
    Ok(Decision::event(OrderEvent::FulfilmentOpened {
        lines,
        by: by.clone(),
    }))
}

pub(super) fn ship(
    order: &Order,
    fulfilment: u32,
    (carrier, tracking): (&Arc<str>, &Arc<str>),
    by: &Username,
    expected: Option<Version>,
) -> Result<Decision<OrderEvent>, Rejection> {
    check_version(order, expected)?;
    let found = order.fulfilment(fulfilment);
    let found = found.ok_or(Rejection::FulfilmentNotFound { fulfilment })?;
    if !found.is_open() {
        let state = found.state();
        return Err(Rejection::FulfilmentNotOpen { fulfilment, state });
    }
    may_be_shipped(order)?;
    if let Some(hold) = order.active_holds().next() {
        return Err(Rejection::OrderHeld { reason: hold.reason });
    }
    backordering::all_there(order, &found.lines)?;
    let captured = value(&order.lines, &found.lines).ok_or(Rejection::Overflow { line: None })?;
    Ok(Decision {
        events: vec![OrderEvent::FulfilmentShipped {
            fulfilment,
            carrier: carrier.clone(),
            tracking: tracking.clone(),
            by: by.clone(),
        }],
        effects: vec![capture(order, captured)],
    })
}

pub(super) fn cancel(
    order: &Order,
    fulfilment: u32,
    by: &Username,
    expected: Option<Version>,
) -> Result<Decision<OrderEvent>, Rejection> {
    check_version(order, expected)?;
    let found = order.fulfilment(fulfilment);
    let state = found.map(Fulfilment::state);
    match state.ok_or(Rejection::FulfilmentNotFound { fulfilment })? {
        FulfilmentState::Cancelled => Ok(Decision::nothing()),
        FulfilmentState::Open => Ok(Decision::event(OrderEvent::FulfilmentCancelled {
            fulfilment,
            by: by.clone(),
        })),
        state @ (FulfilmentState::Shipped | FulfilmentState::Delivered) => {
            Err(Rejection::FulfilmentNotOpen { fulfilment, state })
        }
    }
}

/// These of what is open and planned by nobody, or all of it where no line is named.
pub(super) fn free(order: &Order, lines: &[LineQuantity]) -> Result<Box<[LineQuantity]>, Rejection> {
    let (open, planned) = (order.open_quantities(), order.planned_quantities());
    let chosen = chosen(&order.free_quantities(), lines, |line, wanted, _| {
        let of = |quantities: &[Quantity]| quantities.get(usize::from(line)).copied().unwrap_or_default();
        match wanted <= of(&open) && wanted.0 > 0 {
            true => Rejection::QuantityPlanned {
                line,
                planned: of(&planned),
            },
            false => Rejection::QuantityNotOpen {
                line,
                wanted,
                open: of(&open),
            },
        }
    })?;
    match chosen.is_empty() {
        true => all_planned(&planned).map_or(Ok(chosen), Err),
        false => Ok(chosen),
    }
}

/// Why all that is open cannot be called off: some of it is planned.
pub(super) fn all_planned(planned: &[Quantity]) -> Option<Rejection> {
    let mut planned = planned.iter().zip(0_u16..);
    let (&planned, line) = planned.find(|(planned, _)| planned.0 > 0)?;
    Some(Rejection::QuantityPlanned { line, planned })
}

impl Order {
    /// How much of each line somebody is to send: of what is open.
    pub fn planned_quantities(&self) -> Vec<Quantity> {
        let mut planned = vec![Quantity::ZERO; self.lines.len()];
        let open = self.fulfilments().iter().filter(|it| it.is_open());
        for of_line in open.flat_map(|it| &it.lines) {
            if let Some(sum) = planned.get_mut(usize::from(of_line.line)) {
                *sum = Quantity(sum.0.saturating_add(of_line.quantity.0));
            }
        }
        planned
    }

    /// How much of each line is open, and nobody has taken upon itself.
    pub fn free_quantities(&self) -> Vec<Quantity> {
        let open = self.open_quantities().into_iter();
        open.zip(self.planned_quantities())
            .map(|(open, planned)| Quantity(open.0.saturating_sub(planned.0)))
            .collect()
    }

    fn may_be_planned_once_more(&self) -> bool {
        standing(self.fulfilments()) < FULFILMENTS_MAX && self.plans() < PLANS_MAX
    }

    /// How much was ever planned.
    fn plans(&self) -> usize {
        self.fulfilments().iter().filter(|it| it.opened.is_some()).count()
    }

    /// Carries an event of a plan into the order; `None` where it is none that fits.
    pub(super) fn evolve_plan(&mut self, event: &OrderEvent, at: Time) -> Option<()> {
        let is_open = matches!(self.state, OrderState::Confirmed | OrderState::PartiallyFulfilled);
        match event {
            OrderEvent::FulfilmentOpened { lines, by } if is_open && self.is_quiet() => {
                are_within(lines, &self.free_quantities())?;
                if !self.may_be_planned_once_more() {
                    return None;
                }
                let plan = Fulfilment {
                    lines: lines.clone(),
                    carrier: "".into(),
                    tracking: "".into(),
                    captured: Amount::ZERO,
                    opened: Some(self.stamp(at, Some(by))),
                    shipped: None,
                    delivered: None,
                    cancelled: None,
                };
                few::add(&mut self.life.get_or_insert_default().fulfilments, plan);
            }
            OrderEvent::FulfilmentShipped {
                fulfilment,
                carrier,
                tracking,
                by,
            } if is_open && self.is_quiet() && self.active_holds().next().is_none() => {
                let lines = self
                    .fulfilment(*fulfilment)
                    .filter(|it| it.is_open())?
                    .lines
                    .clone();
                backordering::all_there(self, &lines).ok()?;
                let captured = value(&self.lines, &lines)?;
                let (stamp, consuming) = (self.stamp(at, Some(by)), skus_of(&self.lines, &lines));
                let life = self.life.as_mut()?;
                let found = life.fulfilments.get_mut(index(*fulfilment)?)?;
                found.carrier = carrier.clone();
                found.tracking = tracking.clone();
                found.captured = captured;
                found.shipped = Some(stamp.clone());
                life.consuming = consuming;
                self.state = derived_state(&self.lines, Some(life));
                self.owe(PaymentKind::Capture, captured, stamp);
            }
            OrderEvent::FulfilmentCancelled { fulfilment, by } => {
                let stamp = self.stamp(at, Some(by));
                let found = self.life.as_mut()?.fulfilments.get_mut(index(*fulfilment)?)?;
                if !found.is_open() {
                    return None;
                }
                found.cancelled = Some(stamp);
            }
            _ => return None,
        }
        Some(())
    }

    /// Checks the invariants of what is planned.
    pub(super) fn validate_plans(&self) -> Result<(), Broken> {
        let broken = |why| Err(Broken::new(self.id, why));
        let is_whole = |it: &Fulfilment| {
            let begun = it.opened.is_some() || it.shipped.is_some();
            let ends_once = it.shipped.is_none() || it.cancelled.is_none();
            begun && ends_once && (it.delivered.is_none() || it.shipped.is_some())
        };
        if self.plans() > PLANS_MAX {
            return broken("it was planned too often");
        }
        if !self.fulfilments().iter().all(is_whole) {
            return broken("a fulfilment is neither planned nor sent, or has two ends");
        }
        let open = self.open_quantities();
        let mut both = self.planned_quantities().into_iter().zip(open);
        match both.all(|(planned, open)| planned <= open) {
            true => Ok(()),
            false => broken("more of a line is planned than is open"),
        }
    }
}

/// How many of an order's fulfilments were not called off.
pub(super) fn standing(fulfilments: &[Fulfilment]) -> usize {
    fulfilments.iter().filter(|it| it.cancelled.is_none()).count()
}

/// A fulfilment's place, of its number from 1.
fn index(fulfilment: u32) -> Option<usize> {
    usize::try_from(fulfilment).ok()?.checked_sub(1)
}
