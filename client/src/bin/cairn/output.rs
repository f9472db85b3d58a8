//! Where data and errors go. Data goes to stdout, everything else to stderr.

use std::fmt::Display;
use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::report::Report;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Jsonl,
}

/// What a command prints.
pub(crate) trait View: Serialize {
    /// For people.
    fn table(&self) -> String;

    /// As JSON, one object a line. What is not a list is one object.
    fn lines(&self) -> serde_json::Result<Vec<String>> {
        Ok(vec![serde_json::to_string(self)?])
    }
}

/// One JSON object a line, of a list.
pub(crate) fn lines_of<T: Serialize>(list: &[T]) -> serde_json::Result<Vec<String>> {
    list.iter().map(serde_json::to_string).collect()
}

pub(crate) struct Output {
    format: Format,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints data.
    pub(crate) fn print(&self, view: &impl View) -> Result<(), Report> {
        self.write(io::stdout().lock(), view)
    }

    /// Prints what would be data, had the data not taken its place.
    pub(crate) fn print_aside(&self, view: &impl View) -> Result<(), Report> {
        self.write(io::stderr().lock(), view)
    }

    /// Prints what has one form only, to the letter.
    pub(crate) fn print_plain(&self, bytes: &[u8]) -> Result<(), Report> {
        write_all(io::stdout().lock(), bytes).map(drop)
    }

    /// Prints one object a line, whatever the format; false if nobody reads any more.
    pub(crate) fn print_line(&self, line: &impl Serialize) -> Result<bool, Report> {
        let mut text = serde_json::to_string(line).map_err(cannot_print)?;
        text.push('\n');
        write_all(io::stdout().lock(), text.as_bytes())
    }

    /// Prints one of many, a line each; false if nobody reads any more.
    pub(crate) fn print_item(&self, view: &impl View) -> Result<bool, Report> {
        match self.format {
            Format::Table => write_all(io::stdout().lock(), format!("{}\n", view.table()).as_bytes()),
            _ => self.print_line(view),
        }
    }

    fn write(&self, stream: impl Write, view: &impl View) -> Result<(), Report> {
        let text = self.render(view).map_err(cannot_print)?;
        write_all(stream, text.as_bytes()).map(drop)
    }

    fn render(&self, view: &impl View) -> serde_json::Result<String> {
        let mut text = match self.format {
            Format::Table => view.table(),
            Format::Json => serde_json::to_string_pretty(view)?,
            Format::Jsonl => view.lines()?.join("\n"),
        };
        if !text.is_empty() {
            text.push('\n');
        }
        Ok(text)
    }

    /// Tells an error.
    pub(crate) fn report(&self, report: &Report) {
        #[derive(Serialize)]
        struct Wrapped<'a> {
            error: &'a Report,
        }
        let mut text = match self.format {
            Format::Table => format!("error: {}", report.message),
            _ => serde_json::to_string(&Wrapped { error: report }).unwrap_or_else(|error| error.to_string()),
        };
        if let (Format::Table, Some(hint)) = (self.format, &report.hint) {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
        text.push('\n');
        // Without a place for errors there is nothing more to say.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Whether somebody may go on reading: who closed the pipe has read enough.
fn write_all(mut stream: impl Write, bytes: &[u8]) -> Result<bool, Report> {
    match stream.write_all(bytes).and_then(|()| stream.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Report { code: "io".into(), ..cannot_print(error) }),
    }
}

fn cannot_print(error: impl Display) -> Report {
    Report::internal(format!("cannot print: {error}"))
}

/// Rows under a header, without borders.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    trimmed(&table)
}

/// One fact a row.
pub(crate) fn facts(rows: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (key, value) in rows {
        table.add_row([key.to_owned(), value]);
    }
    trimmed(&table)
}

/// Without the cells' padding at both ends.
fn trimmed(table: &Table) -> String {
    let lines: Vec<String> =
        table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().into()).collect();
    lines.join("\n")
}
