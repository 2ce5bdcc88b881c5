//! Shipments, deliveries, cancellations of some lines, returns and refunds: what each state makes of them, and what they leave.

mod backorders;
mod bounds;
mod earlier;
mod items;
mod money;
mod paying;
mod payments;
mod plans;
mod refused;
mod returns;
mod table;
mod table_back;
mod table_closed;
mod table_paying;
mod table_paying_back;
mod table_waiting;
