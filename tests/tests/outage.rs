//! What the site loses for a while where the role changes by itself. All of it, again and again: `soak outages`.

use postern_tests::harness::Error;
use postern_tests::scenario::{Outage, outage};

/// Where this machine does not allow it a line has said so.
fn ends_well(what: Outage) -> Result<(), Error> {
    if let Some(run) = outage(what, 41)? {
        run.expect_ok();
    }
    Ok(())
}

#[test]
fn an_operator_does_without_a_majority_what_the_voters_cannot_and_gives_the_role_back_to_them()
-> Result<(), Error> {
    ends_well(Outage::WitnessAndForced)
}

#[test]
fn voters_that_all_lost_their_files_say_so_and_found_anew_under_a_higher_role_term()
-> Result<(), Error> {
    ends_well(Outage::AllVoterFiles)
}

#[test]
fn a_voter_that_was_put_back_to_an_earlier_day_takes_no_part_until_it_is_another_node()
-> Result<(), Error> {
    ends_well(Outage::VoterOfAOutdated)
}

#[test]
fn of_an_active_server_that_runs_twice_one_at_most_says_that_it_is_active() -> Result<(), Error> {
    ends_well(Outage::ActiveDoubled)
}

/// Its log said so, and `status` did not.
#[test]
fn a_server_that_does_not_know_the_witness_says_so() -> Result<(), Error> {
    ends_well(Outage::WitnessUnnamed)
}

#[test]
fn what_the_active_server_stores_without_the_voters_is_not_safe_and_is_merged() -> Result<(), Error>
{
    ends_well(Outage::VotersUnreached)
}

#[test]
fn a_server_that_is_left_alone_stores_and_neither_makes_anything_safe_nor_changes_who_counts()
-> Result<(), Error> {
    ends_well(Outage::VotersGone)
}

#[test]
fn a_standby_that_was_given_up_while_it_was_away_does_not_take_over() -> Result<(), Error> {
    ends_well(Outage::StandbyGivenUp)
}
