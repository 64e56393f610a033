use proptest::prelude::*;

use super::*;
use crate::{
    Duration, LabelKey, LabelValue, Name, Quantity,
    field::{AbsolutePath, EnvName},
    image::{ImageId, Repository, Tag},
    instance::{Account, MethodPath, PluginName, PluginVersion},
    runtime::{CgroupParent, EngineHost, Network, OciRuntime, SeccompProfile},
};

/// Holds the pattern of a type, as a validator of JSON Schema reads it, and its check to the same verdict.
fn agree<T: Text>(texts: &[String]) {
    let validator = jsonschema::draft202012::new(schema_of::<T>().as_value()).unwrap();
    verify::<T>(T::EXAMPLE).unwrap();
    for text in texts.iter().map(String::as_str).chain([T::EXAMPLE]) {
        let by_pattern = validator.is_valid(&text.into());
        assert_eq!(verify::<T>(text).is_ok(), by_pattern, "{text:?} as {}", T::FORMAT);
    }
}

/// Random texts, and the example of `T` with something changed: what is nearly right finds more than noise does.
fn texts<T: Text>() -> impl Strategy<Value = Vec<String>> {
    let piece = prop_oneof![
        3 => "[a-zA-Z0-9]",
        3 => prop::sample::select(vec![
            "-", "_", ".", "/", "//", ":", "@", "$", " ", "=", "+", "~", "\\n", "\0", "é", "://", "sha256:", "tcp://", "unix:///",
            "5", "0", "s", "ms", "Ki", "e", "m", "A", "z", "localhost", "example.com:5000/", "default",
        ]).prop_map(str::to_owned),
    ];
    let changed =
        (any::<prop::sample::Index>(), piece.clone(), 0..3_usize).prop_map(|(index, piece, removed)| {
            let mut chars: Vec<char> = T::EXAMPLE.chars().collect();
            let at = index.index(chars.len() + 1);
            let end = (at + removed).min(chars.len());
            chars.splice(at..end, piece.chars());
            chars.into_iter().collect::<String>()
        });
    let random = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    let long = (0..400_usize, "[a-z]").prop_map(|(length, letter)| letter.repeat(length));
    prop::collection::vec(prop_oneof![8 => changed, 8 => random, 1 => long], 24)
}

macro_rules! agreement {
    ($($test:ident: $type:ty),* $(,)?) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(64))]
            $(
                #[test]
                fn $test(texts in texts::<$type>()) {
                    agree::<$type>(&texts);
                }
            )*
        }
    };
}

agreement! {
    the_pattern_of_a_path_agrees_with_its_check: AbsolutePath,
    the_pattern_of_an_account_agrees_with_its_check: Account,
    the_pattern_of_an_engine_host_agrees_with_its_check: EngineHost,
    the_pattern_of_a_variable_agrees_with_its_check: EnvName,
    the_pattern_of_an_image_id_agrees_with_its_check: ImageId,
    the_pattern_of_a_label_key_agrees_with_its_check: LabelKey,
    the_pattern_of_a_label_value_agrees_with_its_check: LabelValue,
    the_pattern_of_a_method_agrees_with_its_check: MethodPath,
    the_pattern_of_a_name_agrees_with_its_check: Name,
    the_pattern_of_a_network_agrees_with_its_check: Network,
    the_pattern_of_an_oci_runtime_agrees_with_its_check: OciRuntime,
    the_pattern_of_a_plugin_name_agrees_with_its_check: PluginName,
    the_pattern_of_a_plugin_version_agrees_with_its_check: PluginVersion,
    the_pattern_of_a_quantity_agrees_with_its_check: Quantity,
    the_pattern_of_a_repository_agrees_with_its_check: Repository,
    the_pattern_of_a_seccomp_profile_agrees_with_its_check: SeccompProfile,
    the_pattern_of_a_tag_agrees_with_its_check: Tag,
}

proptest! {
    // Two patterns say less than their checks: they have no words for a length of time, nor for "not this".
    #[test]
    fn a_duration_is_of_its_pattern_and_not_too_long(texts in texts::<Duration>()) {
        let texts: Vec<String> =
            texts.into_iter().filter(|text| !text.parse::<Duration>().is_err_and(|e| e.message().contains("longer"))).collect();
        agree::<Duration>(&texts);
    }

    #[test]
    fn a_cgroup_parent_is_of_its_pattern_and_leaves_no_parent(texts in texts::<CgroupParent>()) {
        let texts: Vec<String> = texts.into_iter().filter(|text| !text.contains("..")).collect();
        agree::<CgroupParent>(&texts);
    }

    #[test]
    fn an_image_id_is_kept_in_one_spelling(digits in "[0-9a-fA-F]{64}") {
        let bare: ImageId = digits.parse().unwrap();
        let prefixed: ImageId = format!("sha256:{digits}").parse().unwrap();
        prop_assert_eq!(&bare, &prefixed);
        prop_assert_eq!(bare.as_str(), format!("sha256:{}", digits.to_lowercase()));
    }
}

#[test]
fn a_text_type_deserializes_only_what_it_allows() {
    assert_eq!(serde_json::from_str::<Name>("\"orders\"").unwrap(), "orders");
    let error = serde_json::from_str::<Name>("\"Orders\"").unwrap_err();
    assert!(error.to_string().contains("is not a name"), "{error}");
    assert_eq!(serde_json::to_string(&"orders".parse::<Name>().unwrap()).unwrap(), "\"orders\"");
}
