//! Whether what was seen of one key can be put into one order in which each step takes effect between its begin and its end.
//!
//! The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) with the memory of
//! configurations that Lowe added, in his just-in-time form ("Testing for linearizability", 2017); porcupine by Athalye
//! and Knossos by Kingsbury check the same property. Begins and ends are walked in the order of time. At the end of a step that
//! has not taken effect, it does so now, or others that are open do so before it. A configuration is a place in
//! that walk, a state, and the open steps that have taken effect: none is looked at twice.
//!
//! ```text
//!   begin a   begin b   end b ──▶ b │ a b        end a ──▶ a │ nothing left
//!   ────────────────────────▶ time   └ two configurations go on from here
//! ```
//!
//! The walk is bounded: [`WORK_MAX`] configurations, [`OPEN_MAX`] open steps. Beyond them the answer is "undecided", which is
//! neither yes nor no.

use std::{collections::HashSet, fmt::Debug, hash::Hash};

use super::operation::Micros;

/// At most this many configurations of one key are looked at, or [`WORK_PER_STEP`] for each of its steps where that is more.
pub const WORK_MAX: usize = 500_000;
/// A right history of any length needs one or two for each step.
pub const WORK_PER_STEP: usize = 8;
/// At most this many steps of one key are open at a time: the bits of a set.
pub const OPEN_MAX: usize = 128;
/// At most this many configurations are looked at while a failing history is made smaller, in each try.
const SHRINK_WORK_MAX: usize = 50_000;
/// At most this many tries make it smaller.
const SHRINK_TRIES_MAX: usize = 2_000;

/// What one key is, and what each step does to it.
pub trait Model {
    /// The state of the key.
    type State: Clone + Eq + Hash + Debug;
    /// What happens to it. Of equal steps that end at the same time and have both begun, any may be the first.
    type Step: Clone + Eq + Debug;

    /// The state after the step; none where the step cannot happen in this state, or would have been answered otherwise.
    fn step(&self, state: &Self::State, step: &Self::Step) -> Option<Self::State>;

    /// Whether the step must happen before its end, in this state. Others may be passed over.
    fn must(&self, state: &Self::State, step: &Self::Step) -> bool;

    /// Whether the step is only seen: without it everything else is as it was.
    fn only_sees(&self, step: &Self::Step) -> bool;
}

/// A step and the time in which it takes effect.
#[derive(Clone, Debug)]
pub struct Interval<S> {
    /// From when on.
    pub begin: Micros,
    /// Until when; none where there is no end.
    pub end: Option<Micros>,
    /// What happens.
    pub step: S,
    /// The number of the operation that tells of it.
    pub source: usize,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// There is such an order.
    Linearizable,
    /// There is none; the smallest part that shows it.
    Impossible(T),
    /// It takes too much work to tell.
    Undecided,
}

/// The smallest part of a history that fails, as far as it was made small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<State> {
    /// When it begins.
    pub from: Micros,
    /// The state in which it begins: the only one that all before allows.
    pub state: State,
    /// The numbers of its operations, in the order of their begin.
    pub sources: Vec<usize>,
    /// The end of this operation cannot be explained.
    pub stuck_at: usize,
}

/// Whether the steps can be put in order, from `state` on.
pub fn check<M: Model>(
    model: &M,
    state: M::State,
    steps: &[Interval<M::Step>],
    work_max: usize,
) -> Found<Part<M::State>> {
    let mut search = Search::new(model, steps);
    let work_max = work_max.max(steps.len().saturating_mul(WORK_PER_STEP));
    match search.run(state.clone(), work_max) {
        Found::Linearizable => Found::Linearizable,
        Found::Undecided => Found::Undecided,
        Found::Impossible(()) => Found::Impossible(smallest(model, &search, state, steps)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Begin,
    End,
}

/// A place in the walk, a state, and which open steps have taken effect.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Configuration<S> {
    event: usize,
    state: S,
    done: u128,
}

struct Search<'a, M: Model> {
    model: &'a M,
    steps: &'a [Interval<M::Step>],
    /// In the order of time; at the same time begins come first, since such steps overlap.
    events: Vec<(Micros, Event, usize)>,
    /// A bit for each step, unique among those that are open at the same time; none where there were too many.
    slots: Option<Vec<u32>>,
    /// The steps that are open at each event's time, those that end first in front, and of those that began first.
    open: Vec<Vec<usize>>,
    seen: HashSet<Configuration<M::State>>,
    /// How far any configuration came.
    furthest: usize,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, steps: &'a [Interval<M::Step>]) -> Self {
        let mut events = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            events.push((step.begin, Event::Begin, number));
            // What ends before it begins is a clock's fault: it is taken as a moment.
            events.extend(step.end.map(|end| (end.max(step.begin), Event::End, number)));
        }
        events.sort_by_key(|(at, event, number)| (*at, *event == Event::End, *number));
        let (slots, open) = slots_of(&events, steps);
        Self {
            model,
            steps,
            events,
            slots,
            open,
            seen: HashSet::new(),
            furthest: 0,
        }
    }

    fn run(&mut self, state: M::State, work_max: usize) -> Found<()> {
        let Some(slots) = self.slots.clone() else {
            return Found::Undecided;
        };
        let mut stack = vec![Configuration {
            event: 0,
            state,
            done: 0,
        }];
        while let Some(mut at) = stack.pop() {
            // What has only one way on needs no memory.
            while let Some((_, event, number)) = self.events.get(at.event) {
                let bit = 1 << slots[*number];
                match event {
                    Event::Begin => at.done &= !bit,
                    Event::End if at.done & bit != 0 => at.done &= !bit,
                    Event::End => break,
                }
                at.event += 1;
            }
            self.furthest = self.furthest.max(at.event);
            let Some(&(_, _, ending)) = self.events.get(at.event) else {
                return Found::Linearizable;
            };
            if self.seen.len() >= work_max {
                return Found::Undecided;
            }
            if !self.seen.insert(at.clone()) {
                continue;
            }
            self.ways_on(&at, ending, &slots, &mut stack);
        }
        Found::Impossible(())
    }

    /// What can be next where the step `ending` ends and has not taken effect. The likeliest is put on top.
    fn ways_on(
        &self,
        at: &Configuration<M::State>,
        ending: usize,
        slots: &[u32],
        stack: &mut Vec<Configuration<M::State>>,
    ) {
        let others = self.open[at.event].iter().rev().filter(|other| **other != ending);
        for &number in others.chain([&ending]) {
            let bit = 1 << slots[number];
            if at.done & bit == 0
                && !self.has_twin_before(at, number, slots)
                && let Some(state) = self.model.step(&at.state, &self.steps[number].step)
            {
                stack.push(Configuration {
                    event: at.event,
                    state,
                    done: at.done | bit,
                });
            }
        }
        if !self.model.must(&at.state, &self.steps[ending].step) {
            stack.push(Configuration {
                event: at.event + 1,
                state: at.state.clone(),
                done: at.done,
            });
        }
    }
}

impl<M: Model> Search<'_, M> {
    /// Whether an equal step could take effect in this one's place. Only the first of such steps is tried, so that many
    /// of them are not many ways to do the same.
    fn has_twin_before(&self, at: &Configuration<M::State>, number: usize, slots: &[u32]) -> bool {
        let step = &self.steps[number];
        let before = self.open[at.event].iter().take_while(|other| **other != number);
        let mut free = before.filter(|other| at.done & (1 << slots[**other]) == 0);
        free.any(|other| {
            let other = &self.steps[*other];
            other.end == step.end && other.step == step.step
        })
    }
}

/// A bit for every step, and which steps are open at each event; no bits where too many are open.
fn slots_of<S>(
    events: &[(Micros, Event, usize)],
    steps: &[Interval<S>],
) -> (Option<Vec<u32>>, Vec<Vec<usize>>) {
    let mut slots = vec![0; steps.len()];
    let mut free: Vec<u32> = (0..OPEN_MAX as u32).rev().collect();
    let mut open: Vec<usize> = Vec::new();
    let mut open_at = Vec::with_capacity(events.len());
    for (_, event, number) in events {
        match event {
            Event::Begin => {
                let Some(slot) = free.pop() else {
                    return (None, Vec::new());
                };
                slots[*number] = slot;
                let end = |number: usize| steps[number].end.unwrap_or(Micros::MAX);
                let at = open.partition_point(|other| end(*other) <= end(*number));
                open.insert(at, *number);
                open_at.push(Vec::new());
            }
            Event::End => {
                open_at.push(open.clone());
                open.retain(|other| other != number);
                free.push(slots[*number]);
            }
        }
    }
    (Some(slots), open_at)
}

/// Cuts off what comes behind the end that cannot be explained and what comes before a moment with only one possible
/// state, and then leaves out what was only seen, one by one, as long as the rest still fails. Each of these allows whatever the
/// whole allows: so where the part fails, the whole does.
fn smallest<M: Model>(
    model: &M,
    failed: &Search<'_, M>,
    state: M::State,
    steps: &[Interval<M::Step>],
) -> Part<M::State> {
    let (last, _, stuck) = failed.events[failed.furthest];
    let stuck_at = steps[stuck].source;
    let (from, state) = certain_before(failed, state);
    let is_part = |step: &&Interval<M::Step>| step.begin <= last && step.end.is_none_or(|end| end >= from);
    let mut rest: Vec<Interval<M::Step>> = steps.iter().filter(is_part).cloned().collect();
    for step in &mut rest {
        step.end = step.end.filter(|end| *end <= last);
    }
    let fails = |steps: &[Interval<M::Step>]| {
        Search::new(model, steps).run(state.clone(), SHRINK_WORK_MAX) == Found::Impossible(())
    };
    let (mut at, mut tries) = (0, SHRINK_TRIES_MAX);
    while at < rest.len() && tries > 0 {
        if model.only_sees(&rest[at].step) {
            tries -= 1;
            let left_out = rest.remove(at);
            if fails(&rest) {
                continue;
            }
            rest.insert(at, left_out);
        }
        at += 1;
    }
    let mut sources: Vec<usize> = rest.iter().map(|step| step.source).collect();
    sources.sort_unstable();
    sources.dedup();
    Part {
        from,
        state,
        sources,
        stuck_at,
    }
}

/// The latest moment before the failure at which no step was open and only one state was possible. The failed search
/// has seen every configuration that can be reached, so those that it has not seen are impossible.
fn certain_before<M: Model>(failed: &Search<'_, M>, initial: M::State) -> (Micros, M::State) {
    let mut untouched: Vec<HashSet<&M::State>> = vec![HashSet::new(); failed.events.len()];
    for configuration in failed.seen.iter().filter(|seen| seen.done == 0) {
        untouched[configuration.event].insert(&configuration.state);
    }
    let (mut open, mut certain) = (0_usize, (0, initial));
    let mut quiet_until = None;
    for (number, (at, event, _)) in failed.events.iter().enumerate().take(failed.furthest + 1) {
        if *event == Event::Begin {
            if open == 0 {
                quiet_until = Some(*at);
            }
            open += 1;
            continue;
        }
        // At the first end behind a quiet moment, nothing has taken effect since: what was possible then is possible here.
        if let (Some(begin), 1) = (quiet_until.take(), untouched[number].len())
            && let Some(state) = untouched[number].iter().next()
        {
            certain = (begin, (*state).clone());
        }
        open -= 1;
    }
    certain
}
