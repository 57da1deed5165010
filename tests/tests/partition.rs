//! Ways between the voters that are cut in one direction or both. All combinations of them are `soak
//! partitions`.

use postern_tests::harness::Error;
use postern_tests::scenario::partitions;

/// The active server alone; the standby alone; the witness alone; each hears and is not heard.
const SETS: [u8; 3] = [0b00_1111, 0b11_0011, 0b00_0101];

#[test]
fn at_most_one_server_reigns_under_a_role_term_however_the_voters_are_cut_off() -> Result<(), Error>
{
    // Where no networks are allowed a line has said so.
    let Some(runs) = partitions(&SETS, 1, 31, &|_| {})? else { return Ok(()) };
    for run in runs {
        run.expect_ok();
    }
    Ok(())
}
