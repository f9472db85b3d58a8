//! Where data and errors go: data to stdout, everything else to stderr.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde_json::json;

use crate::failure::{Failure, UNAVAILABLE};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Jsonl,
}

/// Data, a line or more.
pub(crate) fn line(text: &str) {
    self::text(&format!("{text}\n"));
}

/// Data, to the letter.
pub(crate) fn text(text: &str) {
    let mut stdout = io::stdout().lock();
    // Who closed the pipe has read enough.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Something to know.
pub(crate) fn note(text: &str) {
    // Without a place for notes there is nothing more to say.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Why it failed, and what to do.
pub(crate) fn error(failure: &Failure, format: Format) {
    if format != Format::Table {
        let Failure { message, hint, .. } = failure;
        let (code, retryable) = (failure.code(), failure.exit == UNAVAILABLE);
        let error =
            json!({"code": code, "message": message, "hint": hint, "retryable": retryable, "outcome": "none"});
        return note(&json!({ "error": error }).to_string());
    }
    note(&format!("error: {}", failure.message));
    if let Some(hint) = &failure.hint {
        note(&format!("hint: {hint}"));
    }
}

/// Rows under a header, without borders.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    // Without the cells' padding at both ends.
    let trimmed = |line: String| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned();
    table.lines().map(trimmed).collect::<Vec<_>>().join("\n")
}
