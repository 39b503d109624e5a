//! Plain, aligned tables.

use comfy_table::{CellAlignment, Table as Comfy, presets};

/// A table with numbers to the right.
pub(crate) struct Table(Comfy);

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let mut table = Comfy::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header(columns);
        for column in table.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Right);
        }
        Self(table)
    }

    /// One line.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.add_row(cells);
    }

    /// Prints it.
    pub(crate) fn print(&self) {
        println!("{}", self.0);
    }
}

/// A dash where there is nothing to say.
pub(crate) fn optional<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), show)
}
