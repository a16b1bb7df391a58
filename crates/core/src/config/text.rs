//! Text that remembers, line by line, which line of which file it came from.
//!
//! An option's value is put together from several files by `%(…)s` and `<tag>`; a complaint about the third
//! failregex of a jail must still name the place where a person can mend it.

/// A line of a file: the number of the file on the shelf (see [`super::include`]), and the line counted from 1.
/// Line 0 is nowhere: a value that no file gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    pub(crate) file: u32,
    pub(crate) line: u32,
}

/// A value with one mark for each of its lines.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Text {
    text: String,
    marks: Vec<Mark>,
    /// The byte at which each line begins, kept so that a place is found without counting from the start.
    starts: Vec<usize>,
}

impl Text {
    /// Text whose every line came from one place.
    pub(crate) fn new(text: impl Into<String>, mark: Mark) -> Self {
        let text = text.into();
        let marks = vec![mark; text.matches('\n').count() + 1];
        Text::of(text, marks)
    }

    fn of(text: String, marks: Vec<Mark>) -> Self {
        let ends = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Text { text, marks, starts }
    }

    /// Lines joined with line feeds, blanks at the very end cut off.
    pub(crate) fn from_lines(lines: Vec<(String, Mark)>) -> Self {
        let mut text = String::new();
        let mut marks = Vec::with_capacity(lines.len());
        for (index, (line, mark)) in lines.into_iter().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            text.push_str(&line);
            marks.push(mark);
        }
        text.truncate(text.trim_end_matches(is_space).len());
        marks.truncate(text.matches('\n').count() + 1);
        Text::of(text, marks)
    }

    /// The text alone.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Where it begins.
    pub(crate) fn mark(&self) -> Mark {
        self.marks.first().copied().unwrap_or_default()
    }

    /// The marks, one a line.
    pub(crate) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The marks from the line in which the byte `offset` lies.
    pub(crate) fn marks_from(&self, offset: usize) -> &[Mark] {
        let line = self.starts.partition_point(|&start| start <= offset).saturating_sub(1);
        self.marks.get(line..).unwrap_or_default()
    }

    /// A part of it, with the marks of that part; `part` is a subslice given by its byte offset.
    pub(crate) fn part(&self, offset: usize, part: &str) -> Text {
        let marks = self.marks_from(offset);
        let count = part.matches('\n').count() + 1;
        let mut marks: Vec<Mark> = marks.iter().take(count).copied().collect();
        marks.resize(count, marks.last().copied().unwrap_or_default());
        Text::of(part.to_owned(), marks)
    }

    /// Each line with its mark.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&str, Mark)> {
        self.text
            .split('\n')
            .enumerate()
            .map(|(index, line)| (line, self.marks.get(index).copied().unwrap_or_default()))
    }
}

/// Text in the making: pieces from several places become one. A line's mark is that of the piece which was
/// pulled in over the fewest steps, because that is where the line itself is written.
#[derive(Default)]
pub(crate) struct Weave {
    text: String,
    lines: Vec<(Mark, usize)>,
}

impl Weave {
    /// Appends a piece whose lines came from `marks`, found after `depth` steps.
    pub(crate) fn push(&mut self, piece: &str, marks: &[Mark], depth: usize) {
        for (index, line) in piece.split('\n').enumerate() {
            let mark = marks.get(index).or(marks.last()).copied().unwrap_or_default();
            if self.lines.is_empty() || index > 0 {
                if index > 0 {
                    self.text.push('\n');
                }
                self.lines.push((mark, usize::MAX));
            }
            if line.is_empty() {
                continue;
            }
            if let Some(last) = self.lines.last_mut()
                && depth < last.1
            {
                *last = (mark, depth);
            }
            self.text.push_str(line);
        }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// The text that came of it.
    pub(crate) fn finish(self) -> Text {
        let mut marks: Vec<Mark> = self.lines.into_iter().map(|(mark, _)| mark).collect();
        if marks.is_empty() {
            marks.push(Mark::default());
        }
        Text::of(self.text, marks)
    }
}

/// What Python's `str.strip` and `\s` take for a blank.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Python's `str.strip`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32) -> Mark {
        Mark { file: 1, line }
    }

    #[test]
    fn a_line_belongs_to_the_piece_nearest_to_the_reader() {
        let mut weave = Weave::default();
        weave.push("", &[at(1)], 1);
        weave.push("inner a\ninner b", &[at(10), at(11)], 2);
        weave.push(" tail\nown", &[at(1), at(2)], 1);
        let text = weave.finish();
        assert_eq!(text.as_str(), "inner a\ninner b tail\nown");
        assert_eq!(text.marks(), [at(10), at(1), at(2)]);
    }

    #[test]
    fn trailing_lines_go_with_their_marks() {
        let text = Text::from_lines(vec![
            ("a".into(), at(1)),
            (String::new(), at(2)),
            (String::new(), at(3)),
        ]);
        assert_eq!((text.as_str(), text.marks()), ("a", &[at(1)][..]));
        let text = Text::new("one\ntwo\nthree", at(4));
        assert_eq!(text.part(4, "two\nthree").marks(), [at(4), at(4)]);
    }
}
