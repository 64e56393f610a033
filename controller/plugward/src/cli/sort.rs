//! `--sort-by`: the order of rows, by a column of the table or a path in the objects.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::Value;

use super::{Failed, format};

/// One value of an object, to be compared with the same of others.
#[derive(Debug, Clone, PartialEq)]
enum Key {
    Number(f64),
    Time(Timestamp),
    Text(String),
    /// Comes last.
    Missing,
}

/// Sorts objects by a path (`.status.phase`, `{.spec.plugin.version}`, `.status.slots[0].restarts`).
pub(super) fn by_path(objects: &mut [Value], path: &str) -> Result<(), Failed> {
    let pointer = pointer(path).ok_or_else(|| {
        format!("--sort-by {path}: is no path (write it like .status.phase or .status.slots[0].restarts)")
    })?;
    objects.sort_by_cached_key(|object| Ordered(key(object.pointer(&pointer))));
    Ok(())
}

/// Sorts what has rows by one of their cells, or by age where `since` says when it began.
pub(super) fn by_cells<T>(
    items: &mut [T],
    cell: impl Fn(&T) -> String,
    since: impl Fn(&T) -> Option<Timestamp>,
) {
    items.sort_by_cached_key(|item| {
        let found = match since(item) {
            // The youngest comes first: ages grow.
            Some(since) => Key::Number(-since.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64()),
            None => text(&cell(item)),
        };
        Ordered(found)
    });
}

/// Whether this names a path, not a column.
pub(super) fn is_path(text: &str) -> bool {
    text.starts_with(['.', '{', '$'])
}

/// A path of kubectl's as a JSON pointer.
fn pointer(path: &str) -> Option<String> {
    let path = path.strip_prefix('{').map_or(Some(path), |path| path.strip_suffix('}'))?;
    let path = path.strip_prefix('$').unwrap_or(path).strip_prefix('.')?;
    let mut pointer = String::new();
    for step in path.split('.') {
        let (name, indices) = step.find('[').map_or((step, ""), |at| step.split_at(at));
        if name.is_empty() || (!indices.is_empty() && !indices.ends_with(']')) {
            return None;
        }
        pointer.push('/');
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        for index in indices.split_terminator(']') {
            pointer.push('/');
            pointer.push_str(index.strip_prefix('[').filter(|index| index.parse::<u32>().is_ok())?);
        }
    }
    Some(pointer)
}

fn key(value: Option<&Value>) -> Key {
    match value {
        None | Some(Value::Null) => Key::Missing,
        Some(Value::Number(number)) => number.as_f64().map_or(Key::Missing, Key::Number),
        Some(Value::String(found)) => found.parse().map_or_else(|_| text(found), Key::Time),
        Some(other) => Key::Text(other.to_string()),
    }
}

fn text(text: &str) -> Key {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Key::Number(number),
        _ if text.is_empty() || text == format::NONE => Key::Missing,
        _ => Key::Text(text.to_owned()),
    }
}

/// Numbers before times before texts.
struct Ordered(Key);

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |key: &Key| match key {
            Key::Number(_) => 0,
            Key::Time(_) => 1,
            Key::Text(_) => 2,
            Key::Missing => 3,
        };
        match (&self.0, &other.0) {
            (Key::Number(one), Key::Number(other)) => one.total_cmp(other),
            (Key::Time(one), Key::Time(other)) => one.cmp(other),
            (Key::Text(one), Key::Text(other)) => one.cmp(other),
            (one, other) => rank(one).cmp(&rank(other)),
        }
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sorted(path: &str) -> Vec<String> {
        let object = |name: &str, restarts: u64, at: &str| json!({ "name": name, "slots": [{ "restarts": restarts }], "at": at });
        let mut objects = [
            object("c", 10, "2026-11-27T10:00:00Z"),
            object("a", 9, "2026-11-27T10:00:00+02:00"),
            json!({ "name": "b" }),
        ];
        by_path(&mut objects, path).unwrap();
        objects.iter().map(|object| format::text(object, "/name").to_owned()).collect()
    }

    #[test]
    fn objects_are_sorted_by_what_a_path_leads_to() {
        assert_eq!(sorted(".name"), ["a", "b", "c"]);
        assert_eq!(sorted("{.slots[0].restarts}"), ["a", "c", "b"], "as numbers, what has none last");
        assert_eq!(sorted("$.at"), ["a", "c", "b"], "as times");
    }

    #[test]
    fn what_is_no_path_is_told() {
        for wrong in [".", ".a..b", "{.a", ".a[x]", ".a[0"] {
            let error = by_path(&mut [], wrong).unwrap_err();
            assert!(error.to_string().contains("write it like .status.phase"), "{error}");
        }
    }

    #[test]
    fn cells_are_sorted_as_numbers_and_ages_by_their_times() {
        let mut cells = ["10", "<none>", "9", "x"];
        by_cells(&mut cells, |cell| (*cell).to_owned(), |_| None);
        assert_eq!(cells, ["9", "10", "x", "<none>"]);
        let mut ages = [Timestamp::UNIX_EPOCH, Timestamp::MAX];
        by_cells(&mut ages, |_| String::new(), |at| Some(*at));
        assert_eq!(ages, [Timestamp::MAX, Timestamp::UNIX_EPOCH]);
    }
}
