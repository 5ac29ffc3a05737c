//! What is printed.

use std::{fs, thread};

/// Says on what the figures were taken.
pub fn machine() {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    println!("machine: {cores} cores, Linux {}, load {}", read("/proc/sys/kernel/osrelease").trim(), load());
    println!("sides alternate, {} rounds, medians (smallest to largest)\n", crate::rounds());
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// The middle of some figures and their range.
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self { median: figures[figures.len() / 2], least: figures[0], most: figures[figures.len() - 1] }
    }
}

/// Prints a measured figure beside what it must reach. Anything that misses is marked.
pub fn row(what: &str, figure: &str, target: &str, reached: bool) {
    let mark = if reached { "ok  " } else { "MISS" };
    println!("{mark} {what:<66} {figure:<34} must be {target}");
}

/// Prints a figure that nothing depends on.
pub fn note(what: &str, figure: &str) {
    println!("     {what:<66} {figure}");
}

/// Prints a figure in `unit` that must not be above `bound`.
pub fn row_below(what: &str, figure: f64, bound: f64, unit: &str) {
    row(what, &format!("{figure:.2} {unit}"), &format!("<= {bound} {unit}"), figure <= bound);
}

/// Prints a ratio beside its bound.
pub fn ratio(what: &str, figures: Vec<f64>, bound: Bound) {
    let Spread { median, least, most } = Spread::of(figures);
    let figure = format!("{median:.2} ({least:.2} to {most:.2})");
    match bound {
        Bound::AtLeast(bound) => row(what, &figure, &format!(">= {bound}"), median >= bound),
        Bound::AtMost(bound) => row(what, &figure, &format!("<= {bound}"), median <= bound),
    }
}

/// What a ratio must reach.
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}
