//! What is printed: figures with units in their names, as JSON or as a table.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::args::RUNS_WORTH_KEEPING;
use super::machine::Machine;
use super::spread::Spread;
use crate::output::{View, table};

/// One measurement.
pub(super) struct Sheet {
    bench: &'static str,
    /// What was asked for.
    facts: Vec<(&'static str, Value)>,
    figures: Vec<Figure>,
    machine: Machine,
}

/// One figure; its name ends with its unit.
struct Figure {
    key: String,
    value: Value,
    /// Its least and its greatest value, where it was measured several times.
    ends: Option<[Value; 2]>,
}

impl Sheet {
    pub(super) fn new(bench: &'static str, machine: Machine, facts: Vec<(&'static str, Value)>) -> Self {
        Self { bench, facts, figures: Vec::new(), machine: machine.look_again() }
    }

    /// The runs, and whether they are enough for a result worth keeping.
    pub(super) fn runs(mut self, runs: u32) -> Self {
        self.facts.push(("runs", runs.into()));
        self.facts.push(("worth_keeping", (runs >= RUNS_WORTH_KEEPING).into()));
        self
    }

    /// A figure that was measured in every run: its median, and under `…_min` and `…_max` how far it went.
    pub(super) fn spread(mut self, key: impl Into<String>, spread: Option<Spread>) -> Self {
        let of = |value: fn(&Spread) -> f64| number(spread.as_ref().map(value));
        let ends = Some([of(|s| s.min), of(|s| s.max)]);
        self.figures.push(Figure { key: key.into(), value: of(|s| s.median), ends });
        self
    }

    /// A figure of the whole measurement.
    pub(super) fn one(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.figures.push(Figure { key: key.into(), value: value.into(), ends: None });
        self
    }

    /// How many times the one median is the other.
    pub(super) fn ratio(self, key: &str, one: Option<Spread>, other: Option<Spread>) -> Self {
        let ratio = one.zip(other).map(|(one, other)| one.median / other.median);
        self.one(key, number(ratio))
    }
}

/// Three digits behind the point are more than any machine repeats.
pub(super) fn number(value: Option<f64>) -> Value {
    value.filter(|value| value.is_finite()).map_or(Value::Null, |value| ((value * 1e3).round() / 1e3).into())
}

impl Serialize for Sheet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("bench", self.bench)?;
        for (key, value) in &self.facts {
            map.serialize_entry(key, value)?;
        }
        for Figure { key, value, ends } in &self.figures {
            map.serialize_entry(key, value)?;
            if let Some([min, max]) = ends {
                map.serialize_entry(&format!("{key}_min"), min)?;
                map.serialize_entry(&format!("{key}_max"), max)?;
            }
        }
        map.serialize_entry("machine", &self.machine)?;
        map.end()
    }
}

impl View for Sheet {
    fn table(&self) -> String {
        let facts: Vec<String> = self.facts.iter().map(|(key, value)| format!("{key} {}", text(value))).collect();
        let rows = self.figures.iter().map(|figure| {
            let end = |nth: usize| figure.ends.as_ref().and_then(|ends| ends.get(nth)).map(text).unwrap_or_default();
            [figure.key.clone(), text(&figure.value), end(0), end(1)]
        });
        let figures = table(["FIGURE", "MEDIAN", "MIN", "MAX"], rows);
        format!("{}: {}\n{}\n\n{figures}", self.bench, facts.join(", "), self.machine.text())
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(" "),
        Value::Object(entries) => entries.values().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}
