//! Our own half: a site of real processes on this machine.

use postern_tests::scenario::Stored;

use crate::common::Outcome;
use crate::common::measure::Spread;
use crate::report::{Line, Report, TAKEN_OVER};
use crate::run::{Change, Kind, Run, config, seconds};
use crate::{Bench, note};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    kills: usize,
    leader_kills: usize,
    silences: usize,
    leader_silences: usize,
    switchovers: usize,
}

const FULL: Extent =
    Extent { kills: 50, leader_kills: 10, silences: 10, leader_silences: 5, switchovers: 20 };
const QUICK: Extent =
    Extent { kills: 8, leader_kills: 2, silences: 2, leader_silences: 1, switchovers: 5 };

/// Measures everything in one run, and lets the checker judge it.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let extent = if bench.quick { QUICK } else { FULL };
    let mut run = Run::start(config())?;
    for number in 0..extent.kills {
        run.another_leads()?;
        run.kill(Kind::Kill)?;
        note(&format!("kill {} of {}", number + 1, extent.kills))?;
    }
    for number in 0..extent.leader_kills {
        run.active_leads()?;
        run.kill(Kind::KillLeader)?;
        note(&format!("kill {} of {} of the leader", number + 1, extent.leader_kills))?;
    }
    for number in 0..extent.silences {
        run.freeze(Kind::Silent)?;
        note(&format!("silence {} of {}", number + 1, extent.silences))?;
    }
    for number in 0..extent.leader_silences {
        run.freeze(Kind::SilentLeader)?;
        note(&format!("silence {} of {} of the leader", number + 1, extent.leader_silences))?;
    }
    for number in 0..extent.switchovers {
        run.hand_over()?;
        note(&format!("switchover {} of {}", number + 1, extent.switchovers))?;
    }
    let (changes, stored) = run.finish()?;
    tell(&changes, &stored, report)
}

/// The times after each kind of change, in the table and in the file.
fn tell(changes: &[Change], stored: &Stored, report: &mut Report) -> Outcome<()> {
    for (kind, key, what) in [
        (Kind::Kill, "kill", "Postern: the active server"),
        (Kind::KillLeader, "kill_leader", "Postern: the active server, which leads the voters"),
        (Kind::Silent, "silent", "Postern: the active server falls silent (SIGSTOP)"),
        (Kind::SilentLeader, "silent_leader", "Postern: the same, and it leads the voters"),
    ] {
        let samples = seconds(kind, changes, stored)?;
        report.median_and_worst(key, &samples);
        report.line(Line { what, until: TAKEN_OVER, samples });
    }
    for (kind, key, what) in [
        (Kind::Switchover, "switchover", "Postern: nothing, the role is handed over"),
        (Kind::Steady, "steady", "Postern: nothing, for a second before that"),
    ] {
        let gaps = seconds(kind, changes, stored)?;
        let Spread { median, most, samples, .. } = Spread::of(&gaps);
        report.figure(&format!("{key}_gap_median_ms"), median * 1_000.0);
        report.figure(&format!("{key}_gap_ms"), most * 1_000.0);
        report.figure(&format!("{key}_samples"), samples);
        report.line(Line { what, until: "a transaction after the one before", samples: gaps });
    }
    Ok(())
}
