//! Where each value came from, before anybody looks at what it means.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::ConfigError;
use super::keys::{KEYS, Key};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The file.
    File,
    /// This variable.
    Variable(String),
    /// The command line.
    Flag,
}

/// One key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// As text, whatever its type.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Every key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    file: PathBuf,
    /// Where in the file each key stands.
    lines: BTreeMap<String, usize>,
    values: BTreeMap<&'static str, Value>,
}

impl Values {
    pub(super) fn gather(
        text: &str,
        file: &Path,
        flags: &[String],
        variables: impl IntoIterator<Item = (String, String)>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ConfigError> {
        let mut gathered = Self { file: file.into(), lines: BTreeMap::new(), values: BTreeMap::new() };
        for key in KEYS {
            if let Some(default) = key.default {
                gathered.set(key, default.into(), Origin::Default);
            }
        }
        gathered.take_file(text)?;
        gathered.take_variables(variables, warnings);
        gathered.take_flags(flags)?;
        Ok(gathered)
    }

    /// A key's value.
    ///
    /// # Errors
    /// It must be set, and is not.
    pub fn get(&self, key: &str) -> Result<&Value, ConfigError> {
        self.values.get(key).ok_or_else(|| {
            let (section, short) = key.split_once('.').unwrap_or(("", key));
            let hint = format!("add {short} = \"…\" under [{section}], or set {}", variable(key));
            ConfigError::new(format!("{}: {key} is not set", self.file.display()), hint)
        })
    }

    /// Every key with its value and where that came from, in the order of the example file.
    pub fn listed(&self) -> impl Iterator<Item = (&'static Key, &Value, String)> {
        KEYS.iter().filter_map(|key| {
            let value = self.values.get(key.name)?;
            let origin = match &value.origin {
                Origin::Default => "default".into(),
                Origin::File => self.place(key.name),
                Origin::Variable(name) => name.clone(),
                Origin::Flag => "flag".into(),
            };
            Some((key, value, origin))
        })
    }

    pub(super) fn text(&self, key: &str) -> Result<&str, ConfigError> {
        self.get(key).map(|value| value.text.as_str())
    }

    pub(super) fn parse<'a, T, E: Display>(
        &'a self,
        key: &str,
        parse: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        let text = self.text(key)?;
        parse(text).map_err(|error| self.wrong(key, &format!("\"{text}\" cannot be used"), &error.to_string()))
    }

    /// An error about a key, which says where its value came from.
    pub(super) fn wrong(&self, key: &str, what: &str, hint: &str) -> ConfigError {
        let place = match self.values.get(key).map(|value| &value.origin) {
            Some(Origin::Variable(name)) => format!("the variable {name}"),
            Some(Origin::Flag) => "--set".into(),
            _ => self.place(key),
        };
        ConfigError::new(format!("{place}: {key}: {what}"), hint)
    }

    /// The file, and the key's line if it stands there.
    fn place(&self, key: &str) -> String {
        let file = self.file.display();
        self.lines.get(key).map_or_else(|| file.to_string(), |line| format!("{file}:{line}"))
    }

    fn set(&mut self, key: &Key, text: String, origin: Origin) {
        self.values.insert(key.name, Value { text, origin });
    }

    fn take_file(&mut self, text: &str) -> Result<(), ConfigError> {
        let broken = |e: toml::de::Error| {
            let line = e.span().map_or_else(String::new, |span| format!(":{}", line_at(text, span.start)));
            ConfigError::new(format!("{}{line} is not TOML: {}", self.file.display(), e.message()), "mend it there")
        };
        let table: toml::Table = text.parse().map_err(broken)?;
        self.lines = lines(text).map_err(broken)?;
        for (section, content) in &table {
            let toml::Value::Table(entries) = content else {
                return Err(unknown(section, &self.place(section)));
            };
            for (short, value) in entries {
                let name = format!("{section}.{short}");
                let key = find(&name).ok_or_else(|| unknown(&name, &self.place(&name)))?;
                let text = match value {
                    toml::Value::String(text) => text.clone(),
                    toml::Value::Integer(number) => number.to_string(),
                    toml::Value::Boolean(truth) => truth.to_string(),
                    _ => {
                        let place = self.place(&name);
                        let message =
                            format!("{place}: {name} is neither a text nor a whole number nor true or false");
                        return Err(ConfigError::new(message, format!("it is {}", key.about)));
                    }
                };
                self.set(key, text, Origin::File);
            }
        }
        Ok(())
    }

    fn take_variables(&mut self, variables: impl IntoIterator<Item = (String, String)>, warnings: &mut Vec<String>) {
        for (name, text) in variables {
            if let Some(key) = KEYS.iter().find(|key| key.variable() == name) {
                self.set(key, text, Origin::Variable(name));
            } else if KEYS.iter().any(|key| name.starts_with(&section_of(&key.variable()))) {
                // Others may have names that begin alike (Kubernetes makes some), so this is no error.
                let nearest = nearest(&name, KEYS.iter().map(Key::variable)).unwrap_or_default();
                warnings.push(format!("the variable {name} sets nothing; the nearest that does is {nearest}"));
            }
        }
    }

    fn take_flags(&mut self, flags: &[String]) -> Result<(), ConfigError> {
        for flag in flags {
            let Some((name, text)) = flag.split_once('=') else {
                return Err(ConfigError::new(format!("--set {flag} has no value"), "write --set KEY=VALUE"));
            };
            let key = find(name).ok_or_else(|| unknown(name, "--set"))?;
            self.set(key, text.into(), Origin::Flag);
        }
        Ok(())
    }
}

/// The line of every key, by its full name.
fn lines(text: &str) -> Result<BTreeMap<String, usize>, toml::de::Error> {
    let mut lines = BTreeMap::new();
    for (section, content) in DeTable::parse(text)?.get_ref() {
        lines.insert(section.get_ref().to_string(), line_at(text, section.span().start));
        for (short, _) in content.get_ref().as_table().into_iter().flatten() {
            let name = format!("{}.{}", section.get_ref(), short.get_ref());
            lines.insert(name, line_at(text, short.span().start));
        }
    }
    Ok(lines)
}

/// Counted from 1.
fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn variable(key: &str) -> String {
    find(key).map(Key::variable).unwrap_or_default()
}

/// `CAIRN_NODE_` of `CAIRN_NODE_NAME`.
fn section_of(variable: &str) -> String {
    variable.splitn(3, '_').take(2).map(|part| format!("{part}_")).collect()
}

fn unknown(name: &str, place: &str) -> ConfigError {
    // Who leaves the section out means the key's last part.
    let last = |key: &Key| key.name.rsplit('.').next().map(str::to_owned).unwrap_or_default();
    let nearest = if name.contains('.') {
        nearest(name, KEYS.iter().map(|key| key.name.to_owned()))
    } else {
        nearest(name, KEYS.iter().map(last))
            .and_then(|near| KEYS.iter().find(|key| last(key) == near).map(|k| k.name.into()))
    };
    let hint = format!("the nearest is {}; `cairnd config default` shows every key", nearest.unwrap_or_default());
    ConfigError::new(format!("{place}: there is no key {name}"), hint)
}

fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known.min_by_key(|known| strsim::osa_distance(name, known))
}
