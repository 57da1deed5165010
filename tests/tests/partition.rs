//! Ways between the voters that are cut in one direction or both. All combinations of them are `soak
//! partitions`.

use postern_tests::harness::Error;
use postern_tests::scenario::partitions;

/// Server a alone, while it is active, and again once it is the standby; the witness alone; server b, which is active
/// by then, hears the other two and is not heard.
const SETS: [u8; 4] = [0b00_1111, 0b00_1111, 0b11_1100, 0b01_0010];

#[test]
fn the_standby_takes_over_where_the_active_server_alone_is_cut_off_and_nowhere_else()
-> Result<(), Error> {
    // Where no networks are allowed a line has said so.
    let Some(runs) = partitions(&SETS, 1, 31, &|_| {})? else { return Ok(()) };
    for run in runs {
        run.expect_ok();
    }
    Ok(())
}
