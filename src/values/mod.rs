//! What a person writes on the command line and how it is shown back: names, amounts of money, order lines, spans of time.
//!
//! Everything here is exact: an amount that the currency cannot express is refused, never rounded.

pub mod line;
pub mod money;
pub mod names;
pub mod time;

pub use line::Line;
pub use money::Amount;
