//! Numbered places, each of which one at a time has.

#[derive(Debug)]
pub(super) struct Places {
    given_back: Vec<u32>,
    /// From here on none was ever taken.
    fresh: u32,
    all: u32,
}

impl Places {
    pub(super) fn new(all: u32) -> Self {
        Self { given_back: Vec::new(), fresh: 0, all }
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        if let Some(place) = self.given_back.pop() {
            return Some(place);
        }
        let place = Some(self.fresh).filter(|fresh| *fresh < self.all)?;
        self.fresh += 1;
        Some(place)
    }

    /// For whoever has it.
    pub(super) fn give_back(&mut self, place: u32) {
        self.given_back.push(place);
    }

    pub(super) fn are_all_taken(&self) -> bool {
        self.given_back.is_empty() && self.fresh == self.all
    }

    pub(super) fn is_none_taken(&self) -> bool {
        self.given_back.len() == self.fresh as usize
    }
}
