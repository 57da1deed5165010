//! All at once, for a short time. The long run of the same is `soak many`.

use postern_tests::harness::Error;
use postern_tests::scenario::{self, Crowd};

#[test]
fn many_boards_on_bad_lines_lose_exactly_what_their_ledger_proves() -> Result<(), Error> {
    let crowd = Crowd { controllers: 16, swipes: 4_000, rate: 400, kills: 2, seed: 91 };
    let run = scenario::many(crowd, &mut |_| {})?;
    assert!(run.restarts >= 3, "{run}");
    assert!(run.lines.timeouts > 0 && run.lines.line_errors > 0, "the lines were good: {run}");
    let evidence = run.finished.expect_ok();
    assert_eq!(evidence.kills.len(), 2);
    Ok(())
}
