use std::time::Duration;

use proptest::prelude::*;

use super::{Backoff, InvalidBackoff};

const MS: Duration = Duration::from_millis(1);

fn backoff() -> Backoff {
    Backoff::new(200 * MS, Duration::from_mins(5)).unwrap()
}

/// backon counts in `f32` seconds: seven digits.
fn close(left: Duration, right: Duration) -> bool {
    left.abs_diff(right) <= right.mul_f64(1e-6) + Duration::from_nanos(2)
}

#[test]
fn the_ceiling_starts_at_initial_and_doubles_up_to_max() {
    let expected = [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 204_800, 300_000];
    for (attempt, millis) in (0..).zip(expected) {
        let ceiling = backoff().ceiling(attempt);
        assert!(close(ceiling, millis * MS), "attempt {attempt}: {ceiling:?}");
    }
    assert_eq!(backoff().ceiling(0), 200 * MS);
    assert_eq!(backoff().ceiling(11), Duration::from_mins(5));
}

#[test]
fn the_ten_thousandth_attempt_waits_no_longer_than_max() {
    for attempt in [10_000, u32::MAX] {
        assert_eq!(backoff().ceiling(attempt), Duration::from_mins(5));
        assert!(backoff().delay(attempt, 7) <= Duration::from_mins(5));
    }
    let endless = Backoff::new(MS, Duration::MAX).unwrap();
    assert_eq!(endless.ceiling(10_000), Duration::MAX);
    assert!(endless.delay(10_000, 7) >= Duration::MAX / 3);
}

#[test]
fn what_failed_together_does_not_come_back_together_even_at_max() {
    for attempt in [0, 3, 10_000] {
        let mut delays: Vec<Duration> = (0..1_000).map(|seed| backoff().delay(attempt, seed)).collect();
        delays.sort_unstable();
        delays.dedup();
        assert!(delays.len() > 900, "attempt {attempt}: only {} different delays", delays.len());
        let (ceiling, first, last) = (backoff().ceiling(attempt), delays[0], delays[delays.len() - 1]);
        assert!(first < ceiling.mul_f64(0.55) && last > ceiling.mul_f64(0.95), "{first:?} to {last:?}");
    }
}

#[test]
fn initial_and_max_may_be_equal() {
    let constant = Backoff::new(MS, MS).unwrap();
    assert_eq!(constant.ceiling(0), MS);
    assert_eq!(constant.ceiling(5), MS);
}

#[test]
fn a_backoff_that_cannot_be_is_refused() {
    assert_eq!(Backoff::new(Duration::ZERO, MS), Err(InvalidBackoff::TooShort(Duration::ZERO)));
    assert_eq!(Backoff::new(2 * MS, MS), Err(InvalidBackoff::MaxBelowInitial { initial: 2 * MS, max: MS }));
    assert_eq!(
        Backoff::new(Duration::from_micros(10), MS).unwrap_err().to_string(),
        "the initial backoff 10µs is shorter than 1ms"
    );
}

proptest! {
    #[test]
    fn a_delay_is_between_half_and_all_of_its_ceiling(
        initial in 1..100_000_u64,
        factor in 1..100_000_u64,
        attempt in prop_oneof![0..40_u32, any::<u32>()],
        random: u64,
    ) {
        let initial = Duration::from_millis(initial) + Duration::from_nanos(factor);
        let max = initial.saturating_mul(u32::try_from(factor).unwrap());
        let backoff = Backoff::new(initial, max).unwrap();
        let (delay, ceiling) = (backoff.delay(attempt, random), backoff.ceiling(attempt));
        prop_assert!(ceiling <= max);
        prop_assert!(delay <= ceiling);
        prop_assert!(delay > ceiling / 2 || close(delay, ceiling / 2), "{:?} of {:?}", delay, ceiling);
        prop_assert_eq!(delay, backoff.delay(attempt, random));
        prop_assert!(backoff.ceiling(attempt) <= backoff.ceiling(attempt.saturating_add(1)));
    }
}
