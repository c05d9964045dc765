//! The index of a file of intervals, made while the file is written: tabix (Li 2011), or CSI (SAM
//! specification) where a record is longer than tabix can say.

use noodles::bgzf::VirtualPosition;
use noodles::core::Position;
use noodles::csi::binning_index::Indexer;
use noodles::csi::binning_index::index::header::{Builder, ReferenceSequenceNames};
use noodles::csi::binning_index::index::reference_sequence::bin::Chunk;
use noodles::csi::binning_index::index::reference_sequence::index::{BinnedIndex, LinearIndex};
use noodles::{csi, tabix};
use std::fs::File;
use std::io;
use std::path::Path;

/// log₂ of the bases of the smallest bin, and how often a bin is eight of the next smaller: tabix's own.
const MIN_SHIFT: u8 = 14;
const DEPTH: u8 = 5;

/// How the name of the index of a file ends whose records have at most so many bases.
#[must_use]
pub fn index_ending(longest_bp: u64) -> &'static str {
    if depth(longest_bp) == DEPTH { ".tbi" } else { ".csi" }
}

/// How the lines of a file say which interval they are about. Those that begin with `#` are remarks.
#[derive(Clone, Copy)]
pub enum Layout {
    /// Record, start counted from 0, and end.
    Bed,
    /// Record, and start, counted from 1, and end in the fourth and fifth column: GTF too.
    Gff,
    /// Record, start, counted from 1, and as many bases as the fourth column has letters, or up to `END` in
    /// the eighth.
    Vcf,
}

impl Layout {
    /// Of the name `bed`, `gff` or `vcf`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "bed" => Some(Self::Bed),
            "gff" => Some(Self::Gff),
            "vcf" => Some(Self::Vcf),
            _ => None,
        }
    }

    fn header(self) -> Builder {
        match self {
            Self::Bed => Builder::bed(),
            Self::Gff => Builder::gff(),
            Self::Vcf => Builder::vcf(),
        }
    }

    /// The record, start, counted from 0, and end of a line.
    fn interval(self, line: &[u8]) -> Option<(&str, usize, usize)> {
        let columns: Vec<&[u8]> = line.splitn(9, |&byte| byte == b'\t').collect();
        let text = |at: usize| std::str::from_utf8(columns.get(at)?).ok();
        let number = |at: usize| text(at)?.parse::<usize>().ok();
        let name = text(0).filter(|name| !name.is_empty())?;
        let (start_bp, end_bp) = match self {
            Self::Bed => (number(1)?, number(2)?),
            Self::Gff => (number(3)?.checked_sub(1)?, number(4)?),
            Self::Vcf => {
                let start_bp = number(1)?.saturating_sub(1);
                let info = columns.get(7)?.split(|&byte| byte == b';');
                let end_bp = info
                    .filter_map(|field| std::str::from_utf8(field.strip_prefix(b"END=")?).ok()?.parse().ok())
                    .find(|&end_bp| end_bp > start_bp);
                (start_bp, end_bp.unwrap_or(start_bp + columns.get(3)?.len()))
            }
        };
        Some((name, start_bp, end_bp))
    }
}

/// Collects where the lines of a file of intervals lie.
pub(super) struct IntervalIndexer {
    layout: Layout,
    names: ReferenceSequenceNames,
    bins: Bins,
    /// What has been written of a line that has not ended.
    line: Vec<u8>,
    line_start: VirtualPosition,
}

enum Bins {
    Tabix(Indexer<LinearIndex>),
    Csi(Indexer<BinnedIndex>),
}

impl IntervalIndexer {
    /// For records of at most so many bases.
    pub(super) fn new(layout: Layout, longest_bp: u64) -> io::Result<Self> {
        let depth = depth(longest_bp);
        let absurd = || io::Error::other(format!("no index can hold records of {longest_bp} bases"));
        let bins = if depth == DEPTH {
            Bins::Tabix(Indexer::new(MIN_SHIFT, depth).ok_or_else(absurd)?)
        } else {
            Bins::Csi(Indexer::new(MIN_SHIFT, depth).ok_or_else(absurd)?)
        };
        let names = ReferenceSequenceNames::default();
        Ok(Self { layout, names, bins, line: Vec::new(), line_start: VirtualPosition::default() })
    }

    /// Reads bytes of one block.
    ///
    /// `start` is where they begin and `end` what follows them, in the next block if they end theirs.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        start: VirtualPosition,
        end: VirtualPosition,
    ) -> io::Result<()> {
        let mut from = 0;
        for newline in memchr::memchr_iter(b'\n', bytes) {
            let after = if newline + 1 == bytes.len() { end } else { advanced(start, newline + 1)? };
            self.begin(from, start)?;
            self.line.extend_from_slice(&bytes[from..newline]);
            self.add_line(after)?;
            self.line.clear();
            from = newline + 1;
        }
        if from < bytes.len() {
            self.begin(from, start)?;
            self.line.extend_from_slice(&bytes[from..]);
        }
        Ok(())
    }

    fn begin(&mut self, offset: usize, start: VirtualPosition) -> io::Result<()> {
        if self.line.is_empty() {
            self.line_start = advanced(start, offset)?;
        }
        Ok(())
    }

    fn add_line(&mut self, end: VirtualPosition) -> io::Result<()> {
        if self.line.starts_with(b"#") {
            return Ok(());
        }
        let (name, start_bp, end_bp) = self.layout.interval(&self.line).ok_or_else(|| {
            let line = String::from_utf8_lossy(&self.line);
            io::Error::other(format!("a line must be an interval, record, start and end, got '{line}'"))
        })?;
        let (id, _) = self.names.insert_full(name.into());
        let position = |at: usize| Position::try_from(at).map_err(io::Error::other);
        // Of nothing too, as htslib has it, the base before which it lies.
        let place = Some((id, position(start_bp + 1)?, position(end_bp.max(start_bp + 1))?, true));
        let chunk = Chunk::new(self.line_start, end);
        match &mut self.bins {
            Bins::Tabix(indexer) => indexer.add_record(place, chunk),
            Bins::Csi(indexer) => indexer.add_record(place, chunk),
        }
        .map_err(io::Error::other)
    }

    /// Writes the index.
    pub(super) fn write(self, path: &Path) -> io::Result<()> {
        let count = self.names.len();
        let header = self.layout.header().set_reference_sequence_names(self.names).build();
        let file = File::create(path)?;
        match self.bins {
            Bins::Tabix(indexer) => {
                let mut writer = tabix::io::Writer::new(file);
                writer.write_index(&indexer.set_header(header).build(count))?;
                writer.get_mut().try_finish()
            }
            Bins::Csi(indexer) => {
                let mut writer = csi::io::Writer::new(file);
                writer.write_index(&indexer.set_header(header).build(count))?;
                writer.get_mut().try_finish()
            }
        }
    }
}

/// Levels of bins: tabix's, or as many more as CSI needs.
fn depth(longest_bp: u64) -> u8 {
    (DEPTH..15).find(|depth| longest_bp < 1 << (MIN_SHIFT + 3 * depth)).unwrap_or(15)
}

fn advanced(position: VirtualPosition, bytes: usize) -> io::Result<VirtualPosition> {
    let within = usize::from(position.uncompressed()) + bytes;
    let within = u16::try_from(within).map_err(io::Error::other)?;
    VirtualPosition::try_from((position.compressed(), within)).map_err(io::Error::other)
}
