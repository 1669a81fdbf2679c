//! ClickHouse's Native format: a block is its columns one after another, as they lie in its memory.
//!
//! Rows are gathered, cut and set aside as RowBinary, for which they may be of any number. What goes to ClickHouse is
//! the same values turned into columns: of these it reads a row in a fifth of the time, and its cores are what a busy
//! sink waits for. One insert is one block, so its rows stay together as they did.

/// A column, in the order in which a row of RowBinary has its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) holds: Holds,
}

/// The most that a value of a fixed size takes.
const MOST: usize = 16;

/// What its values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Of this type, each of so many bytes.
    Fixed(&'static str, usize),
    /// The same, or null.
    Nullable(&'static str, usize),
    /// `String`, which ClickHouse turns into `LowCardinality` where the table has that.
    Text,
}

impl Holds {
    fn type_name(self) -> String {
        match self {
            Self::Fixed(name, _) => name.to_owned(),
            Self::Nullable(name, _) => format!("Nullable({name})"),
            Self::Text => "String".to_owned(),
        }
    }

    /// How many bytes of `rows` its next value takes.
    fn length(self, rows: &[u8]) -> usize {
        match self {
            Self::Fixed(_, size) => size,
            Self::Nullable(_, size) => 1 + if rows[0] == 0 { size } else { 0 },
            Self::Text => text_length(rows),
        }
    }
}

/// Of a text with the LEB128 of its length before it.
fn text_length(rows: &[u8]) -> usize {
    let (mut length, mut prefix) = (0, 0);
    loop {
        let byte = rows[prefix];
        length |= usize::from(byte & 0x7f) << (7 * prefix);
        prefix += 1;
        if byte < 0x80 {
            return prefix + length;
        }
    }
}

/// The rows as one block.
///
/// `rows` are `count` rows of RowBinary with these very columns; anything else is a mistake of ours, and panics.
pub(super) fn block(columns: &[Column], rows: &[u8], count: usize) -> Vec<u8> {
    let sizes = sizes(columns, rows, count);
    let heads: Vec<Vec<u8>> = columns.iter().map(head).collect();
    let mut start = Vec::new();
    push_length(&mut start, columns.len());
    push_length(&mut start, count);
    let whole = start.len() + heads.iter().map(Vec::len).sum::<usize>() + sizes.iter().sum::<usize>();
    let mut block = vec![0; whole];
    let mut rest = &mut block[..];
    put(&mut rest, &start);
    let mut lanes = Vec::with_capacity(columns.len());
    for ((column, head), size) in columns.iter().zip(&heads).zip(sizes) {
        put(&mut rest, head);
        let (mut values, after) = rest.split_at_mut(size);
        let nulls = match column.holds {
            Holds::Nullable(..) => values.split_off_mut(..count).expect("it has a byte for each row"),
            Holds::Fixed(..) | Holds::Text => &mut [],
        };
        lanes.push(Lane { holds: column.holds, nulls, values });
        rest = after;
    }
    fill(&mut lanes, rows, count);
    block
}

/// Of all values of each column, as the block has them: nulls take as much as others.
fn sizes(columns: &[Column], rows: &[u8], count: usize) -> Vec<usize> {
    let mut sizes = vec![0; columns.len()];
    let mut rest = rows;
    for _ in 0..count {
        for (column, size) in columns.iter().zip(&mut sizes) {
            let length = column.holds.length(rest);
            *size += match column.holds {
                Holds::Nullable(_, of_one) => 1 + of_one,
                Holds::Fixed(..) | Holds::Text => length,
            };
            rest = &rest[length..];
        }
    }
    assert!(rest.is_empty(), "the rows have other columns");
    sizes
}

/// Where a column's values go.
struct Lane<'a> {
    holds: Holds,
    /// A byte a row, for those that may be null: 1 for null.
    nulls: &'a mut [u8],
    values: &'a mut [u8],
}

fn fill(lanes: &mut [Lane<'_>], rows: &[u8], count: usize) {
    let mut rest = rows;
    for _ in 0..count {
        for lane in lanes.iter_mut() {
            let (value, after) = rest.split_at(lane.holds.length(rest));
            rest = after;
            match (lane.holds, value) {
                (Holds::Nullable(_, size), [null, value @ ..]) => {
                    put(&mut lane.nulls, &[*null]);
                    // In the place of a null are zeros.
                    put(&mut lane.values, if *null == 0 { value } else { &[0; MOST][..size] });
                }
                _ => put(&mut lane.values, value),
            }
        }
    }
}

fn head(column: &Column) -> Vec<u8> {
    let mut head = Vec::new();
    for text in [column.name, &column.holds.type_name()] {
        push_length(&mut head, text.len());
        head.extend_from_slice(text.as_bytes());
    }
    head
}

/// Copies to the beginning, and goes on after it.
fn put(rest: &mut &mut [u8], bytes: &[u8]) {
    let place = rest.split_off_mut(..bytes.len()).expect("as much room was made as is needed");
    place.copy_from_slice(bytes);
}

/// LEB128.
pub(super) fn push_length(bytes: &mut Vec<u8>, length: usize) {
    let mut rest = length;
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { name: "n", holds: Holds::Fixed("UInt16", 2) },
        Column { name: "text", holds: Holds::Text },
        Column { name: "x", holds: Holds::Nullable("UInt32", 4) },
    ];

    #[test]
    fn values_stand_by_column() {
        let long = "t".repeat(300);
        let rows = [&b"\x01\x00\x02hi\x00\x07\x00\x00\x00"[..], b"\x02\x00\xac\x02", long.as_bytes(), b"\x01"].concat();
        let wanted = [
            &b"\x03\x02"[..],
            b"\x01n\x06UInt16\x01\x00\x02\x00",
            b"\x04text\x06String\x02hi\xac\x02",
            long.as_bytes(),
            b"\x01x\x10Nullable(UInt32)\x00\x01\x07\x00\x00\x00\x00\x00\x00\x00",
        ];
        assert_eq!(block(&COLUMNS, &rows, 2), wanted.concat());
    }

    #[test]
    #[should_panic(expected = "other columns")]
    fn rows_of_another_table_are_a_mistake() {
        block(&COLUMNS[..2], b"\x01\x00\x02hi\x01", 1);
    }
}
