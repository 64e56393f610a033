use proptest::prelude::*;

use super::*;

/// What Go makes of each text: `tests/reference/main.go` wrote it.
const REFERENCE: &str = include_str!("../../tests/reference/durations.tsv");

#[test]
fn durations_are_read_and_printed_as_go_does() {
    let mut compared = 0;
    for line in REFERENCE.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let input: String = serde_json::from_str(columns.next().unwrap()).unwrap();
        let canonical = columns.next().unwrap();
        let parsed = input.parse::<Duration>();
        if canonical == "error" {
            assert!(parsed.is_err(), "{input:?} is not a duration in Go");
        } else {
            let duration = parsed.unwrap_or_else(|error| panic!("{input:?}: {error}"));
            assert_eq!(duration.to_string(), canonical, "{input:?}");
            assert_eq!(duration.nanos.to_string(), columns.next().unwrap(), "{input:?}");
        }
        compared += 1;
    }
    assert!(compared > 400, "only {compared} lines");
}

#[test]
fn a_missing_unit_and_days_are_explained() {
    let help = |text: &str| text.parse::<Duration>().unwrap_err().mend().unwrap().to_owned();
    assert_eq!(help("30"), "give it a unit: 30s, 30ms");
    assert!(help("1d").contains("use h"), "{}", help("1d"));
    assert!(help("5sec").contains("ns, us, ms, s, m or h"), "{}", help("5sec"));
}

#[test]
fn a_negative_duration_is_no_time_to_wait() {
    let negative: Duration = "-5s".parse().unwrap();
    assert!(negative.is_negative() && !negative.is_positive());
    assert_eq!(negative.get(), time::Duration::ZERO);
    assert_eq!(Duration::from_millis(1500).get(), time::Duration::from_millis(1500));
    assert_eq!(Duration::from_secs(u32::MAX).get(), time::Duration::from_secs(u32::MAX.into()));
}

proptest! {
    #[test]
    fn the_canonical_form_reads_back_as_the_same_duration(nanos: i64) {
        let duration = Duration { nanos };
        // Go's own round trip loses nanoseconds in the float of a fraction only when they do not fit into 53 bits of
        // one unit, which canonical forms never reach: the seconds are below 60.
        prop_assert_eq!(duration, duration.to_string().parse().unwrap());
    }

    #[test]
    fn what_is_read_prints_canonically(
        text in "[+-]?(([0-9]{1,6}(\\.[0-9]{0,20})?|\\.[0-9]{1,20})(ns|us|µs|ms|s|m|h)){1,4}"
    ) {
        let duration: Duration = text.parse().unwrap();
        prop_assert_eq!(duration, duration.to_string().parse().unwrap());
    }
}
