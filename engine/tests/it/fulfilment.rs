//! Shipments, deliveries and cancellations of some lines: what each state makes of them, and what they leave.

mod bounds;
mod earlier;
mod items;
mod money;
mod refused;
mod table;
