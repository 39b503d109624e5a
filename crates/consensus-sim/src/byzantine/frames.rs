//! Frames that a Byzantine node keeps, and what it does to bytes.

use crate::random::Stream;
use std::collections::VecDeque;

/// The most frames of a kind that a Byzantine node keeps.
const MAX_FRAMES: usize = 64;

/// What a Byzantine node has said and heard: the newest of it.
#[derive(Debug, Default)]
pub(crate) struct FrameBook {
    said: VecDeque<Vec<u8>>,
    heard: VecDeque<Vec<u8>>,
}

impl FrameBook {
    /// It has sent this.
    pub(crate) fn says(&mut self, frame: &[u8]) {
        keep(&mut self.said, frame);
    }

    /// Another has sent it this.
    pub(crate) fn hears(&mut self, frame: &[u8]) {
        keep(&mut self.heard, frame);
    }

    /// One of its own earlier frames.
    pub(crate) fn recall_said(&self, choices: &mut Stream) -> Option<Vec<u8>> {
        self.said.get(choices.index(self.said.len())).cloned()
    }

    /// An earlier frame of another.
    pub(crate) fn recall_heard(&self, choices: &mut Stream) -> Option<Vec<u8>> {
        self.heard.get(choices.index(self.heard.len())).cloned()
    }
}

fn keep(frames: &mut VecDeque<Vec<u8>>, frame: &[u8]) {
    if frames.len() >= MAX_FRAMES {
        frames.pop_front();
    }
    frames.push_back(frame.to_vec());
}

/// Changes a frame's bytes. In the wire's encoding a small number is one byte, and a larger one carries its lowest bits
/// first: a byte ± 1 is a number ± 1, which is where small mistakes of bounds show (small-scope mutation).
pub(crate) fn tamper(frame: &mut Vec<u8>, choices: &mut Stream) {
    let (manner, length) = (choices.below(8), frame.len());
    let (place, other) = (choices.index(length), choices.index(length));
    let number = choices.number();
    let Some(&byte) = frame.get(place) else {
        frame.push(number.to_le_bytes()[0]);
        return;
    };
    let changed = match manner {
        0 | 1 => byte.wrapping_add(1),
        2 | 3 => byte.wrapping_sub(1),
        4 => byte ^ (1 << (number % 8)),
        5 => number.to_le_bytes()[0],
        6 => {
            frame.truncate(place);
            return;
        }
        _ => {
            frame.swap(place, other);
            return;
        }
    };
    if let Some(byte) = frame.get_mut(place) {
        *byte = changed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tampering_changes_most_frames_and_never_lets_them_grow() {
        let choices = &mut Stream::derive(1, "tamper");
        let sound: Vec<u8> = (0..40).collect();
        let mut changed = 0;
        for _ in 0..500 {
            let mut frame = sound.clone();
            tamper(&mut frame, choices);
            assert!(frame.len() <= sound.len());
            changed += usize::from(frame != sound);
        }
        assert!(changed > 450, "{changed}");
        let mut empty = Vec::new();
        tamper(&mut empty, choices);
        assert_eq!(empty.len(), 1);
    }

    #[test]
    fn a_book_keeps_the_newest_frames() {
        let (mut book, choices) = (FrameBook::default(), &mut Stream::derive(1, "book"));
        assert_eq!(book.recall_said(choices), None);
        for number in 0..200_u8 {
            book.says(&[number]);
            book.hears(&[number, 0]);
        }
        for _ in 0..100 {
            assert!(book.recall_said(choices).unwrap()[0] >= 136);
            assert_eq!(book.recall_heard(choices).unwrap().len(), 2);
        }
    }
}
