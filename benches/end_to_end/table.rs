//! The results as a Markdown table.

use std::fmt;

use comfy_table::{Table, presets};

/// The lines of the table.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<[String; 4]>,
}

/// The goal of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// No goal.
    None,
}

impl Report {
    /// Adds a figure with its unit; "×" means a ratio.
    pub fn add(&mut self, what: impl Into<String>, value: f64, unit: &str, goal: Goal) {
        let (wanted, is_met) = match goal {
            Goal::AtLeast(least) => (format!("≥ {}", format_number(least)), Some(value >= least)),
            Goal::AtMost(most) => (format!("≤ {}", format_number(most)), Some(value <= most)),
            Goal::None => (String::new(), None),
        };
        let met = match is_met {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        };
        let what = what.into();
        eprintln!("  {what}: {} {unit} {wanted} {met}", format_number(value));
        self.lines.push([what, format!("{} {unit}", format_number(value)), wanted, met.to_owned()]);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["What", "Measured", "Goal", "Met"]);
        table.add_rows(self.lines.iter().map(|line| line.to_vec()));
        table.fmt(f)
    }
}

/// Formats with a sensible number of digits.
pub fn format_number(value: f64) -> String {
    match value.abs() {
        large if large >= 1_000.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The quantile: this fraction of the values is lower.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}
