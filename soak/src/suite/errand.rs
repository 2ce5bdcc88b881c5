//! What a keeper asks of an order that it leads: drawn by what that is, mostly what can be done, and now and then what cannot.

use crate::{
    Chance,
    books::Led,
    history::{
        Ask,
        life::{Deed, Life, Moved, Named, Reason, ReturnPhase, Sent},
    },
};

/// For what orders are held.
const REASONS: [&str; 3] = ["FRAUD_REVIEW", "ADDRESS", "OPERATOR"];
/// So many more of a line an edit wants at most.
const MORE_MAX: u64 = 3;
/// What is drawn until something of it can be asked.
const DRAWS_MAX: u32 = 16;
/// One thing in so many is more than is open.
const TOO_MUCH_EVERY: u64 = 40;

/// What is asked of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// One of these.
    Deed(Deed),
    /// That all that is open of it is called off.
    Cancel,
}

impl Errand {
    /// What it is, in a word or two.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Deed(deed) => deed.name(),
            Self::Cancel => "cancel",
        }
    }

    /// Whether it is asked at an etag only.
    pub fn needs_etag(&self) -> bool {
        matches!(self, Self::Deed(Deed::Edit(_)))
    }

    /// What it makes of an order, or why it must be refused.
    pub fn after(&self, led: &Led) -> Result<Life, Reason> {
        match self {
            Self::Deed(deed) => led.life.after(deed, &led.prices()),
            Self::Cancel => led.life.cancelled(),
        }
    }

    /// The request for it.
    pub fn ask(&self, led: &Led, request_id: String, etag: &str) -> Ask {
        let order = led.order.name();
        let etag = if self.needs_etag() { etag } else { "" }.to_owned();
        match self {
            Self::Deed(deed) => Ask::Do {
                request_id,
                order,
                deed: deed.clone(),
                etag,
            },
            Self::Cancel => Ask::Cancel {
                request_id,
                order,
                etag,
            },
        }
    }
}

/// Something that an order may be asked for; none of one of which nothing can come any more.
pub fn draw(chance: &mut Chance, led: &Led) -> Option<Errand> {
    if led.closed {
        return None;
    }
    let life = &led.life;
    if chance.below(TOO_MUCH_EVERY) == 0 {
        let open = life.lines.first().map_or(0, |line| line.open());
        return Some(Errand::Deed(Deed::Ship(vec![(0, open + 1)])));
    }
    (0..DRAWS_MAX).find_map(|_| drawn(chance, led))
}

fn drawn(chance: &mut Chance, led: &Led) -> Option<Errand> {
    let life = &led.life;
    let is_open = life.lines.iter().any(|line| line.open() > 0);
    let planned = life.planned();
    let free = life.lines.iter().zip(&planned);
    let free: Vec<i64> = free.map(|(line, planned)| line.open() - planned).collect();
    let held = life.holds.iter().next().cloned();
    let deed = match chance.below(24) {
        0..6 => match held {
            Some(reason) if chance.below(4) > 0 => Some(Deed::Release(reason)),
            _ => some_of(chance, &free).map(Deed::Ship),
        },
        6 | 7 => some_of(chance, &free).map(Deed::Plan),
        8..11 => {
            let number = any(chance, life, |sent| sent == Sent::Planned)?;
            Some(match chance.below(3) {
                0 => Deed::GiveUp(number),
                _ => Deed::ShipPlanned(number),
            })
        }
        11 => some_of(chance, &free).map(Deed::CancelLines),
        12 => {
            // Most lives are to go on.
            return (is_open && chance.below(3) == 0).then_some(Errand::Cancel);
        }
        13 | 14 => {
            let reason = REASONS[chance.below(REASONS.len() as u64) as usize];
            is_open.then(|| Deed::Hold(reason.to_owned()))
        }
        15 => any(chance, life, |sent| sent == Sent::Away).map(Deed::Deliver),
        16 | 17 => edit(chance, led, &planned).filter(|_| is_open),
        18 | 19 => some_of(chance, &life.returnable()).map(Deed::Return),
        20..23 => moved(chance, life),
        _ => {
            let left = life.captured(&led.prices()) - life.refunded();
            (left > 0).then(|| Deed::Refund(1 + chance.below(left as u64) as i64))
        }
    };
    deed.map(Errand::Deed)
}

fn some_of(chance: &mut Chance, there: &[i64]) -> Option<Named> {
    let lines: Vec<usize> = (0..there.len()).filter(|line| there[*line] > 0).collect();
    if lines.is_empty() {
        return None;
    }
    let line = lines[chance.below(lines.len() as u64) as usize];
    Some(vec![(line, 1 + chance.below(there[line] as u64) as i64)])
}

/// The number of a shipment that is so far.
fn any(chance: &mut Chance, life: &Life, is_it: impl Fn(Sent) -> bool) -> Option<usize> {
    let numbers = (1..).zip(&life.shipments);
    let found: Vec<usize> = numbers
        .filter(|(_, (_, sent))| is_it(*sent))
        .map(|(number, _)| number)
        .collect();
    (!found.is_empty()).then(|| found[chance.below(found.len() as u64) as usize])
}

/// Nothing less than was sent, called off and planned; of an order by a provider nothing more, for which that would have to be asked again.
fn edit(chance: &mut Chance, led: &Led, planned: &[i64]) -> Option<Deed> {
    let lines = &led.life.lines;
    let at = chance.below(lines.len() as u64) as usize;
    let line = lines.get(at)?;
    let least = line.shipped + line.cancelled + planned.get(at)?;
    let more = if led.by_provider {
        0
    } else {
        chance.below(MORE_MAX + 1)
    };
    let most = line.ordered + more as i64;
    let many = least + chance.below((most - least).max(0) as u64 + 1) as i64;
    Some(Deed::Edit(vec![(at, many)]))
}

fn moved(chance: &mut Chance, life: &Life) -> Option<Deed> {
    let (number, it) = (1..).zip(&life.returns).find(|(_, it)| {
        matches!(
            it.phase,
            ReturnPhase::Requested | ReturnPhase::Approved | ReturnPhase::Received
        )
    })?;
    let moved = match (it.phase, chance.below(5)) {
        (ReturnPhase::Requested, 0) => Moved::Decline,
        (ReturnPhase::Requested, _) => Moved::Approve,
        (ReturnPhase::Approved, 1..) => Moved::Receive,
        _ => Moved::Close,
    };
    Some(Deed::Move(number, moved))
}
