//! Calls that fail: the n-th write, sync, change of length or read, for every n until a run passes
//! without its fault. Whatever failed and whenever: nothing more is acknowledged by that handle, and
//! what is on the disk opens, holds all that was acknowledged, and goes on when there is space.

use postern_protocol::{RoleTerm, Seq};

use super::backend::{Call, CutDisk, Fault, How, Rng, Tear};
use super::rig::{Rig, Step, append, controller, role};
use super::truth::{Finding, Truth, go_on, unusable};
use crate::journal::pace::Pace;
use crate::journal::{Journal, JournalError, writer};

const CAPACITY: u64 = 1_500;

/// More calls than any run makes: the sweep has an end.
const MOST_CALLS: usize = 2_000;

/// The commits of a run: they grow the file, wrap and trim the ring.
fn script(truth: &Truth, step: u64) -> Vec<Step> {
    group(truth, step, [3, 40, 1, 130, 1_200][usize::try_from(step % 5).unwrap()])
}

fn group(truth: &Truth, step: u64, count: u64) -> Vec<Step> {
    let controller = controller(usize::from(step % 2 == 1));
    let read_to = truth.read_to(controller);
    let mut steps = vec![
        Step::Safe(truth.head().saturating_sub(10)),
        Step::Append(append(controller, read_to, count)),
    ];
    if step == 2 {
        steps.push(Step::Role(truth.term() + 1));
    }
    steps
}

const STEPS: u64 = 12;

/// A journal that has wrapped and that a power cut left open: opening it must repair it.
fn worn() -> (Vec<u8>, Truth) {
    let disk = CutDisk::default();
    let mut rig = Rig::open(&disk, CAPACITY).unwrap();
    let mut truth = Truth::new(disk.position());
    // In small commits, so that the file has yet to grow.
    for step in 0..40 {
        let steps = group(&truth, step, 40);
        truth.begin(&steps, disk.position());
        rig.commit(&steps).unwrap();
        truth.acknowledge(disk.position());
    }
    let image = disk.durable();
    let seen = rig.seen().unwrap();
    assert!(seen.oldest > Seq(1), "it has not wrapped");
    let mark = truth.check(&seen, disk.position()).unwrap();
    let truth = truth.resume(&seen, mark, 0);
    (image, truth)
}

/// What a caller makes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Stops,
    /// Takes it for a success: the sweep must find that out.
    Believes,
}

/// Runs the script on a disk with `fault` armed; `truth` then knows what was acknowledged. Returns
/// the disk and how much of its log was there when the fault was noticed.
fn run(
    image: Vec<u8>,
    fault: Fault,
    truth: &mut Truth,
    caller: Caller,
) -> Result<(CutDisk, usize), Finding> {
    let disk = CutDisk::with(image);
    disk.fail(fault);
    let Ok(mut rig) = Rig::open(&disk, CAPACITY) else {
        return Ok((disk.clone(), disk.position()));
    };
    // A run from an empty disk is about the creation, and shorter.
    let steps = if truth.head() == 0 { STEPS / 2 } else { STEPS };
    for step in 0..steps {
        let steps = script(truth, step);
        truth.begin(&steps, 0);
        if rig.commit(&steps).is_err() {
            if caller == Caller::Believes {
                truth.acknowledge(0);
            }
            disk.heal();
            let noticed = disk.position();
            for _ in 0..2 {
                // The cause is gone, and still nobody is told that anything is kept.
                if rig.commit(&steps).is_ok() {
                    return Err(Finding::Wrong("acknowledged after a failure".to_owned()));
                }
            }
            return Ok((disk, noticed));
        }
        truth.acknowledge(0);
    }
    let end = disk.position();
    // Closing writes too.
    drop(rig);
    Ok((disk, end))
}

/// Whatever may be on the disk after the failure opens, is right, and goes on.
fn after_failure(image: Vec<u8>, truth: &Truth, made: bool) -> Result<(), Finding> {
    let disk = CutDisk::with(image);
    let mut rig = match Rig::open(&disk, CAPACITY) {
        // A creation that failed has not got its name: it is made again.
        Err(_) if !made => return Ok(()),
        other => other.map_err(unusable)?,
    };
    let seen = rig.seen().map_err(unusable)?;
    let mark = truth.check(&seen, 0)?;
    let mut truth = truth.resume(&seen, mark, 0);
    go_on(&mut rig, &disk, &mut truth, &seen, CAPACITY)?;
    drop(rig);
    let rig = Rig::open(&disk, CAPACITY).map_err(unusable)?;
    let tail = rig.seen_from(seen.head.seq.0).map_err(unusable)?;
    truth.check(&tail, disk.position()).map(|_| ())
}

/// Fails the call and judges every image of what is left; `false` where the fault was not hit.
fn judge(start: &[u8], truth: &Truth, fault: Fault, caller: Caller) -> Result<bool, Finding> {
    let mut truth = truth.clone();
    let (disk, noticed) = run(start.to_vec(), fault, &mut truth, caller)?;
    if !disk.hit() {
        return Ok(false);
    }
    let made = !start.is_empty() || truth.head() > 0;
    let mut rng = Rng(fault.nth as u64);
    let mut images = vec![disk.durable(), disk.now()];
    images.extend(Tear::EACH.iter().map(|&tear| disk.cut(noticed, tear, &mut rng)));
    images.into_iter().try_for_each(|image| after_failure(image, &truth, made))?;
    Ok(true)
}

/// Fails each call of a kind in turn. Returns how many there are.
fn sweep(start: &[u8], truth: &Truth, call: Call, how: How) -> usize {
    for nth in 1..MOST_CALLS {
        let fault = Fault { call, nth, how };
        match judge(start, truth, fault, Caller::Stops) {
            Ok(true) => {}
            Ok(false) => return nth - 1,
            Err(finding) => panic!("{fault:?}, an empty disk: {}: {finding}", start.is_empty()),
        }
    }
    panic!("{call:?}: the sweep has no end");
}

fn sweep_all(start: &[u8], truth: &Truth) {
    let calls = [Call::Write, Call::Sync, Call::SetLen, Call::Read];
    for call in calls {
        for how in [How::Eio, How::Enospc, How::Short] {
            if how == How::Short && call != Call::Write {
                continue;
            }
            let calls = sweep(start, truth, call, how);
            println!("{call:?} {how:?}: {calls} calls failed in turn");
            assert!(calls > 0 || call == Call::Read, "no {call:?} was failed");
        }
    }
}

#[test]
fn whichever_call_fails_what_was_acknowledged_is_there_and_nothing_more_is_acknowledged() {
    let (image, truth) = worn();
    sweep_all(&image, &truth);
}

#[test]
fn whichever_call_fails_during_the_creation_the_journal_is_whole_or_made_again() {
    sweep_all(&[], &Truth::new(0));
}

#[test]
fn a_failure_that_is_taken_for_a_success_is_found_out() {
    let (image, truth) = worn();
    let lost = |call, how| {
        let judged = |nth| judge(&image, &truth, Fault { call, nth, how }, Caller::Believes);
        (1..30).map(judged).filter(|found| matches!(found, Err(Finding::Lost(_)))).count()
    };
    assert!(lost(Call::Sync, How::Eio) > 5, "failed syncs were not found out");
    assert!(lost(Call::Write, How::Short) > 5, "short writes were not found out");
}

/// A file that can grow no more: the journal dies, opens again while the disk is still full, shows
/// all that was acknowledged, and goes on when there is space.
#[test]
fn a_journal_on_a_full_disk_opens_and_is_read_and_goes_on_when_there_is_space() {
    let mut died = 0;
    for room in 0..12 {
        let disk = CutDisk::default();
        let mut rig = Rig::open(&disk, CAPACITY).unwrap();
        let mut truth = Truth::new(0);
        let limit = disk.now().len() + room * 8 * 1_024;
        disk.set_limit(Some(limit));
        for step in 0..STEPS {
            let steps = group(&truth, step, 200);
            truth.begin(&steps, 0);
            if rig.commit(&steps).is_err() {
                died += 1;
                break;
            }
            truth.acknowledge(0);
        }
        drop(rig);
        for image in [disk.durable(), disk.now()] {
            let disk = CutDisk::with(image);
            disk.set_limit(Some(limit));
            let rig = Rig::open(&disk, CAPACITY).map_err(unusable);
            let seen = rig.and_then(|rig| rig.seen().map_err(unusable));
            let checked = seen.and_then(|seen| truth.check(&seen, 0));
            assert!(checked.is_ok(), "limit {limit}: {checked:?}");
            let gone_on = after_failure(disk.now(), &truth, true);
            assert!(gone_on.is_ok(), "limit {limit}: {gone_on:?}");
        }
    }
    assert!(died == 12, "the disk was full {died} times");
}

/// The same through the writer thread: one answer that is no, and never a yes after it.
#[tokio::test]
async fn a_journal_with_a_failed_call_is_dead_and_its_file_is_good() {
    let (image, before) = worn();
    let mut dead = 0;
    for (call, how) in
        [(Call::Sync, How::Eio), (Call::Write, How::Enospc), (Call::Write, How::Short)]
    {
        for nth in 1..12 {
            let mut truth = before.clone();
            let disk = CutDisk::with(image.clone());
            let store = Rig::open(&disk, CAPACITY).unwrap().into_store();
            let order = writer::Order::CommitThenAnswer;
            let journal = Journal::start(store, Pace::new(None), order).unwrap();
            disk.fail(Fault { call, nth, how });
            for step in 0..STEPS {
                let mut failed = false;
                for step in script(&truth, step) {
                    truth.begin(std::slice::from_ref(&step), 0);
                    let answer = match step {
                        Step::Append(append) => journal.append(append).await,
                        Step::Safe(safe) => {
                            journal.raise_safe(Seq(safe));
                            journal.barrier().await
                        }
                        Step::Role(term) => {
                            let kept = journal.remember_role(RoleTerm(term), role(term)).await;
                            let head = journal.state().borrow().head;
                            kept.map(|_| head)
                        }
                        Step::Resolve(epoch, notes) => journal.resolve(epoch, &notes).await,
                    };
                    match answer {
                        Ok(_) => truth.acknowledge(0),
                        Err(error) => {
                            assert!(matches!(error, JournalError::Dead { .. }), "{error}");
                            failed = true;
                            break;
                        }
                    }
                }
                if failed {
                    dead += 1;
                    disk.heal();
                    let again = journal.append(append(controller(3), 0, 1)).await;
                    assert!(matches!(again, Err(JournalError::Dead { .. })), "alive again");
                    assert!(journal.state().borrow().dead.is_some());
                    break;
                }
            }
            let closed = journal.closed();
            drop(journal);
            closed.await;
            for image in [disk.durable(), disk.now()] {
                let outcome = after_failure(image, &truth, true);
                assert!(outcome.is_ok(), "{call:?} {how:?} {nth}: {outcome:?}");
            }
        }
    }
    assert!(dead >= 20, "only {dead} journals died");
}
