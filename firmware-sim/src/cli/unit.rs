//! What the command line says of the faults of a Modbus unit.

use clap::Args;

use crate::modbus::UnitFaults;

/// What is wrong with a Modbus unit.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct UnitOptions {
    /// For so many requests alone, instead of until it is told otherwise
    #[arg(long)]
    requests: Option<u32>,
    /// Miss requests with this probability
    #[arg(long, default_value_t = 0.0)]
    deaf: f64,
    /// Do what is asked and say nothing with this probability
    #[arg(long, default_value_t = 0.0)]
    silent: f64,
    /// Answer late with this probability
    #[arg(long, default_value_t = 0.0, requires = "late_ms")]
    late: f64,
    /// So late
    #[arg(long, default_value_t = 0)]
    late_ms: u64,
    /// Refuse with this probability, and do nothing
    #[arg(long, default_value_t = 0.0)]
    exception: f64,
    /// With this exception code
    #[arg(long, default_value_t = 4, value_name = "CODE")]
    exception_code: u8,
    /// Answer with another unit's number with this probability
    #[arg(long, default_value_t = 0.0)]
    wrong_unit: f64,
    /// End answers before what their count says with this probability
    #[arg(long, default_value_t = 0.0)]
    short: f64,
    /// End answers after what their count says with this probability
    #[arg(long, default_value_t = 0.0)]
    long: f64,
    /// Answer with more than was asked for, and count it, with this probability
    #[arg(long, default_value_t = 0.0)]
    other_count: f64,
    /// Send a zero byte before answers with this probability
    #[arg(long, default_value_t = 0.0)]
    zero: f64,
    /// Send random bytes instead of answers with this probability
    #[arg(long, default_value_t = 0.0)]
    garbage: f64,
    /// Close the connection instead of answering with this probability
    #[arg(long, default_value_t = 0.0)]
    hang_up: f64,
    /// Answer reads with random values with this probability
    #[arg(long, default_value_t = 0.0)]
    nonsense: f64,
}

impl From<UnitOptions> for UnitFaults {
    fn from(options: UnitOptions) -> Self {
        let UnitOptions {
            requests,
            deaf,
            silent,
            late,
            late_ms,
            exception,
            exception_code,
            wrong_unit,
            short,
            long,
            other_count,
            zero,
            garbage,
            hang_up,
            nonsense,
        } = options;
        Self {
            requests,
            deaf,
            silent,
            late,
            late_ms,
            exception,
            exception_code,
            wrong_unit,
            short,
            long,
            other_count,
            zero,
            garbage,
            hang_up,
            nonsense,
        }
    }
}
