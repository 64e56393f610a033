use proptest::prelude::*;

use super::*;

/// What Kubernetes makes of each text: `tests/reference/main.go` wrote it.
const REFERENCE: &str = include_str!("../../tests/reference/quantities.tsv");

#[test]
fn quantities_are_read_and_printed_as_kubernetes_does() {
    let mut compared = 0;
    for line in REFERENCE.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let input: String = serde_json::from_str(columns.next().unwrap()).unwrap();
        let canonical = columns.next().unwrap();
        let parsed = input.parse::<Quantity>();
        if canonical == "error" {
            assert!(parsed.is_err(), "{input:?} is not a quantity in Kubernetes");
        } else {
            let quantity = parsed.unwrap_or_else(|error| panic!("{input:?}: {error}"));
            assert_eq!(quantity.to_string(), canonical, "{input:?}");
            let value = columns.next().unwrap();
            assert!(value == "-" || quantity.value().to_string() == value, "{input:?}: {}", quantity.value());
            let nanos = columns.next().unwrap();
            assert!(
                nanos == "-" || quantity.nanos() == nanos.parse().ok(),
                "{input:?}: {:?}",
                quantity.nanos()
            );
        }
        compared += 1;
    }
    assert!(compared > 400, "only {compared} lines");
}

#[test]
fn what_is_no_number_at_all_is_not_zero() {
    // Kubernetes' Go code reads some of these as zero; its schemas refuse them.
    for text in ["+", "-", ".", "Ki", "m", "e3", "-Mi"] {
        assert!(text.parse::<Quantity>().is_err(), "{text:?}");
    }
}

#[test]
fn the_greatest_quantity_is_what_an_int64_holds() {
    for text in
        ["8Ei", "1e30", "99999999999999999999999999999999999999999999999999G", "1e99999999999999999999"]
    {
        assert_eq!(text.parse::<Quantity>().unwrap().value(), i64::MAX, "{text}");
        assert_eq!(format!("-{text}").parse::<Quantity>().unwrap().value(), -i64::MAX, "{text}");
    }
    assert_eq!("1e-99999999999999999999".parse::<Quantity>().unwrap().to_string(), "1e-9");
    assert_eq!("1P".parse::<Quantity>().unwrap().nanos(), None);
}

#[test]
fn a_wrong_suffix_is_told_with_the_right_one() {
    let help = |text: &str| text.parse::<Quantity>().unwrap_err().mend().unwrap().to_owned();
    assert_eq!(help("256MB"), "use M (1000^2) or Mi (1024^2)");
    assert_eq!(help("1K"), "use k (1000) or Ki (1024)");
    assert_eq!(help("5bytes"), "bytes have no suffix");
}

#[test]
fn a_whole_number_stands_for_a_quantity_in_a_manifest() {
    assert_eq!(serde_json::from_str::<Quantity>("2").unwrap(), Quantity::units(2));
    assert_eq!(serde_json::from_str::<Quantity>("\"2\"").unwrap(), Quantity::units(2));
    assert!(serde_json::from_str::<Quantity>("0.5").is_err());
}

proptest! {
    #[test]
    fn the_canonical_form_reads_back_as_the_same_quantity(
        text in "[+-]?([0-9]{1,25}(\\.[0-9]{0,25})?|\\.[0-9]{1,25})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?"
    ) {
        let quantity: Quantity = text.parse().unwrap();
        let canonical = quantity.to_string();
        let again: Quantity = canonical.parse().unwrap();
        prop_assert_eq!(quantity, again);
        prop_assert_eq!(&canonical, &again.to_string());
        prop_assert!(!canonical.contains('.'), "{}", canonical);
    }

    #[test]
    fn more_bytes_are_a_greater_quantity(one: i64, other: i64) {
        prop_assert_eq!(Quantity::bytes(one).cmp(&Quantity::units(other)), one.cmp(&other));
        prop_assert_eq!(Quantity::bytes(one.max(-i64::MAX)).value(), one.max(-i64::MAX));
    }
}
