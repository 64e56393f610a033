//! Tables as kubectl prints them: columns as wide as their cells, three spaces apart, no lines.

use std::fmt::Write;

use super::colours::Colours;

/// Lays out rows. All have as many cells as the first, which holds the titles.
pub(super) fn layout(rows: &[Vec<String>], colours: Colours) -> String {
    let Some(titles) = rows.first() else { return String::new() };
    let widths = widths(rows);
    rows.iter().map(|row| line(titles, row, &widths, colours)).collect()
}

/// How wide the columns of these rows are.
pub(super) fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    (0..rows.first().map_or(0, Vec::len)).map(width).collect()
}

/// One row, with columns of these widths or as wide as its cells.
pub(super) fn line(titles: &[String], row: &[String], widths: &[usize], colours: Colours) -> String {
    let mut line = String::new();
    for ((title, cell), width) in titles.iter().zip(row).zip(widths) {
        let gap = width.saturating_sub(cell.chars().count());
        let _ = write!(line, "{}{:gap$}   ", colours.cell(title, cell), "");
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = layout(&[row(["NAME", "AGE"]), row(["orders-db", "5s"]), row(["b", ""])], Colours::Off);
        assert_eq!(text, "NAME        AGE\norders-db   5s\nb\n");
    }

    #[test]
    fn colours_take_no_room() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = layout(&[row(["PHASE", "AGE"]), row(["Ready", "5s"])], Colours::On);
        assert_eq!(text, "PHASE   AGE\n\x1b[32mReady\x1b[0m   5s\n");
    }
}
