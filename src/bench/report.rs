//! The report: for people, for programs, and against an earlier one.

use std::{collections::BTreeMap, fs, path::Path};

use docket_soak::{Mode, Pace, WatchOf, books::Checked};
use serde_json::{Map, Value, json};

use super::{
    Plan, Where,
    figures::{About, Figures, show},
};
use crate::{
    failure::Failure,
    output::{Field, Format, Output, Records},
};

/// What the server answers a caller who has no tokens left, or where there is no room.
const EXHAUSTED: &str = "RESOURCE_EXHAUSTED";

/// What a bench came to.
#[derive(Clone, Debug)]
pub struct Report {
    headline: String,
    json: Value,
    figures: Figures,
    errors: BTreeMap<&'static str, u64>,
    checked: Checked,
    notes: Vec<String>,
}

impl Report {
    /// What `plan` came to.
    pub fn new(
        plan: &Plan,
        place: String,
        in_memory: bool,
        figures: Figures,
        errors: BTreeMap<&'static str, u64>,
        checked: Checked,
    ) -> Self {
        let mut notes = Vec::new();
        if in_memory {
            notes.push(
                "the server's folder is only in memory, where a sync costs nothing: see --dir".to_owned(),
            );
        }
        if let Some(count) = errors.get(EXHAUSTED) {
            notes.push(match plan.place {
                Where::There(_) => format!("{count} calls were refused by the server's limits ({EXHAUSTED}): those are what is measured"),
                Where::Here { .. } => format!("{count} calls were refused for want of room ({EXHAUSTED})"),
            });
        }
        if matches!(plan.place, Where::There(_)) {
            notes.push(
                "the echo ran on this machine; customers, items and orders stay on the server".to_owned(),
            );
        }
        let shown = figures.all().iter().map(|figure| {
            let values = json!({ "median": figure.median(), "least": figure.least(), "most": figure.most() });
            (figure.name.clone(), values)
        });
        let json = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "server": place,
            "settings": settings(plan),
            "figures": shown.collect::<Map<_, _>>(),
            "errors": errors,
            "books": {
                "balance": checked.fault_count == 0,
                "acknowledged": checked.acknowledged,
                "orders_read": checked.read,
                "customers": checked.customers,
                "items": checked.items,
                "fault_count": checked.fault_count,
                "faults": checked.faults,
            },
            "notes": notes,
        });
        Self {
            headline: headline(plan),
            json,
            figures,
            errors,
            checked,
            notes,
        }
    }

    /// How much is wrong with the books.
    pub fn faults(&self) -> u64 {
        self.checked.fault_count
    }

    /// Shows it, beside an `old` one.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn show(&self, output: &Output, old: Option<&Old>) -> Result<(), Failure> {
        if output.format() == Format::Json {
            let mut json = self.json.clone();
            if let Some(old) = old {
                json["compared"] = old.compare(&self.json);
            }
            return output.json(&json);
        }
        output.line(&self.headline)?;
        for about in About::ALL {
            let rows: Vec<Vec<Field>> = self
                .figures
                .all()
                .iter()
                .filter(|figure| figure.about == about)
                .map(|figure| {
                    let mut row = vec![Field::text("figure", &label(&figure.name))];
                    row.extend(
                        [
                            ("median", figure.median()),
                            ("least", figure.least()),
                            ("most", figure.most()),
                        ]
                        .map(|(column, value)| Field::shown(column, json!(value), show(&figure.name, value))),
                    );
                    row
                })
                .collect();
            if !rows.is_empty() {
                output.line("")?;
                output.records(
                    "figures",
                    &Records {
                        columns: &["figure", "median", "least", "most"],
                        rows,
                    },
                )?;
            }
        }
        if !self.errors.is_empty() {
            let row = |(code, count): (&&str, &u64)| {
                vec![Field::text("failed_with", code), Field::number("calls", *count)]
            };
            output.line("")?;
            output.records(
                "errors",
                &Records {
                    columns: &["failed_with", "calls"],
                    rows: self.errors.iter().map(row).collect(),
                },
            )?;
        }
        if let Some(old) = old {
            output.line("")?;
            old.show(output, &self.json)?;
        }
        output.line("")?;
        self.notes.iter().for_each(|note| output.note(note));
        self.checked.faults.iter().for_each(|fault| output.note(fault));
        output.line(&self.books())
    }

    fn books(&self) -> String {
        let Checked {
            acknowledged,
            read,
            customers,
            items,
            fault_count,
            ..
        } = &self.checked;
        let what = format!(
            "{acknowledged} orders acknowledged, {read} read back, {customers} customers and {items} items compared"
        );
        match fault_count {
            0 => format!("the books balance: {what}"),
            count => format!("THE BOOKS DO NOT BALANCE, {count} faults: {what}"),
        }
    }
}

fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Unary | Mode::UnaryWritten => "unary",
        Mode::Stream => "stream",
    }
}

/// What was measured, in a line.
fn headline(plan: &Plan) -> String {
    let (load, shape) = (&plan.load, &plan.shape);
    let mode = name(load.mode);
    let pace = match load.pace {
        Pace::Closed => format!("{} in flight", load.in_flight),
        Pace::Open { per_second } => format!("{per_second} a second, {} in flight at most", load.in_flight),
    };
    format!(
        "{mode}: {pace} on {} connections, {} rounds of {:?}\n{} customers, {} items, {} lines, skew {}, share of reads {}",
        load.connections,
        plan.rounds,
        load.duration,
        shape.customers,
        shape.items,
        shape.lines,
        shape.skew,
        shape.read_share,
    )
}

/// A figure's name as people read it.
fn label(name: &str) -> String {
    let name = name.strip_suffix("_bytes").unwrap_or(name);
    name.replace("p99_9_", "p99.9_")
        .replace("p99_99_", "p99.99_")
        .replace('_', " ")
        .replace(" us", " µs")
}

fn settings(plan: &Plan) -> Value {
    let (load, shape) = (&plan.load, &plan.shape);
    json!({
        "mode": name(load.mode),
        "rate": match load.pace { Pace::Closed => None, Pace::Open { per_second } => Some(per_second) },
        "in_flight": load.in_flight,
        "connections": load.connections,
        "threads": load.threads,
        "customers": shape.customers,
        "items": shape.items,
        "lines": shape.lines,
        "skew": shape.skew,
        "read_share": shape.read_share,
        "seed": shape.seed,
        "duration_seconds": load.duration.as_secs_f64(),
        "warm_up_seconds": plan.warm_up.as_secs_f64(),
        "rounds": plan.rounds,
        "overload": plan.overload,
        "watches": watches(plan, WatchOf::OneCustomer),
        "watches_of_everything": watches(plan, WatchOf::Everything),
    })
}

/// How many watches of a kind there are.
fn watches(plan: &Plan, of: WatchOf) -> usize {
    let of = plan.watches.iter().filter(|(kind, _)| *kind == of);
    of.map(|(_, count)| count).sum()
}

/// An earlier report.
#[derive(Clone, Debug)]
pub struct Old {
    name: String,
    json: Value,
}

impl Old {
    /// Reads what `-o json` printed.
    ///
    /// # Errors
    /// The file cannot be read, or is no such report.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let refused = |why: String| Failure::Usage(format!("cannot compare with {}: {why}", path.display()));
        let text = fs::read_to_string(path).map_err(|cause| refused(cause.to_string()))?;
        let json: Value = serde_json::from_str(&text).map_err(|cause| refused(cause.to_string()))?;
        if !json["figures"].is_object() {
            return Err(refused("it is no output of `docket bench -o json`".to_owned()));
        }
        Ok(Self {
            name: path.display().to_string(),
            json,
        })
    }

    /// The figures that both have: name, old, new.
    fn both<'a>(&'a self, new: &'a Value) -> impl Iterator<Item = (&'a str, f64, f64)> {
        let figures = new["figures"].as_object().into_iter().flatten();
        figures.filter_map(|(name, figure)| {
            let old = self.json["figures"][name]["median"].as_f64()?;
            Some((name.as_str(), old, figure["median"].as_f64()?))
        })
    }

    /// The settings that differ: name, old, new.
    fn differing<'a>(&'a self, new: &'a Value) -> impl Iterator<Item = (&'a str, &'a Value, &'a Value)> {
        let settings = new["settings"].as_object().into_iter().flatten();
        let old = &self.json["settings"];
        settings
            .filter(|(name, new)| old[*name] != **new)
            .map(|(name, new)| (name.as_str(), &old[name], new))
    }

    fn compare(&self, new: &Value) -> Value {
        let ratios = self
            .both(new)
            .filter_map(|(name, old, new)| Some((name.to_owned(), json!(ratio(old, new)?))));
        let differing = self
            .differing(new)
            .map(|(name, old, new)| (name.to_owned(), json!({ "old": old, "new": new })));
        json!({
            "with": self.name,
            "ratios": ratios.collect::<Map<_, _>>(),
            "settings_that_differ": differing.collect::<Map<_, _>>(),
        })
    }

    fn show(&self, output: &Output, new: &Value) -> Result<(), Failure> {
        let row = |(name, old, new): (&str, f64, f64)| {
            let ratio = ratio(old, new);
            vec![
                Field::text("compared", &label(name)),
                Field::shown("old", json!(old), show(name, old)),
                Field::shown("new", json!(new), show(name, new)),
                Field::shown(
                    "new_to_old",
                    json!(ratio),
                    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
                ),
            ]
        };
        let rows = self.both(new).map(row).collect();
        output.records(
            "compared",
            &Records {
                columns: &["compared", "old", "new", "new_to_old"],
                rows,
            },
        )?;
        for (name, old, new) in self.differing(new) {
            output.note(&format!(
                "{} was measured with {name} {old}, this with {new}",
                self.name
            ));
        }
        Ok(())
    }
}

/// New divided by old, where that says something.
fn ratio(old: f64, new: f64) -> Option<f64> {
    (old != 0.0).then(|| new / old)
}
