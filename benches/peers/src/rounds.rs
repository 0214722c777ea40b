//! Contenders take turns, so that what else the machine does meets all of them alike.

use anyhow::{Context, Result};

use crate::load::{Sample, quantile};

/// Somebody who does the work of a row.
pub struct Contender<'a> {
    pub name: &'static str,
    turn: Box<dyn FnMut() -> Result<Sample> + 'a>,
}

impl<'a> Contender<'a> {
    pub fn new(name: &'static str, turn: impl FnMut() -> Result<Sample> + 'a) -> Self {
        Contender { name, turn: Box::new(turn) }
    }
}

/// What a contender did in all its turns.
pub struct Series {
    pub name: &'static str,
    pub samples: Vec<Sample>,
}

/// Lets the contenders take turns: one turn each that does not count, to warm up, then the rounds.
pub fn take_turns(rounds: usize, mut contenders: Vec<Contender<'_>>) -> Result<Vec<Series>> {
    let mut all: Vec<Series> =
        contenders.iter().map(|contender| Series { name: contender.name, samples: Vec::new() }).collect();
    for round in 0..=rounds {
        for (contender, series) in contenders.iter_mut().zip(&mut all) {
            let sample = (contender.turn)().with_context(|| contender.name)?;
            if round > 0 {
                series.samples.push(sample);
            }
        }
    }
    Ok(all)
}

impl Series {
    /// The median over the turns of whatever is asked of them.
    pub fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of).collect())
    }

    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.median(Sample::rate)
    }

    /// A quantile of the latencies, where they were measured.
    pub fn latency(&self, share: f64) -> Option<f64> {
        let each: Option<Vec<f64>> = self.samples.iter().map(|sample| sample.latency(share)).collect();
        each.map(median)
    }
}

/// How many times the rate of `other` ours is: by the medians, and the least and most of any one round.
pub fn ratio(ours: &Series, other: &Series) -> Ratio {
    let rounds: Vec<f64> = ours.samples.iter().zip(&other.samples).map(|(a, b)| a.rate() / b.rate()).collect();
    Ratio {
        medians: ours.rate() / other.rate(),
        least: rounds.iter().copied().fold(f64::INFINITY, f64::min),
        most: rounds.iter().copied().fold(0.0, f64::max),
    }
}

#[derive(Clone, Copy)]
pub struct Ratio {
    pub medians: f64,
    pub least: f64,
    pub most: f64,
}

pub fn median(mut values: Vec<f64>) -> f64 {
    quantile(&mut values, 0.5)
}
