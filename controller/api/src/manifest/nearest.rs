//! What someone may have meant.

/// The known word that is nearest to `word`, if one is near: cases, dashes and underscores do not count.
pub fn find<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// No word that we know is longer than this.
    const LONGEST: usize = 64;
    if word.chars().count() > LONGEST {
        return None;
    }
    let plain = |word: &str| word.replace(['-', '_', ' '], "").to_lowercase();
    let wanted = plain(word);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Names the nearest known word, or all of them: `did you mean "mounts"?`, `use a, b or c`.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match find(word, known.clone()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("use {}", alternatives(known)),
    }
}

/// `a, b or c`
pub(super) fn alternatives<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// A text in quotes, cut when it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
