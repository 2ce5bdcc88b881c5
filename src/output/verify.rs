//! What a verification of the books has found.

use docket_proto::v1::{Discrepancy, ShardBooks, UnverifiedShard, VerifyBooksResponse};
use serde_json::{Value, json};

use super::{
    Format, Output,
    record::{self, Field, Records, Resource, Tone},
};
use crate::failure::Failure;

impl Output {
    /// Prints what was looked at, and every discrepancy: for people each below its name, since together they are wider than a screen.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn books(&self, books: &VerifyBooksResponse) -> Result<(), Failure> {
        self.one(books)?;
        if self.format() == Format::Json {
            return Ok(());
        }
        for Discrepancy {
            kind,
            name,
            description,
        } in &books.discrepancies
        {
            let (name, description) = (record::visible(name), record::visible(description));
            self.line(&format!("\n{kind}  {name}\n  {description}"))?;
        }
        Ok(())
    }
}

impl Resource for VerifyBooksResponse {
    const PLURAL: &'static str = "books";
    const COLUMNS: &'static [&'static str] = &["node_id", "orders", "discrepancy_count"];

    fn fields(&self) -> Vec<Field> {
        let sum = |of: fn(&ShardBooks) -> u64| self.shards.iter().map(of).sum::<u64>();
        let objects = |fields: Vec<Vec<Field>>| -> Value {
            fields.iter().map(|fields| record::object(fields)).collect()
        };
        let shards = objects(self.shards.iter().map(shard_fields).collect());
        let unverified = objects(self.unverified_shards.iter().map(unverified_fields).collect());
        let discrepancies = objects(self.discrepancies.iter().map(discrepancy_fields).collect());
        let bad = |field: Field, many: u64| field.tone(if many == 0 { Tone::Good } else { Tone::Bad });
        vec![
            Field::number("node_id", self.node_id),
            Field::number("customers", sum(|shard| shard.customers)),
            Field::number("items", sum(|shard| shard.items)),
            Field::number("orders", sum(|shard| shard.orders)),
            Field::number("archived_orders", sum(|shard| shard.archived_orders)),
            Field::number("reservations", sum(|shard| shard.reservations)),
            Field::number("changes", sum(|shard| shard.changes)),
            Field::number("half_open_orders", self.half_open_orders),
            Field::number("due_payments", self.due_payments),
            Field::number("orders_owned_elsewhere", self.orders_owned_elsewhere),
            Field::number("unpaired_reservations", self.unpaired_reservations),
            Field::number("compared_balances", self.compared_balances),
            bad(Field::number("undecided", self.undecided), self.undecided),
            bad(
                Field::number("discrepancy_count", self.discrepancy_count),
                self.discrepancy_count,
            ),
            Field::shown("shards", shards, ""),
            Field::shown("unverified_shards", unverified, ""),
            Field::shown("discrepancies", discrepancies, ""),
        ]
    }

    fn parts(&self) -> Vec<Records> {
        let mut parts = Vec::new();
        if !self.shards.is_empty() {
            parts.push(Records {
                columns: &[
                    "group",
                    "leader",
                    "applied_index",
                    "customers",
                    "items",
                    "orders",
                    "reservations",
                ],
                rows: self.shards.iter().map(shard_fields).collect(),
            });
        }
        if !self.unverified_shards.is_empty() {
            parts.push(Records {
                columns: &["group", "reason"],
                rows: self.unverified_shards.iter().map(unverified_fields).collect(),
            });
        }
        parts
    }
}

fn shard_fields(shard: &ShardBooks) -> Vec<Field> {
    vec![
        Field::text("group", &shard.group),
        Field::flag("leader", shard.leader),
        Field::number("applied_index", shard.applied_index),
        Field::number("customers", shard.customers),
        Field::number("items", shard.items),
        Field::number("orders", shard.orders),
        Field::number("reservations", shard.reservations),
        Field::number("changes", shard.changes),
    ]
}

fn unverified_fields(shard: &UnverifiedShard) -> Vec<Field> {
    vec![
        Field::text("group", &shard.group),
        Field::text("reason", &shard.reason),
    ]
}

fn discrepancy_fields(found: &Discrepancy) -> Vec<Field> {
    vec![
        Field::shown("kind", json!(found.kind), &found.kind),
        Field::text("name", &found.name),
        Field::text("description", &found.description),
    ]
}
