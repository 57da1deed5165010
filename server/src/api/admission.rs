//! How many batches are worked on at once, so that a thousand gateways that turn to a server together, as after
//! a change of the role, do not keep its threads and its memory from everything else: the role and the
//! standby's questions come past them.

use std::time::Duration;

use postern_protocol::uplink::MAX_BATCH;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::ApiError;

/// Batches that are at the store: it applies one after the other, so this keeps it busy. Each takes a
/// thread, of which there are 512.
const AT_ONCE: usize = 32;

/// Entries of batches that wait for their turn, parsed: those of 64 whole batches, some 30 MB, or a small batch of
/// every gateway that there can be.
const WAITING: usize = 64 * MAX_BATCH;

/// How long a batch waits: half of what its gateway waits for the answer.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Of all batches that are brought to this server.
pub(super) static BATCHES: Admission = Admission::new(AT_ONCE, WAITING, LONGEST_WAIT);

/// Places at the store, and room before it.
pub(super) struct Admission {
    places: Semaphore,
    room: Semaphore,
    patience: Duration,
}

impl Admission {
    const fn new(places: usize, room: usize, patience: Duration) -> Self {
        let (places, room) = (Semaphore::const_new(places), Semaphore::const_new(room));
        Self { places, room, patience }
    }

    /// Waits for a place for a batch of so many entries, in the order of coming; refuses where there is no room to
    /// wait, or where it takes too long.
    pub(super) async fn enter(&self, entries: usize) -> Result<SemaphorePermit<'_>, ApiError> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let weight = u32::try_from(entries.max(1)).unwrap_or(u32::MAX);
        let _waits = self.room.try_acquire_many(weight).map_err(|_| ApiError::busy())?;
        let waited = tokio::time::timeout(self.patience, self.places.acquire()).await;
        waited.ok().and_then(Result::ok).ok_or_else(ApiError::busy)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    use futures_util::FutureExt as _;

    use super::*;

    fn is_busy(refused: ApiError) -> bool {
        let response = refused.into_response();
        let told = response.headers().contains_key("retry-after");
        response.status() == StatusCode::SERVICE_UNAVAILABLE && told
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_and_who_finds_no_room_is_told_when_to_come_again() {
        let admission = Admission::new(2, 10, LONGEST_WAIT);
        let (one, two) = (admission.enter(1_000).await.unwrap(), admission.enter(0).await.unwrap());
        let mut waits = Box::pin(admission.enter(9));
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(is_busy(admission.enter(2).await.unwrap_err()));
        let mut small = Box::pin(admission.enter(0));
        assert!(small.as_mut().now_or_never().is_none(), "a batch of nothing takes room as well");
        drop(one);
        let first = waits.as_mut().now_or_never().unwrap().unwrap();
        assert!(small.as_mut().now_or_never().is_none());
        drop(two);
        let second = small.as_mut().now_or_never().unwrap().unwrap();
        drop((first, second));
        assert_eq!(admission.room.available_permits(), 10, "the room is given back");
        assert_eq!(admission.places.available_permits(), 2);
    }

    #[tokio::test]
    async fn who_waited_for_long_enough_is_told_to_come_again() {
        let admission = Admission::new(1, 10, Duration::ZERO);
        let held = admission.enter(1).await.unwrap();
        assert!(is_busy(admission.enter(1).await.unwrap_err()));
        assert_eq!(admission.room.available_permits(), 10);
        drop(held);
        assert!(admission.enter(1).await.is_ok());
    }
}
