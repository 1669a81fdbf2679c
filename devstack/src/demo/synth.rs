//! Music, of a kind: chords, a bass, a melody and a beat, all drawn from a track's number.
//!
//! It is real audio for the encoder's purposes, different for each track and the same at each run.

use std::f32::consts::TAU;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

pub const RATE: u32 = 44_100;
const SCALES: [[i32; 7]; 4] =
    [[0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 10], [0, 2, 3, 5, 7, 9, 10], [0, 2, 4, 5, 7, 9, 10]];
/// As degrees of the scale, a bar each.
const PROGRESSIONS: [[i32; 4]; 5] = [[0, 4, 5, 3], [0, 5, 3, 4], [0, 3, 0, 4], [5, 3, 0, 4], [0, 2, 3, 4]];
/// A quarter of full scale a voice keeps the sum from clipping often; the encoder's limiter is `tanh`.
const LOUDNESS: f32 = 0.8;

/// Interleaved stereo samples, 16 bits each, little endian.
#[must_use]
pub fn render(number: u8, seconds: u32) -> Vec<u8> {
    let mut song = Song::new(number, seconds);
    song.play();
    song.samples.iter().flatten().flat_map(|sample| quantise(*sample).to_le_bytes()).collect()
}

#[allow(clippy::cast_possible_truncation, reason = "tanh keeps it within 16 bits")]
fn quantise(sample: f32) -> i16 {
    ((sample * LOUDNESS).tanh() * 32_000.0) as i16
}

#[derive(Debug)]
struct Song {
    rng: SmallRng,
    samples: Vec<[f32; 2]>,
    root: i32,
    scale: [i32; 7],
    progression: [i32; 4],
    /// Samples of a beat.
    beat: usize,
    /// Weights of the harmonics of its lead.
    timbre: [f32; 5],
}

/// One note: where, how long, and how it sounds.
#[derive(Debug, Clone, Copy)]
struct Note {
    at: usize,
    length: usize,
    pitch: i32,
    volume: f32,
    /// -1 is left, 1 is right.
    pan: f32,
    harmonics: [f32; 5],
}

impl Song {
    fn new(number: u8, seconds: u32) -> Self {
        let mut rng = SmallRng::seed_from_u64(u64::from(number) * 7919);
        let tempo = rng.random_range(84..132);
        Self {
            samples: vec![[0.0; 2]; (seconds * RATE) as usize],
            root: rng.random_range(45..57),
            scale: SCALES[usize::from(number) % SCALES.len()],
            progression: PROGRESSIONS[usize::from(number) % PROGRESSIONS.len()],
            beat: (RATE * 60 / tempo) as usize,
            timbre: std::array::from_fn(|nth| rng.random_range(0.2..1.0) / (nth + 1) as f32),
            rng,
        }
    }

    fn play(&mut self) {
        let bars = self.samples.len() / (self.beat * 4) + 1;
        let mut step = 7;
        for bar in 0..bars {
            let degree = self.progression[bar % 4];
            self.chord(bar, degree);
            self.bass(bar, degree);
            step = self.melody(bar, step);
            self.beat(bar);
        }
    }

    fn pitch(&self, degree: i32) -> i32 {
        let within = usize::try_from(degree.rem_euclid(7)).unwrap_or(0);
        self.root + self.scale[within] + 12 * degree.div_euclid(7)
    }

    fn chord(&mut self, bar: usize, degree: i32) {
        for (nth, third) in [0, 2, 4, 7].into_iter().enumerate() {
            let pan = nth as f32 * 0.4 - 0.6;
            let harmonics = [1.0, 0.3, 0.15, 0.0, 0.05];
            let (at, length) = (bar * self.beat * 4, self.beat * 4);
            self.add(Note { at, length, pitch: self.pitch(degree + third), volume: 0.11, pan, harmonics });
        }
    }

    fn bass(&mut self, bar: usize, degree: i32) {
        for (eighth, leap) in [(0, 0), (3, 0), (4, 7), (6, 4)] {
            let at = bar * self.beat * 4 + eighth * self.beat / 2;
            let pitch = self.pitch(degree - 14 + leap);
            let harmonics = [1.0, 0.6, 0.3, 0.1, 0.0];
            self.add(Note { at, length: self.beat, pitch, volume: 0.3, pan: 0.0, harmonics });
        }
    }

    /// Walks the scale by small steps, rests now and then; gives the degree it ends on.
    fn melody(&mut self, bar: usize, mut degree: i32) -> i32 {
        for eighth in 0..8 {
            if self.rng.random_bool(0.35) {
                continue;
            }
            degree = (degree + self.rng.random_range(-2..=2)).clamp(4, 14);
            let at = bar * self.beat * 4 + eighth * self.beat / 2;
            let length = self.beat * self.rng.random_range(1..4) / 2;
            let (pitch, harmonics) = (self.pitch(degree), self.timbre);
            self.add(Note { at, length, pitch, volume: 0.2, pan: 0.25, harmonics });
        }
        degree
    }

    /// A kick on the first and third, noise on each half beat.
    fn beat(&mut self, bar: usize) {
        for half in 0..8 {
            let at = bar * self.beat * 4 + half * self.beat / 2;
            self.hit(at, if half % 2 == 1 { 0.08 } else { 0.04 });
            if half % 4 == 0 {
                let harmonics = [1.0, 0.0, 0.0, 0.0, 0.0];
                self.add(Note { at, length: self.beat / 3, pitch: 31, volume: 0.6, pan: 0.0, harmonics });
            }
        }
    }

    fn hit(&mut self, at: usize, volume: f32) {
        let end = self.samples.len().min(at + RATE as usize / 20);
        let length = (end.saturating_sub(at)).max(1) as f32;
        for (n, sample) in self.samples[at.min(end)..end].iter_mut().enumerate() {
            let noise = self.rng.random_range(-1.0..1.0) * volume * (1.0 - n as f32 / length).powi(3);
            *sample = [sample[0] + noise, sample[1] + noise];
        }
    }

    fn add(&mut self, note: Note) {
        let end = self.samples.len().min(note.at + note.length);
        let wave = wave(note.harmonics);
        let turn = 440.0 * 2_f32.powf((note.pitch - 69) as f32 / 12.0) / RATE as f32;
        let sides = [note.volume * (1.0 - note.pan) / 2.0, note.volume * f32::midpoint(1.0, note.pan)];
        for (n, sample) in self.samples[note.at.min(end)..end].iter_mut().enumerate() {
            let phase = (n as f32 * turn).fract() * WAVE as f32;
            let level = wave[phase as usize % WAVE] * envelope(n, note.length);
            *sample = [sample[0] + level * sides[0], sample[1] + level * sides[1]];
        }
    }
}

const WAVE: usize = 1024;

/// One period of a sum of harmonics.
fn wave(harmonics: [f32; 5]) -> [f32; WAVE] {
    std::array::from_fn(|n| {
        let angle = n as f32 / WAVE as f32 * TAU;
        harmonics.iter().zip(1_u8..).map(|(weight, nth)| weight * (angle * f32::from(nth)).sin()).sum()
    })
}

/// A short attack against clicks, then a fall to nothing.
fn envelope(n: usize, length: usize) -> f32 {
    let attack = (n as f32 / 300.0).min(1.0);
    let left = 1.0 - n as f32 / length.max(1) as f32;
    attack * left.powf(1.3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_is_as_long_as_told_and_not_silent() {
        let pcm = render(1, 2);
        assert_eq!(pcm.len(), 2 * RATE as usize * 4);
        let loud = pcm.chunks(2).filter(|s| i16::from_le_bytes([s[0], s[1]]).unsigned_abs() > 1000).count();
        assert!(loud > pcm.len() / 2 / 4, "only {loud} samples are loud");
    }

    #[test]
    fn each_is_different_and_each_the_same_again() {
        let all: std::collections::HashSet<Vec<u8>> = (1..=12).map(|number| render(number, 2)).collect();
        assert_eq!(all.len(), 12);
        assert_eq!(render(5, 2), render(5, 2));
    }
}
