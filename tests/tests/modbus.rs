//! Devices that speak Modbus and are not ours, over TCP and on a serial line. The long run of the same is `soak modbus`.

use postern_tests::harness::Error;
use postern_tests::scenario::{self, Modbus};

#[test]
fn a_gateway_that_is_killed_while_it_reads_modbus_loses_and_doubles_nothing_without_a_word()
-> Result<(), Error> {
    let run = Modbus { kills: 4, fills: 0, swipes: 50, rate: 10, each: 1, seed: 3 };
    // Where there is none a line on stderr has said why.
    let Some(run) = scenario::modbus(run, &mut |_| ())? else { return Ok(()) };
    let found: Vec<_> = run.lines().collect();
    let dir = run.finished.dir.display();
    assert!(run.is_ok(), "{run}\n{found:#?}\n{}\nkept: {dir}", run.finished.verdict);
    assert!(run.judged.stored > run.judged.shown / 2, "too little was read: {run}");
    run.finished.expect_ok();
    Ok(())
}
