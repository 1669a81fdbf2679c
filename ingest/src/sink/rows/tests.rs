use std::path::Path;

use super::*;

/// The golden payloads of `wire`, and the rows made of them, as hexadecimal lines of 32 bytes.
fn golden(table: Table, payload: &[u8]) {
    let received_at = Timestamp::from_millis(1_795_251_602_000).unwrap();
    let mut rows = Vec::new();
    table
        .append(
            &Incoming { partition: 2, offset: 70_000, received_at, key: b"", payload, is_sent_again: false },
            &mut rows,
        )
        .unwrap();
    let hex: Vec<String> = rows.iter().map(|byte| format!("{byte:02x}")).collect();
    let written: String = hex.chunks(32).map(|line| line.concat() + "\n").collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sink/rows/golden");
    let path = folder.join(format!("{}.hex", table.name()));
    if std::env::var_os("GOLDEN").is_some_and(|mode| mode == "write") {
        std::fs::write(&path, &written).unwrap();
    }
    // Where this is meant, `Intent::VERSION` has to count it.
    assert_eq!(written, std::fs::read_to_string(&path).unwrap(), "the rows of {} have changed", table.name());
}

#[test]
fn rows_are_what_they_were() {
    golden(Table::Events, include_bytes!("../../../../wire/tests/golden/accepted_event.json"));
    golden(Table::Deliveries, include_bytes!("../../../../wire/tests/golden/delivery.json"));
    golden(Table::Decisions, include_bytes!("../../../../wire/tests/golden/decision.json"));
    golden(Table::Tallies, include_bytes!("../../../../wire/tests/golden/tally.json"));
}

#[test]
fn what_is_no_row_leaves_the_others_as_they_were() {
    let received_at = Timestamp::from_millis(0).unwrap();
    for table in Table::ALL {
        for payload in [&b""[..], b"{}", b"[]", b"null", b"\xff", b"{\"event\":{}}"] {
            let mut rows = vec![1, 2, 3];
            let message = Incoming { partition: 0, offset: 0, received_at, key: b"", payload, is_sent_again: false };
            assert!(table.append(&message, &mut rows).is_err());
            assert_eq!(rows, [1, 2, 3]);
        }
    }
}

#[test]
fn lengths_are_leb128() {
    let mut rows = Vec::new();
    Row(&mut rows).bytes(&[7; 300]);
    assert_eq!(rows[..3], [0xac, 0x02, 7]);
    assert_eq!(rows.len(), 302);
}
