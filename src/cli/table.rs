//! Tables for people: a head, and columns as wide as their widest cell.

use serde_json::Value;

use super::out;
use crate::error::Result;

/// How a column shows what is under its name.
#[derive(Clone, Copy)]
pub(super) enum Cell {
    /// As it is, to the left.
    Text,
    /// A number, to the right.
    Number,
    /// Bytes for people, to the right.
    Bytes,
    /// A part of a whole in percent, to the right.
    Percent,
}

/// A column: its head, the member it shows (`a.b` for one inside another), and how.
pub(super) type Column = (&'static str, &'static str, Cell);

/// Prints a row for each item.
pub(super) fn print(columns: &[Column], items: &[Value]) -> Result<()> {
    let head: Vec<String> = columns.iter().map(|(head, ..)| (*head).to_owned()).collect();
    let cells = items.iter().map(|item| columns.iter().map(|(_, path, cell)| show(item, path, *cell)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(cells).collect();
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|at| width(at).unwrap_or_default()).collect();
    for row in &rows {
        let parts = row.iter().zip(&widths).zip(columns).map(|((cell, width), (_, _, kind))| match kind {
            Cell::Text => format!("{cell:<width$}"),
            Cell::Number | Cell::Bytes | Cell::Percent => format!("{cell:>width$}"),
        });
        out::line(parts.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn show(item: &Value, path: &str, cell: Cell) -> String {
    let value = path.split('.').try_fold(item, |value, name| value.get(name));
    match (value, cell) {
        (None | Some(Value::Null), _) => "-".to_owned(),
        (Some(value), Cell::Bytes) => value.as_u64().map_or_else(|| value.to_string(), out::size),
        (Some(value), Cell::Percent) => {
            value.as_f64().map_or_else(|| value.to_string(), |part| format!("{:.1} %", part * 100.0))
        }
        (Some(Value::String(text)), _) => out::plain(text).replace(['\n', '\t'], " "),
        (Some(Value::Bool(truth)), _) => if *truth { "yes" } else { "no" }.to_owned(),
        (Some(Value::Array(values)), _) => {
            let words = values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            out::plain(&words.collect::<Vec<_>>().join(","))
        }
        (Some(value), _) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_shown_for_people() {
        let item = json!({"a": {"b": "x\ny\u{1b}"}, "n": 7, "size": 2048, "part": 0.5, "none": null, "yes": true, "l": ["a", 1]});
        let shown = |path, cell| show(&item, path, cell);
        assert_eq!(shown("a.b", Cell::Text), "x y\u{fffd}");
        assert_eq!((shown("n", Cell::Number), shown("size", Cell::Bytes)), ("7".into(), "2.00 KiB".into()));
        assert_eq!((shown("part", Cell::Percent), shown("none", Cell::Percent)), ("50.0 %".into(), "-".into()));
        assert_eq!(shown("l", Cell::Text), "a,1");
        assert_eq!((shown("yes", Cell::Text), shown("a.c", Cell::Text)), ("yes".into(), "-".into()));
    }
}
