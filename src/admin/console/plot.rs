//! A small plot, drawn as SVG. Pure. Colours come from classes in the stylesheet, because the page's security policy
//! forbids inline styles.

use std::fmt::Write as _;

use maud::{Markup, html};

/// The size in units of the drawing; the page scales it.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 72.0;
/// Room for half a stroke above the highest and below the lowest value.
const MARGIN: f64 = 2.0;

/// One line of a plot.
pub(super) struct PlotLine {
    /// Its class in the stylesheet.
    pub class: &'static str,
    /// Its name in the legend; empty if it is the only line.
    pub name: &'static str,
    /// Values at equal intervals, oldest first; `None` is a gap.
    pub values: Vec<Option<f64>>,
}

/// A plot from 0 to `top`.
pub(super) struct Plot<'a> {
    /// Unique on the page.
    pub id: &'a str,
    /// What it shows.
    pub title: &'a str,
    /// A description of the lines, for screen readers.
    pub description: &'a str,
    /// The value at the upper edge.
    pub top: f64,
    /// A value that is marked with a horizontal line.
    pub limit: Option<f64>,
    /// The area below the first line is filled.
    pub lines: &'a [PlotLine],
}

impl Plot<'_> {
    /// Draws it.
    pub(super) fn draw(&self) -> Markup {
        let (title, description) = (format!("{}-title", self.id), format!("{}-words", self.id));
        html! {
            svg class="plot" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img"
                aria-labelledby=(title) aria-describedby=(description) {
                title id=(title) { (self.title) }
                desc id=(description) { (self.description) }
                path class="floor" d=(format!("M0 {y}H{WIDTH}", y = HEIGHT - MARGIN)) {}
                @if let Some(limit) = self.limit {
                    path class="limit" d=(format!("M0 {:.1}H{WIDTH}", self.y_position(limit))) {}
                }
                @if let Some(first) = self.lines.first() {
                    path class={ "area " (first.class) } d=(self.area_path(&first.values)) {}
                }
                @for line in self.lines {
                    path class={ "line " (line.class) } d=(self.line_path(&line.values)) {}
                }
            }
        }
    }

    fn y_position(&self, value: f64) -> f64 {
        let share = if self.top > 0.0 { (value / self.top).clamp(0.0, 1.0) } else { 0.0 };
        HEIGHT - MARGIN - share * (HEIGHT - 2.0 * MARGIN)
    }

    /// Runs of consecutive values, as points on the drawing.
    #[allow(clippy::cast_precision_loss)] // some sixty points
    fn point_runs(&self, values: &[Option<f64>]) -> Vec<Vec<(f64, f64)>> {
        let step = WIDTH / values.len().saturating_sub(1).max(1) as f64;
        let mut runs = vec![Vec::new()];
        for (at, value) in values.iter().enumerate() {
            match (value, runs.last_mut()) {
                (Some(value), Some(run)) => run.push((at as f64 * step, self.y_position(*value))),
                (None, Some(run)) if !run.is_empty() => runs.push(Vec::new()),
                _ => {}
            }
        }
        runs.retain(|run| !run.is_empty());
        runs
    }

    fn line_path(&self, values: &[Option<f64>]) -> String {
        let mut path = String::new();
        for run in self.point_runs(values) {
            for (at, (x, y)) in run.iter().enumerate() {
                // Writing to a string cannot fail.
                let _written = write!(path, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
            }
            // A single point is a line of length 0, which round line ends show as a dot.
            if run.len() == 1 {
                path.push_str("h0");
            }
        }
        path
    }

    fn area_path(&self, values: &[Option<f64>]) -> String {
        let floor = HEIGHT - MARGIN;
        let mut path = String::new();
        for run in self.point_runs(values) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            // Writing to a string cannot fail.
            let _written = write!(path, "M{:.1} {floor}", first.0);
            for (x, y) in &run {
                let _written = write!(path, "L{x:.1} {y:.1}");
            }
            let _written = write!(path, "L{:.1} {floor}Z", last.0);
        }
        path
    }
}

/// A round value at or above `highest` for the upper edge: 1, 2 or 5 times a power of ten.
pub(super) fn round_top(highest: f64) -> f64 {
    if highest <= 1.0 {
        return 1.0;
    }
    let power = 10_f64.powf(highest.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= highest).unwrap_or(10.0);
    factor * power
}

/// A round time at or above `highest` seconds.
pub(super) fn round_duration(highest: f64) -> f64 {
    const ROUND: [f64; 15] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0,
        864_000.0,
    ];
    ROUND.into_iter().find(|round| *round >= highest).unwrap_or(highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw_plot(lines: &[PlotLine]) -> String {
        let plot = Plot { id: "p", title: "T", description: "<W>", top: 10.0, limit: Some(5.0), lines };
        plot.draw().into_string()
    }

    #[test]
    fn gaps_are_not_bridged_and_a_single_point_is_a_dot() {
        let drawn = draw_plot(&[PlotLine {
            class: "a",
            name: "",
            values: vec![Some(0.0), Some(10.0), None, Some(20.0)],
        }]);
        assert!(drawn.contains(r#"class="line a" d="M0.0 70.0L100.0 2.0M300.0 2.0h0""#), "{drawn}");
        assert!(drawn.contains(r#"d="M0 36.0H300""#), "{drawn}");
        assert!(
            drawn.contains(r#"<title id="p-title">T</title><desc id="p-words">&lt;W&gt;</desc>"#),
            "{drawn}"
        );
        assert!(!drawn.contains("style="), "{drawn}");
    }

    #[test]
    fn a_plot_without_values_has_no_line() {
        for values in [vec![], vec![None; 60]] {
            let drawn = draw_plot(&[PlotLine { class: "a", name: "", values }]);
            assert!(drawn.contains(r#"class="line a" d="""#), "{drawn}");
            assert!(!drawn.contains("NaN"), "{drawn}");
        }
    }

    #[test]
    fn the_top_of_a_plot_is_a_round_number() {
        for (highest, top) in
            [(0.0, 1.0), (1.0, 1.0), (1.1, 2.0), (190.0, 200.0), (11_400.0, 20_000.0), (7e6, 1e7)]
        {
            assert!((round_top(highest) - top).abs() < 1e-6, "{highest}: {}", round_top(highest));
        }
        assert!((round_duration(0.3) - 0.5).abs() < 1e-9);
        assert!((round_duration(1e9) - 1e9).abs() < 1e-9);
    }
}
