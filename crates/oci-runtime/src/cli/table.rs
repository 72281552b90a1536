//! Aligned tables for people: `list`, `ps`.
//!
//! Scripts cut these tables at runs of blanks, as they do with runc's: a column is as wide as its longest cell and
//! three blanks, at least twelve; the last one is not padded. One row is one line, whatever the cells hold.

/// No column but the last is narrower.
const MIN_WIDTH: usize = 12;
/// Blanks between a column's longest cell and the next column.
const PADDING: usize = 3;

/// Renders `header` and `rows` as lines. Cells that a row lacks are empty.
pub fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut lines = vec![header.iter().map(|cell| printable(cell)).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()));
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let longest = lines.iter().filter_map(|line| line.get(column)).map(|cell| width(cell));
            MIN_WIDTH.max(longest.max().unwrap_or(0) + PADDING)
        })
        .collect();
    let mut text = String::new();
    for line in &lines {
        let start = text.len();
        for (cell, column_width) in line.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', column_width - width(cell)));
        }
        text.truncate(start + text[start..].trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// The width of a cell, one column for each character.
fn width(cell: &str) -> usize {
    cell.chars().count()
}

/// A bundle's path, or a word of config.json, may hold a newline or an escape sequence: neither may reach the reader's
/// terminal as such.
pub fn printable(cell: &str) -> String {
    cell.chars().fold(String::with_capacity(cell.len()), |mut text, c| {
        match c.is_control() {
            true => text.extend(c.escape_default()),
            false => text.push(c),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];

    fn row(cells: [&str; 6]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    #[test]
    fn an_empty_table_is_the_header() {
        assert_eq!(
            render(&HEADER, &[]),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
    }

    #[test]
    fn a_long_cell_widens_its_column_only() {
        let rows = [
            row(["a", "0", "stopped", "/b", "2026-01-01T00:00:00Z", "root"]),
            row(["a-long-container-id", "4711", "running", "/", "x", "someone"]),
        ];
        assert_eq!(
            render(&HEADER, &rows),
            "ID                    PID         STATUS      BUNDLE      CREATED                OWNER\n\
             a                     0           stopped     /b          2026-01-01T00:00:00Z   root\n\
             a-long-container-id   4711        running     /           x                      someone\n"
        );
    }

    #[test]
    fn three_blanks_always_separate() {
        // Nine and ten characters: the border where the minimum gives way to the padding.
        let table = render(&["A", "B"], &[vec!["123456789".into(), "x".into()]]);
        assert_eq!(table, "A           B\n123456789   x\n");
        let table = render(&["A", "B"], &[vec!["1234567890".into(), "x".into()]]);
        assert_eq!(table, "A            B\n1234567890   x\n");
    }

    #[test]
    fn no_line_ends_with_blanks() {
        let table = render(
            &["A", "B"],
            &[vec!["a".into(), String::new()], vec!["b".into()], vec![]],
        );
        assert_eq!(table, "A           B\na\nb\n\n");
    }

    #[test]
    fn characters_count_not_bytes() {
        let table = render(&["A", "B"], &[vec!["žluťoučký".into(), "x".into()]]);
        assert_eq!(table, "A           B\nžluťoučký   x\n");
    }

    #[test]
    fn one_row_is_one_line() {
        let table = render(&["A", "B"], &[vec!["a\nb".into(), "\u{1b}[31m\t".into()]]);
        assert_eq!(table, "A           B\na\\nb        \\u{1b}[31m\\t\n");
    }
}
