use std::fs;
use std::path::Path;

use clap::Parser;
use plugward_api::manifest::{Rules, parse};
use serde_json::json;

use super::*;
use crate::cli::{delete, fake, golden};
use crate::control::review::{Reader, Reviewed};

const RUNTIME: &str = "\
# How plugins are run.
apiVersion: plugward.dev/v1alpha1
kind: PluginRuntime
metadata: { name: gvisor }
spec: {}
";

const OTHER: &str = "\
apiVersion: plugward.dev/v1alpha1
kind: PluginRuntime
metadata: { name: runc }
spec: { ociRuntime: runc }
";

#[derive(Debug, Parser)]
struct Apply {
    #[command(flatten)]
    arguments: Arguments,
}

#[derive(Debug, Parser)]
struct Delete {
    #[command(flatten)]
    arguments: delete::Arguments,
}

/// What a controller would say of records that go into this directory.
fn review(text: &str, directory: &Path) -> Review {
    let records = parse(text.as_bytes(), plugward_api::manifest::Format::Yaml, &Rules::default()).unwrap();
    let reviewed = |placed: plugward_api::Placed<plugward_api::Record>| {
        let key = placed.value.key();
        let file = directory.join(crate::control::review::file_name(&key));
        Reviewed { kind: key.kind, name: key.name, place: placed.place, file, generation: 1 }
    };
    Review {
        directory: directory.to_owned(),
        reader: Reader { user: 0, groups: Vec::new() },
        problems: Vec::new(),
        warnings: Vec::new(),
        records: records.into_iter().map(reviewed).collect(),
    }
}

fn input(text: &str) -> Input {
    Input { name: "all.yaml".into(), text: text.to_owned() }
}

/// What is printed for these records, with the directory's own path left out.
fn told(text: &str, directory: &Path, dry_run: DryRun) -> String {
    let placed = plan(&input(text), &review(text, directory)).unwrap();
    let told: String = placed.iter().map(|one| diff(one) + &line(one, dry_run)).collect();
    told.replace(&directory.display().to_string(), "/m")
}

#[test]
fn what_changes_is_told_as_kubectl_and_diff_do() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("pluginruntime-runc.yaml"),
        OTHER.replace("ociRuntime: runc", "ociRuntime: crun"),
    )
    .unwrap();
    let both = format!("{RUNTIME}---\n{OTHER}");
    let mut text = told(&both, directory.path(), DryRun::Server);
    for one in plan(&input(&both), &review(&both, directory.path())).unwrap() {
        one.put(&Reader { user: 0, groups: Vec::new() }).unwrap();
    }
    text += &told(&both, directory.path(), DryRun::None);
    golden::check("apply.txt", &text);
    assert_eq!(fs::read_to_string(directory.path().join("pluginruntime-gvisor.yaml")).unwrap(), RUNTIME);
}

#[test]
fn nothing_is_written_where_one_record_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = directory.path().join("all.yaml");
    fs::write(&manifest, format!("{RUNTIME}---\n{OTHER}")).unwrap();
    let mut review = review(RUNTIME, directory.path());
    review.problems = vec![plugward_api::Problem {
        place: Some(plugward_api::Place { line: 8, column: 1 }),
        field: "spec.x".into(),
        message: "is wrong".into(),
        help: Some("mend it".into()),
    }];
    let run = fake::controller([("/v1/manifests", json!(review))]);
    let mut words = vec!["apply".to_owned(), "-f".to_owned(), manifest.display().to_string()];
    words.extend(fake::words(run.path()));
    let arguments = Apply::parse_from(words).arguments;
    let error = super::run(&arguments).unwrap_err().to_string();
    let expected = format!("nothing was applied\n{}:8:1: spec.x: is wrong (mend it)", manifest.display());
    assert_eq!(error, expected);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_holds_more_or_is_a_link_is_never_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let two = format!("{RUNTIME}---\n{OTHER}");
    fs::write(path("two.yaml"), &two).unwrap();
    fs::write(path("alone"), RUNTIME).unwrap();
    std::os::unix::fs::symlink("alone", path("link.yaml")).unwrap();
    let cases = [
        ("two.yaml", 2, "with other records"),
        ("two.yaml", 1, "with other records, or ones"),
        ("link.yaml", 1, "a link to alone"),
    ];
    for (file, records, reason) in cases {
        let held = json!({ "file": path(file), "place": { "line": 2, "column": 1 }, "records": records });
        let run = fake::controller([("/v1/manifests/runtimes/gvisor", held)]);
        let mut words = vec!["delete".to_owned(), "runtime".to_owned(), "gvisor".to_owned()];
        words.extend(fake::words(run.path()));
        let error = delete::run(&Delete::parse_from(words).arguments).unwrap_err().to_string();
        let place = format!("pluginruntime/gvisor is declared in {}:2:1, {reason}", path(file).display());
        assert!(error.starts_with(&place) && error.ends_with("take it out there by hand"), "{error}");
    }
    assert_eq!(fs::read_to_string(path("two.yaml")).unwrap(), two);
    assert!(path("link.yaml").is_symlink() && path("alone").exists());
}

#[test]
fn what_is_not_there_is_not_deleted() {
    let run = fake::controller([]);
    let mut words = vec!["delete".to_owned(), "instance".to_owned(), "orders".to_owned()];
    words.extend(fake::words(run.path()));
    let error = delete::run(&Delete::parse_from(words).arguments).unwrap_err().to_string();
    assert_eq!(error, "not found", "in the controller's words");
}
