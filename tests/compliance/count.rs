//! What was compared and how much of it differs, printed and left under `target/measured/compliance` for the table in
//! the README.

use std::fs;

/// One row of the table.
pub(crate) struct Count {
    name: &'static str,
    compared: u64,
    differences: Vec<String>,
}

/// So many differences are shown in full; the others are counted.
const SHOWN: usize = 40;

impl Count {
    /// A row with nothing compared yet. `name` says what is counted.
    pub(crate) fn of(name: &'static str) -> Self {
        Self {
            name,
            compared: 0,
            differences: Vec::new(),
        }
    }

    /// Counts one comparison; `told` describes it where the two differ.
    pub(crate) fn compare<T: PartialEq + std::fmt::Debug>(
        &mut self,
        ours: &T,
        theirs: &T,
        told: impl FnOnce() -> String,
    ) {
        self.compared += 1;
        if ours != theirs {
            self.differences
                .push(format!("{}\n    ours:   {ours:?}\n    theirs: {theirs:?}", told()));
        }
    }

    /// Counts comparisons that were made elsewhere and found equal.
    pub(crate) fn equal(&mut self, many: u64) {
        self.compared += many;
    }

    /// Writes the row and ends the test where there are differences, or fewer comparisons than there must be.
    ///
    /// # Panics
    /// Then.
    pub(crate) fn close(self, at_least: u64) {
        let row = format!(
            "{}: {} compared, {} differ",
            self.name,
            self.compared,
            self.differences.len()
        );
        println!("{row}");
        let folder = super::oracle::scratch().join("../measured/compliance");
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(format!("{}.txt", self.name.replace(' ', "-"))),
            format!("{row}\n"),
        )
        .unwrap();
        let shown: Vec<_> = self.differences.iter().take(SHOWN).map(String::as_str).collect();
        assert!(self.differences.is_empty(), "{row}\n{}", shown.join("\n"));
        assert!(
            self.compared >= at_least,
            "{row}, fewer than the {at_least} that there must be"
        );
    }
}
