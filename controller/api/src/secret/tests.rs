use crate::{
    Record,
    manifest::{Format, Rules, parse},
};

#[test]
fn the_debug_form_of_a_record_shows_no_secret() {
    let manifest = r"
apiVersion: plugward.dev/v1alpha1
kind: PluginInstance
metadata: { name: secrets }
spec:
  plugin: { type: custom, name: counter, version: v1 }
  image: { repository: counter }
  env: { PASSWORD: hunter2 }
  handshake: { cookieKey: COOKIE, cookieValue: hunter3, protocolVersions: [1] }
  mounts: [{ name: main }]
";
    let records = parse(manifest.as_bytes(), Format::Yaml, &Rules::default()).unwrap();
    let debug = format!("{records:#?}");
    assert!(!debug.contains("hunter"), "{debug}");
    assert!(debug.contains("PASSWORD"), "{debug}");
    let Record::Instance(instance) = &records[0].value else { panic!("{debug}") };
    let password = instance.spec.env.get(&"PASSWORD".parse().unwrap()).unwrap();
    assert_eq!(password.as_str(), "hunter2");
}

#[test]
fn a_problem_with_a_secret_does_not_show_it() {
    for value in ["123456789", "true", "[123456789]", "{ a: 123456789 }", "1234.56789", "\"\\0hunter2\""] {
        let manifest = format!(
            "{{ apiVersion: plugward.dev/v1alpha1, kind: PluginInstance, metadata: {{ name: a }}, spec: {{ \
             plugin: {{ type: custom, name: a, version: v1 }}, image: {{ repository: a }}, mounts: [{{ name: a }}], \
             env: {{ A: {value} }}, \
             handshake: {{ cookieKey: B, cookieValue: {value}, protocolVersions: [1] }} }} }}"
        );
        let problems = parse(manifest.as_bytes(), Format::Yaml, &Rules::default()).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        for problem in problems {
            let line = problem.to_string();
            assert!(!line.contains("56789") && !line.contains("hunter") && !line.contains("true"), "{line}");
        }
    }
}
