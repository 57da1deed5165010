//! Measuring: interleaved rounds.

use crate::Outcome;
pub(crate) use crate::common::measure::{float, rate, ratios};
use crate::subject::Subject;

/// For each subject, one sample a round. Whoever begins a round ends the next.
pub(crate) fn interleave<const N: usize>(
    rounds: usize,
    subjects: &mut [Box<dyn Subject>; N],
    mut sample: impl FnMut(usize, &mut dyn Subject) -> Outcome<f64>,
) -> Outcome<[Vec<f64>; N]> {
    let mut samples: [Vec<f64>; N] = std::array::from_fn(|_| Vec::with_capacity(rounds));
    for round in 0..rounds {
        for turn in 0..N {
            let which = (turn + round) % N;
            if let (Some(subject), Some(samples)) =
                (subjects.get_mut(which), samples.get_mut(which))
            {
                samples.push(sample(which, subject.as_mut())?);
            }
        }
    }
    Ok(samples)
}
