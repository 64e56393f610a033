use proptest::prelude::*;

use super::*;

const COMPLETE: &str = include_str!("../../tests/corpus/good/complete.yaml");
const JSON: &str = include_str!("../../tests/corpus/good/instance.json");

const RUNTIME: &str = "apiVersion: plugward.dev/v1alpha1\nkind: PluginRuntime\nmetadata: { name: a }\n";

fn yaml(text: &str) -> Result<Vec<Placed<Record>>, Vec<Problem>> {
    parse(text.as_bytes(), Format::Yaml, &Rules::default())
}

/// The problems of a text, each as a line.
fn lines(text: &str, format: Format) -> Vec<String> {
    let problems = parse(text.as_bytes(), format, &Rules::default()).expect_err(text);
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_format_follows_from_the_name_of_the_file() {
    assert_eq!(Format::of(Path::new("/etc/a.yaml")), Format::Yaml);
    assert_eq!(Format::of(Path::new("a.yml")), Format::Yaml);
    assert_eq!(Format::of(Path::new("a.JSON")), Format::Json);
    assert_eq!(Format::of(Path::new("json")), Format::Yaml);
}

#[test]
fn records_know_their_place_and_document() {
    let text = format!(
        "# One.\n---\n---\n{RUNTIME}spec: {{}}\n---\n\n  {{ {} }}\n",
        RUNTIME.replace('\n', ", ").replace("name: a", "name: b") + "spec: {}"
    );
    let records = yaml(&text).unwrap();
    let places: Vec<_> =
        records.iter().map(|r| (r.value.name().to_string(), r.place.to_string(), r.document)).collect();
    assert_eq!(places, [("a".to_owned(), "4:1".to_owned(), 0), ("b".to_owned(), "10:3".to_owned(), 1)]);
}

#[test]
fn columns_count_characters() {
    let text = format!("{RUNTIME}spec: {{ network: \"ünï\", rootless: 1 }}");
    let lines = lines(&text, Format::Yaml);
    assert!(lines[0].starts_with("4:18: spec.network: "), "{lines:?}");
    assert!(lines[1].starts_with("4:35: spec.rootless: "), "{lines:?}");
}

#[test]
fn a_problem_is_shown_as_compilers_show_them() {
    let problem = yaml("kind: PluginRuntim").unwrap_err().remove(0);
    let line = problem.in_file(Path::new("dir/a.yaml")).to_string();
    assert_eq!(
        line,
        "dir/a.yaml:1:7: kind: there is no kind \"PluginRuntim\" (did you mean \"PluginRuntime\"?)"
    );
    let problem = yaml("").unwrap_err().remove(0);
    assert!(
        problem.in_file(Path::new("a.yaml")).to_string().starts_with("a.yaml: the file is empty ("),
        "{problem}"
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_text() {
    let text = format!("\u{feff}{RUNTIME}spec: {{}}");
    assert_eq!(yaml(&text).unwrap()[0].place, Place { line: 1, column: 1 });
    let json = format!("\u{feff}{JSON}");
    assert!(parse(json.as_bytes(), Format::Json, &Rules::default()).is_ok());
}

#[test]
fn yaml_and_json_give_the_same_record() {
    let json = parse(JSON.as_bytes(), Format::Json, &Rules::default()).unwrap();
    assert_eq!(yaml(JSON).unwrap()[0].value, json[0].value);
    assert_eq!(json[0].place, Place { line: 1, column: 1 });
}

#[test]
fn scalars_are_resolved_as_yaml_1_2_says() {
    let number = |text: &str| {
        RUNTIME.replace("name: a", &format!("name: a, annotations: {{ a: {text} }}")) + "spec: {}"
    };
    for text in ["0", "-1", "+1.5", "0x1F", "0o17", ".5", "5.", "1e3", "-.inf", ".nan", "1.5E-3", "007"] {
        assert!(lines(&number(text), Format::Yaml)[0].contains("is the number"), "{text}");
    }
    for text in ["yes", "on", "n", "1_000", "0b1", "1:30", "0x", "1e", "e1", "12-12", "nil", "1.2.3"] {
        let read = yaml(&number(text));
        assert!(!format!("{read:?}").contains("is the number"), "{text}: {read:?}");
    }
}

#[test]
fn the_limits_of_size_depth_and_number_are_told() {
    let huge = vec![b'#'; MAX_BYTES + 1];
    let problems = parse(&huge, Format::Yaml, &Rules::default()).unwrap_err();
    assert!(problems[0].message.contains("has at most 1048576"), "{problems:?}");
    let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
    for format in [Format::Yaml, Format::Json] {
        assert!(lines(&deep, format)[0].contains("more than 64 deep"), "{format:?}");
    }
    let many = format!("[{}]", vec!["1"; MAX_NODES].join(","));
    for format in [Format::Yaml, Format::Json] {
        assert!(lines(&many, format)[0].contains("more than 100000 values"), "{format:?}");
    }
}

#[test]
fn a_bomb_of_aliases_is_refused_before_it_goes_off() {
    // 10^40 values, were they all read.
    let level = |level| {
        let item = if level == 0 { "x".to_owned() } else { format!("*a{}", level - 1) };
        format!("  a{level}: &a{level} [{}]\n", vec![item; 10].join(", "))
    };
    let bomb = format!("{RUNTIME}spec:\n{}", (0..40).map(level).collect::<Vec<_>>().concat());
    assert!(lines(&bomb, Format::Yaml)[0].contains("more than 100000 values"));
}

#[test]
fn anchors_around_anchors_are_counted_as_what_is_kept_for_them() {
    let items = vec!["x"; 10_000].join(",");
    let nested = format!(
        "{}[{items}]{}",
        (0..40).map(|n| format!("&a{n} [")).collect::<Vec<_>>().concat(),
        "]".repeat(40)
    );
    assert!(lines(&nested, Format::Yaml)[0].contains("more than 100000 values"));
}

#[test]
fn a_file_of_nothing_but_mistakes_tells_the_first_and_counts_the_rest() {
    let fields: Vec<String> = (0..20_000).map(|field| format!("  field{field}: 1\n")).collect();
    let text = format!("{RUNTIME}spec:\n{}", fields.concat());
    let lines = lines(&text, Format::Yaml);
    assert_eq!(lines.len(), MAX_PROBLEMS + 1);
    assert!(lines[0].starts_with("5:3: spec.field0: "), "{}", lines[0]);
    assert_eq!(lines[MAX_PROBLEMS], "there are 19900 more problems");
}

#[test]
fn rules_do_not_speak_of_fields_that_could_not_be_read() {
    let instance = |fields: &str| {
        lines(
            &format!(
                "apiVersion: plugward.dev/v1alpha1\nkind: PluginInstance\nmetadata: {{ name: a }}\nspec:\n  \
                 image: {{ repository: a }}\n{fields}"
            ),
            Format::Yaml,
        )
    };
    // The mounts are unknown, not empty; the type is unknown, not one without a handshake.
    let lines = instance("  plugin: { type: costum, name: a, version: v1 }\n  mounts: a\n");
    assert_eq!(lines.len(), 2, "{lines:?}");
    // The backoff that could not be read is not shorter than the other.
    let lines = instance(
        "  plugin: { type: auth, name: a, version: v1 }\n  mounts: [{ name: a }]\n  \
         restart: { initialBackoff: 1h, maxBackoff: 2hours }\n",
    );
    assert_eq!(lines.len(), 1, "{lines:?}");
    // One mount that could not be read does not hide that two others have one name.
    let lines = instance(
        "  plugin: { type: auth, name: a, version: v1 }\n  mounts: [{ name: b }, { nam: c }, { name: b }]\n",
    );
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[test]
fn a_runtime_named_default_may_be_declared() {
    let records = yaml(&RUNTIME.replace("name: a", "name: default")).map_err(|problems| problems.len());
    assert_eq!(records.unwrap_err(), 1, "the spec is missing");
    let records =
        yaml(&format!("{}spec: {{ ociRuntime: runc }}", RUNTIME.replace("name: a", "name: default")))
            .unwrap();
    assert_eq!(records[0].value.name(), &crate::instance::DEFAULT_RUNTIME);
}

/// Changes a text in a few places, as a slipping hand does.
fn slip(text: &str) -> impl Strategy<Value = String> + use<> {
    let chars: Vec<char> = text.chars().collect();
    let piece = prop::sample::select(vec![
        "", " ", "\n", "\t", ":", ": ", "- ", "[", "]", "{", "}", ",", "\"", "'", "&a ", "*a", "<<",
        "!!str ", "!", "#", "|", ">", "---\n", "...\n", "%", "0", "-1", "1e9", "null", "~", "true", "é",
        "\0", "\\", "\u{feff}", "? ", "@", "`",
    ]);
    prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, piece), 1..5).prop_map(move |slips| {
        let mut chars = chars.clone();
        for (index, removed, piece) in slips {
            let at = index.index(chars.len() + 1);
            let end = (at + removed).min(chars.len());
            chars.splice(at..end, piece.chars());
        }
        chars.into_iter().collect()
    })
}

/// What holds for every text: the parser ends, and says something useful.
fn holds(bytes: &[u8], format: Format) {
    match parse(bytes, format, &Rules::default()) {
        Ok(records) => {
            assert!(!records.is_empty());
            for record in records {
                let json = serde_json::to_string(&record.value).unwrap();
                let again: Record = serde_json::from_str(&json).unwrap();
                assert_eq!(again, record.value);
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            let lines = String::from_utf8_lossy(bytes).lines().count() + 1;
            for problem in problems {
                assert!(!problem.message.is_empty());
                assert!(
                    problem.place.is_none_or(|place| (1..=lines).contains(&place.line) && place.column > 0)
                );
                // The words of serde mean that a value passed the schema and not the type.
                for foreign in
                    ["invalid type", "invalid value", "missing field", "unknown field", "unknown variant"]
                {
                    assert!(!problem.message.contains(foreign), "{problem}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        holds(&bytes, Format::Yaml);
        holds(&bytes, Format::Json);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[ \\n\\t:,\\[\\]{}\"'&*!|>%@`#?<a-c0-9.~é-]{0,80}") {
        holds(text.as_bytes(), Format::Yaml);
        holds(text.as_bytes(), Format::Json);
    }

    #[test]
    fn a_slip_of_the_hand_is_read_without_a_panic(yaml in slip(COMPLETE), json in slip(JSON)) {
        holds(yaml.as_bytes(), Format::Yaml);
        holds(json.as_bytes(), Format::Json);
        holds(json.as_bytes(), Format::Yaml);
    }

    #[test]
    fn a_half_written_file_is_read_without_a_panic(end in any::<prop::sample::Index>()) {
        holds(&COMPLETE.as_bytes()[..end.index(COMPLETE.len())], Format::Yaml);
        holds(&JSON.as_bytes()[..end.index(JSON.len())], Format::Json);
    }
}
