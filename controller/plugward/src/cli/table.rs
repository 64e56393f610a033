//! Tables as kubectl prints them: columns as wide as their cells, three spaces apart, no lines.

use std::fmt::Write;

/// Lays out rows. All have as many cells as the first, which holds the titles.
pub(super) fn layout(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}   ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = layout(&[row(["NAME", "AGE"]), row(["orders-db", "5s"]), row(["b", ""])]);
        assert_eq!(text, "NAME        AGE\norders-db   5s\nb\n");
    }
}
