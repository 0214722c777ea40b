//! Rows under headings, each column as wide as its widest cell.

use super::out;
use crate::error::Result;

/// Prints headings and rows; without rows nothing, as other lists do.
pub(super) fn print<const N: usize>(headings: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Result<()> {
    let rows: Vec<[String; N]> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    lines(headings, &rows).iter().try_for_each(|line| out::line(line))
}

fn lines<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let all = || std::iter::once(headings.map(str::to_owned)).chain(rows.iter().cloned());
    let mut widths = [0; N];
    for row in all() {
        widths.iter_mut().zip(&row).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
    }
    let line = |row: [String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    all().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_headings() {
        let rows = [["a".to_owned(), "12345".to_owned()], ["längst".to_owned(), "1".to_owned()]];
        assert_eq!(lines(["NAME", "N"], &rows), ["NAME    N", "a       12345", "längst  1"]);
    }
}
