//! The time at which certificates are judged: the later of the clock and of times that are past for
//! sure, so that a machine that starts in 1970 for want of a battery still reaches its servers.
//!
//! What is past for sure: the build of this program, the beginning of our own certificate (whoever
//! issued it had a clock), what [`Floor::raise`] is told (a gateway: the receive time of its journal's
//! newest entry), and every time at which certificates were judged before. So the time never goes
//! back in one process, even if somebody puts back the clock to make an expired certificate good.
//!
//! **A clock that was ahead** must not make all certificates look expired for ever after it was put
//! right. So a time past the end of our own certificate is no evidence and raises nothing: either it
//! is of a clock that was years ahead, or our certificate is over, and then no server takes us at
//! whatever time we judge theirs. A clock that was ahead by less costs at most those certificates
//! that end within the difference, until the process is started again on a newer entry: the newest
//! entry counts, not the greatest time.
//!
//! Both sides of TLS and the signatures on role documents are judged at one [`Floor`] of a process.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::CertificateError;

/// When this program was built, in seconds since 1970: `SOURCE_DATE_EPOCH`, or the time of the build.
pub const BUILT: u64 = match u64::from_str_radix(env!("POSTERN_BUILT"), 10) {
    Ok(built) => built,
    Err(_) => panic!("invariant: the build script writes a number of seconds"),
};

/// A time that no certificate outlives but one that never ends: the last second of the year 9999
/// (RFC 5280, 4.1.2.5).
const NEVER: u64 = 253_402_300_799;

/// See the module. Clones share it.
#[derive(Clone)]
pub struct Floor {
    shared: Arc<Shared>,
}

struct Shared {
    clock: fn() -> UnixTime,
    /// The end of our own certificate.
    ends: u64,
    /// In seconds, as certificates count.
    highest: AtomicU64,
}

impl Floor {
    /// The floor under `clock` of whoever holds this certificate.
    pub fn new(
        clock: fn() -> UnixTime,
        certificate: &CertificateDer<'_>,
    ) -> Result<Self, CertificateError> {
        Ok(Self::between(clock, BUILT, validity(certificate)?))
    }

    fn between(clock: fn() -> UnixTime, built: u64, (begins, ends): (u64, u64)) -> Self {
        let highest = AtomicU64::new(built.max(begins));
        Self { shared: Arc::new(Shared { clock, ends, highest }) }
    }

    /// Something happened at this time: certificates are judged at no earlier one from now on, unless
    /// it lies past the end of our own certificate.
    pub fn raise(&self, to: UnixTime) {
        if to.as_secs() <= self.shared.ends {
            // Nothing else is published with it.
            self.shared.highest.fetch_max(to.as_secs(), Ordering::Relaxed);
        }
    }

    /// The time at which a certificate is to be judged now.
    pub fn now(&self) -> UnixTime {
        let clock = (self.shared.clock)();
        self.raise(clock);
        let highest = self.shared.highest.load(Ordering::Relaxed);
        UnixTime::since_unix_epoch(Duration::from_secs(clock.as_secs().max(highest)))
    }
}

impl fmt::Debug for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "floor at {} s", self.shared.highest.load(Ordering::Relaxed))
    }
}

impl rustls::time_provider::TimeProvider for Floor {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}

/// From when to when a certificate is valid, in seconds. webpki reads both but shows them in its
/// refusals only; it looks at them before anything else of a certificate.
fn validity(certificate: &CertificateDer<'_>) -> Result<(u64, u64), CertificateError> {
    let cert = EndEntityCert::try_from(certificate).map_err(CertificateError::Chain)?;
    let judged = |at: u64| {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
        cert.verify_for_usage(&[], &[], &[], at, KeyUsage::client_auth(), None, None).err()
    };
    let begins = match judged(0) {
        Some(webpki::Error::CertNotValidYet { not_before, .. }) => not_before.as_secs(),
        Some(error @ (webpki::Error::BadDer | webpki::Error::InvalidCertValidity)) => {
            return Err(CertificateError::Chain(error));
        }
        _ => 0,
    };
    let ends = match judged(NEVER) {
        Some(webpki::Error::CertExpired { not_after, .. }) => not_after.as_secs(),
        _ => NEVER,
    };
    Ok((begins, ends))
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    std::thread_local! {
        static CLOCK: Cell<u64> = const { Cell::new(0) };
    }

    fn clock() -> UnixTime {
        at(CLOCK.get())
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    /// Of a program built at 500 under a certificate from 400 to 1000.
    fn floor() -> Floor {
        CLOCK.set(0);
        Floor::between(clock, 500, (400, 1_000))
    }

    #[test]
    fn the_latest_of_clock_build_certificate_and_journal_is_judged_by() {
        assert_eq!(floor().now(), at(500), "the build");
        assert_eq!(Floor::between(clock, 500, (600, 1_000)).now(), at(600), "the certificate");
        let floor = floor();
        floor.raise(at(700));
        assert_eq!(floor.now(), at(700), "the journal");
        floor.raise(at(650));
        assert_eq!(floor.now(), at(700), "never lowered");
        CLOCK.set(800);
        assert_eq!(floor.clone().now(), at(800), "the clock");
    }

    #[test]
    fn a_clock_that_is_put_back_takes_no_time_back() {
        let floor = floor();
        CLOCK.set(900);
        assert_eq!(floor.now(), at(900));
        CLOCK.set(100);
        assert_eq!(floor.now(), at(900));
        CLOCK.set(901);
        assert_eq!(floor.now(), at(901));
    }

    /// A journal entry that was received while the clock stood years ahead must not make every
    /// certificate look expired after the clock was put right.
    #[test]
    fn a_time_past_the_end_of_our_own_certificate_raises_nothing() {
        let floor = floor();
        CLOCK.set(600);
        floor.raise(at(1_001));
        assert_eq!(floor.now(), at(600));
        floor.raise(at(1_000));
        assert_eq!(floor.now(), at(1_000), "its last second counts");
    }

    #[test]
    fn a_clock_that_stands_years_ahead_judges_by_itself_and_leaves_nothing_behind() {
        let floor = floor();
        CLOCK.set(5_000);
        assert_eq!(floor.now(), at(5_000), "expired is expired, as far as anybody knows");
        CLOCK.set(600);
        assert_eq!(floor.now(), at(600));
    }

    #[test]
    fn what_is_no_certificate_has_no_floor() {
        assert!(Floor::new(clock, &CertificateDer::from(&b"no certificate"[..])).is_err());
    }
}
