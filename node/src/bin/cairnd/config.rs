//! `cairnd config`: a configuration, without a node.

use cairn_node::config::{Config, EXAMPLE};
use serde::Serialize;

use crate::args::{ConfigCommand, NodeArgs, PrintArgs};
use crate::failure::Failure;
use crate::output::{self, Format};

pub(crate) fn run(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::Print(args) => print(args),
        ConfigCommand::Default => {
            output::text(EXAMPLE);
            Ok(())
        }
    }
}

/// What `start` begins with.
fn read(args: &NodeArgs) -> Result<Config, Failure> {
    let config = Config::read(&args.config, &args.set)?;
    config.warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    Ok(config)
}

fn check(args: &NodeArgs) -> Result<(), Failure> {
    let config = read(args)?;
    output::line(&format!(
        "{} can be used: node {}, in {}",
        args.config.display(),
        config.name,
        config.dir.display()
    ));
    Ok(())
}

#[derive(Serialize)]
struct Row<'a> {
    key: &'a str,
    value: &'a str,
    origin: String,
}

#[derive(Serialize)]
struct Document<'a> {
    keys: Vec<Row<'a>>,
}

fn print(args: &PrintArgs) -> Result<(), Failure> {
    let config = read(&args.node)?;
    let listed = config.values.listed();
    let document = Document {
        keys: listed.map(|(key, value, origin)| Row { key: key.name, value: &value.text, origin }).collect(),
    };
    let failed = |error: serde_json::Error| Failure::new(format!("cannot print: {error}"));
    match args.output {
        Format::Table => output::line(&table(document)),
        Format::Json => output::line(&serde_json::to_string_pretty(&document).map_err(failed)?),
        Format::Jsonl => {
            let lines: Result<Vec<_>, _> = document.keys.iter().map(serde_json::to_string).collect();
            output::line(&lines.map_err(failed)?.join("\n"));
        }
    }
    Ok(())
}

fn table(document: Document<'_>) -> String {
    let shown = |value: &str| if value.is_empty() { "-".into() } else { value.to_owned() };
    let rows = document.keys.into_iter().map(|row| [row.key.to_owned(), shown(row.value), row.origin]);
    output::table(["KEY", "VALUE", "ORIGIN"], rows)
}
