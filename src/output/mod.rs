//! What the commands print: results on stdout as a table for people or as JSON for programs, everything else on stderr.
//!
//! JSON carries the contract's field names, amounts in minor units as numbers, enums by name and moments in RFC 3339.
//! Colours appear only on a terminal, and not where `NO_COLOR` is set.

mod access;
mod changes;
mod cluster;
mod entities;
mod events;
mod narrow;
mod node;
mod overview;
mod record;
mod steering;
mod verify;
mod webhook;

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
};

use clap::ValueEnum;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use docket_edge::status_json::cluster_json;
use docket_proto::v1::ClusterStatus;
use serde_json::{Value, json};

use crate::failure::Failure;
use narrow::Layout;
pub use node::bytes;
pub use record::{Field, Records, Resource, Tone};

/// Between a fact's name and itself.
const FACTS_GAP: usize = 2;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Prints results, notes and failures.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    format: Format,
    colour: bool,
}

impl Output {
    /// An output in `format`; stdout decides about colours.
    pub fn new(format: Format) -> Self {
        let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            format,
            colour: wanted && io::stdout().is_terminal(),
        }
    }

    /// Prints one resource.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn one<R: Resource>(&self, resource: &R) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(&record::object(&resource.fields())),
            Format::Table => {
                let mut text = self.facts(&resource.fields());
                for part in resource.parts() {
                    text.push('\n');
                    text.push_str(&self.table(part.columns, &part.rows));
                }
                write(&text)
            }
        }
    }

    /// Prints a page of resources, how to get the next one, and which shards are missing from it, where a list may leave some out.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn page<R: Resource>(
        &self,
        resources: &[R],
        next_page_token: &str,
        unreachable: Option<&[String]>,
    ) -> Result<(), Failure> {
        let missing = unreachable.unwrap_or_default();
        if !missing.is_empty() {
            self.note(&format!(
                "warning: {} cannot be read now: what is there is missing, and follows behind the others when the list goes on",
                missing.join(", ")
            ));
        }
        match self.format {
            Format::Json => {
                let shown: Vec<Value> = resources
                    .iter()
                    .map(|one| record::object(&one.fields()))
                    .collect();
                let mut page = json!({ R::PLURAL: shown, "next_page_token": next_page_token });
                if let Some(unreachable) = unreachable {
                    page["unreachable"] = json!(unreachable);
                }
                self.json(&page)
            }
            Format::Table => {
                let rows: Vec<Vec<Field>> = resources.iter().map(Resource::fields).collect();
                write(&self.table(R::COLUMNS, &rows))?;
                if !next_page_token.is_empty() {
                    self.note(&format!(
                        "there is more: --page-token {next_page_token}, or --all"
                    ));
                }
                Ok(())
            }
        }
    }

    /// Prints a cluster: its nodes, each with its groups.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn cluster(&self, cluster: &ClusterStatus) -> Result<(), Failure> {
        if self.format == Format::Json {
            return self.json(&cluster_json(cluster));
        }
        self.fields(&[
            Field::text("cluster_id", &cluster.cluster_id),
            Field::number("shards", cluster.shards),
        ])?;
        cluster
            .nodes
            .iter()
            .try_for_each(|node| write("\n").and_then(|()| self.one(node)))
    }

    /// Makes place for what is shown again: on a terminal instead of what was shown before, else below it.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn next_block(&self, is_first: bool) -> Result<(), Failure> {
        if io::stdout().is_terminal() {
            // Clears the screen and goes to its first line.
            return write("\x1b[2J\x1b[H");
        }
        if is_first { Ok(()) } else { write("\n") }
    }

    /// Prints records that are nobody's resource, with all their columns.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn records(&self, key: &str, records: &Records) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                let shown: Vec<Value> = records.rows.iter().map(|row| record::object(row)).collect();
                self.json(&json!({ key: shown }))
            }
            Format::Table => write(&self.table(records.columns, &records.rows)),
        }
    }

    /// Prints facts that are nobody's resource.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn fields(&self, fields: &[Field]) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(&record::object(fields)),
            Format::Table => write(&self.facts(fields)),
        }
    }

    /// Prints a line for people; programs get nothing from it.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        match self.format {
            Format::Json => Ok(()),
            Format::Table => write(&format!("{text}\n")),
        }
    }

    /// Prints JSON, whatever the format.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn json(&self, value: &Value) -> Result<(), Failure> {
        write(&format!("{value:#}\n"))
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Prints a text as it is.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        write(text)
    }

    /// Tells something beside the result, on stderr.
    pub fn note(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Tells why the command failed, on stderr: as JSON where results are.
    pub fn failure(&self, failure: &Failure) {
        let text = match self.format {
            Format::Json => format!("{:#}", failure.to_json()),
            Format::Table => format!("error: {failure}"),
        };
        let _ = writeln!(io::stderr(), "{text}");
    }

    fn facts(&self, fields: &[Field]) -> String {
        let mut table = self.empty();
        for field in fields.iter().filter(|field| !field.text.is_empty()) {
            table.add_row(vec![
                self.dim(Cell::new(record::title(field.name))),
                self.cell(field).set_alignment(CellAlignment::Left),
            ]);
        }
        finish(&mut table, FACTS_GAP)
    }

    fn table(&self, columns: &[&str], rows: &[Vec<Field>]) -> String {
        let mut table = self.empty();
        let text = |row: &[Field], name: &str| {
            let field = row.iter().find(|field| field.name == name);
            field
                .map(|field| record::visible(&field.text))
                .unwrap_or_default()
        };
        let widths: Vec<usize> = columns
            .iter()
            .map(|name| {
                let cells = rows.iter().map(|row| narrow::width(&text(row, name)));
                cells
                    .chain([narrow::width(&record::title(name))])
                    .max()
                    .unwrap_or_default()
            })
            .collect();
        let terminal = table.width().map(usize::from).filter(|width| *width > 0);
        let layout = Layout::of(&widths, terminal);
        let (beside, below) = columns.split_at(layout.beside.min(columns.len()));
        table.set_header(
            beside
                .iter()
                .map(|name| self.dim(Cell::new(record::title(name).to_uppercase()))),
        );
        for row in rows {
            let field = |name: &&str| row.iter().find(|field| field.name == *name);
            table.add_row(
                beside
                    .iter()
                    .map(|name| field(name).map_or_else(|| Cell::new(""), |one| self.cell(one))),
            );
        }
        let drawn = finish(&mut table, layout.gap);
        if below.is_empty() {
            return drawn;
        }
        let mut lines = drawn.lines();
        let mut told: Vec<String> = lines.next().map(str::to_owned).into_iter().collect();
        for (line, row) in lines.zip(rows) {
            told.push(line.to_owned());
            let fields: Vec<_> = below
                .iter()
                .map(|name| (record::title(name), text(row, name)))
                .collect();
            told.extend(narrow::below(&fields, terminal.unwrap_or(usize::MAX)));
        }
        told.push(String::new());
        told.join("\n")
    }

    /// A table without borders that never breaks a cell: what is copied from it must be whole.
    fn empty(&self) -> Table {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        table
    }

    fn dim(&self, cell: Cell) -> Cell {
        if self.colour {
            cell.add_attribute(Attribute::Bold)
        } else {
            cell
        }
    }

    fn cell(&self, field: &Field) -> Cell {
        let cell = Cell::new(record::visible(&field.text)).set_alignment(field.alignment());
        match (self.colour, field.tone) {
            (false, _) | (true, Tone::Plain) => cell,
            (true, Tone::Good) => cell.fg(Color::Green),
            (true, Tone::Bad) => cell.fg(Color::Red),
            (true, Tone::Pending) => cell.fg(Color::Yellow),
        }
    }
}

/// Draws the table flush left, without trailing blanks.
fn finish(table: &mut Table, gap: usize) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, gap as u16));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(&narrow::without_blanks(&line));
        text.push('\n');
    }
    text
}

/// Writes to stdout. A reader that went away (`docket … | head`) is no failure.
fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Other(format!(
            "cannot write the result to stdout: {cause}"
        ))),
        _ => Ok(()),
    }
}
