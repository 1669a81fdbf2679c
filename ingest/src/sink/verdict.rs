//! What ClickHouse meant by an error.

use clickhouse::error::Error;

/// Whose fault it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passes by itself: away, busy, out of space, read-only, and whatever we have no name for.
    Passing,
    /// The schema is not the one that this sink writes, or a view over the table fails: someone has to put it right.
    Schema,
    /// One of the rows, perhaps: nothing of the insert was taken.
    Rows,
}

/// UNKNOWN_FUNCTION, NO_SUCH_COLUMN_IN_TABLE, UNKNOWN_IDENTIFIER, UNKNOWN_TABLE, SYNTAX_ERROR,
/// UNKNOWN_FORMAT, UNKNOWN_DATABASE, UNKNOWN_SETTING, NUMBER_OF_COLUMNS_DOESNT_MATCH, DUPLICATE_COLUMN
const SCHEMA: [u32; 10] = [46, 16, 47, 60, 62, 73, 81, 115, 20, 15];

/// CANNOT_PARSE_TEXT, CANNOT_PARSE_UUID and their like; CANNOT_READ_ALL_DATA, BAD_ARGUMENTS, TYPE_MISMATCH,
/// ARGUMENT_OUT_OF_BOUND, CANNOT_CONVERT_TYPE, INCORRECT_DATA, TOO_LARGE_ARRAY_SIZE, TOO_LARGE_STRING_SIZE,
/// VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE, CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN, VIOLATED_CONSTRAINT
#[rustfmt::skip]
const ROWS: [u32; 21] = [
    6, 25, 26, 27, 33, 36, 38, 41, 53, 69, 70, 72, 117, 128, 131, 321, 349, 376, 469, 636, 691,
];

/// ClickHouse writes a row to its table before the views over it see it: their trouble is no reason to take it back.
const IN_A_VIEW: &str = "while pushing to view";

pub(super) fn of(error: &Error) -> Verdict {
    let Error::BadResponse(text) = error else { return Verdict::Passing };
    match code(text) {
        Some(code) if SCHEMA.contains(&code) => Verdict::Schema,
        Some(_) if text.contains(IN_A_VIEW) => Verdict::Schema,
        Some(code) if ROWS.contains(&code) => Verdict::Rows,
        _ => Verdict::Passing,
    }
}

/// ClickHouse opens its errors with `Code: 469. `.
fn code(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("Code: ")?;
    rest.split('.').next()?.parse().ok()
}

/// ClickHouse likes to quote: the whole query, and values of the row, which nobody should read in a log.
pub(super) fn brief(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let unquoted = ["Column values:", "Buffer:", "Row 1:"].iter().filter_map(|quote| text.find(quote)).min();
    let text = unquoted.map_or(text.as_str(), |at| &text[..at]);
    text.trim().chars().take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Verdict {
        of(&Error::BadResponse(text.to_owned()))
    }

    #[test]
    fn whose_fault_it_was() {
        assert_eq!(verdict("Code: 469. DB::Exception: Constraint `c` is violated at row 2."), Verdict::Rows);
        assert_eq!(verdict("Code: 16. DB::Exception: No such column x"), Verdict::Schema);
        assert_eq!(verdict("Code: 41. DB::Exception: cannot parse: while pushing to view lab.mb."), Verdict::Schema);
        assert_eq!(verdict("Code: 395. DB::Exception: thrown: while pushing to view lab.mb."), Verdict::Schema);
        assert_eq!(verdict("Code: 395. DB::Exception: thrown"), Verdict::Passing);
        assert_eq!(verdict("Code: 242. DB::Exception: Table is in readonly mode"), Verdict::Passing);
        assert_eq!(verdict("bad gateway"), Verdict::Passing);
        assert_eq!(of(&Error::TimedOut), Verdict::Passing);
    }

    #[test]
    fn values_are_not_quoted() {
        let told = "Code: 469. DB::Exception: Constraint `c` is violated at row 2. Column values: user = 'u-1'.";
        assert_eq!(brief(&told), "Code: 469. DB::Exception: Constraint `c` is violated at row 2.");
    }
}
