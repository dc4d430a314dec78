//! A set of regions.

use std::ops::{Index, IndexMut};

use odds::Region;

/// A set of regions, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Regions(u8);

impl Regions {
    pub const ALL: Self = Self(0b1111);

    pub fn contains(self, region: Region) -> bool {
        self.0 & (1 << region as u8) != 0
    }

    /// How many sets there are.
    pub(crate) const SETS: usize = 16;

    pub(crate) fn all_sets() -> impl Iterator<Item = Self> {
        (0..Self::SETS as u8).map(Self)
    }

    pub(crate) fn index(self) -> usize {
        self.0.into()
    }

    pub fn iter(self) -> impl Iterator<Item = Region> {
        Region::ALL.into_iter().filter(move |region| self.contains(*region))
    }
}

impl FromIterator<Region> for Regions {
    fn from_iter<I: IntoIterator<Item = Region>>(regions: I) -> Self {
        Self(regions.into_iter().fold(0, |set, region| set | 1 << region as u8))
    }
}

/// One value for each region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ByRegion<T>([T; 4]);

impl<T> Index<Region> for ByRegion<T> {
    type Output = T;

    fn index(&self, region: Region) -> &T {
        &self.0[region as usize]
    }
}

impl<T> IndexMut<Region> for ByRegion<T> {
    fn index_mut(&mut self, region: Region) -> &mut T {
        &mut self.0[region as usize]
    }
}
