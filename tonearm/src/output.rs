//! What commands print. Who stops reading it (`tonearm audit | head`) is no failure of theirs: they do what they were
//! asked to, and their exit codes say what came of it.

use std::fmt;
use std::io::{self, Write};

/// In the place of the standard library's, which panics there.
macro_rules! print {
    ($($words:tt)*) => { $crate::output::write(format_args!($($words)*)) };
}

/// In the place of the standard library's.
macro_rules! println {
    () => { $crate::output::write(format_args!("\n")) };
    ($($words:tt)*) => { $crate::output::write(format_args!("{}\n", format_args!($($words)*))) };
}

pub(crate) fn write(words: fmt::Arguments<'_>) {
    match io::stdout().write_fmt(words) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => panic!("cannot print: {error}"),
        _ => {}
    }
}
