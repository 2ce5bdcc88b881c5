//! Every bound of what is steered.

/// The most bytes of a flag's name.
pub const FLAG_NAME_BYTES_MAX: usize = 64;
/// The most flags that are set; the next one is refused.
pub const FLAGS_MAX: usize = 256;
/// The most customers that one flag names.
pub const FLAG_CUSTOMERS_MAX: usize = 256;
/// The most callers with a limit of their own; the next one is refused.
pub const LIMITS_MAX: usize = 4_096;
/// The most tokens a second of a caller with a limit of its own.
pub const RATE_MAX: u32 = 1_000_000_000;
