//! Files as `bgzip` writes them (BGZF; SAM specification, Sec. 4.1): gzip in blocks that say how long they
//! are, so that indexers can enter the file in its middle.

#[cfg(feature = "python")]
pub mod binding;
mod index;

pub use index::{Layout, index_ending};

use crate::error::{Error, Result};
use index::IntervalIndexer;
use noodles::bgzf;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};

/// Bytes of a block before compression, as in `bgzip`: what is left of 64 KiB if they cannot be compressed.
const BLOCK_BYTES: usize = 0xff00;

/// A file that is written in blocks.
///
/// An error closes it. Unless [`BgzipWriter::close`] ends it, it lacks the empty block that says that the file
/// is whole.
pub struct BgzipWriter {
    path: PathBuf,
    file: Option<bgzf::io::Writer<File>>,
    /// Bytes of the block that is being filled.
    filled: usize,
    /// Where the index goes, and what is to stand in it.
    index: Option<(PathBuf, IntervalIndexer)>,
}

impl BgzipWriter {
    /// Creates the file; what stood there goes.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file: Some(bgzf::io::Writer::new(file)), filled: 0, index: None })
    }

    /// The same for lines of intervals, sorted within records of at most `longest_bp` bases, with an index
    /// that [`BgzipWriter::close`] writes; its name should end in [`index_ending`].
    pub fn create_indexed(path: &Path, index_path: &Path, layout: Layout, longest_bp: u64) -> Result<Self> {
        let mut writer = Self::create(path)?;
        let indexer = IntervalIndexer::new(layout, longest_bp).map_err(|error| writer.error(error))?;
        writer.index = Some((index_path.to_owned(), indexer));
        Ok(writer)
    }

    /// Appends bytes; each full block goes to the system.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.with_file(|file, filled, mut indexer| {
            while !bytes.is_empty() {
                let piece = bytes.split_off(..bytes.len().min(BLOCK_BYTES - *filled)).unwrap_or_default();
                let start = file.virtual_position();
                file.write_all(piece)?;
                *filled += piece.len();
                if *filled == BLOCK_BYTES {
                    file.flush()?;
                    *filled = 0;
                }
                if let Some(indexer) = &mut indexer {
                    indexer.read(piece, start, file.virtual_position())?;
                }
            }
            Ok(())
        })
    }

    /// Ends the block that is being filled, and hands it to the system.
    pub fn flush(&mut self) -> Result<()> {
        self.with_file(|file, filled, _| {
            *filled = 0;
            file.flush()
        })
    }

    /// Ends the file with the empty block, and writes its index; does nothing to a closed one.
    pub fn close(&mut self) -> Result<()> {
        if !self.is_closed() {
            self.with_file(|file, _, _| file.try_finish())?;
        }
        if let Some((path, indexer)) = self.index.take()
            && let Err(source) = indexer.write(&path)
        {
            self.take();
            return Err(Error::Io { path, source });
        }
        let Some(file) = self.take() else { return Ok(()) };
        // A file that is dropped hides what network file systems say only now.
        // SAFETY: the descriptor is this file's own, and nothing uses it afterwards.
        match unsafe { libc::close(file.into_raw_fd()) } {
            0 => Ok(()),
            _ => Err(self.error(io::Error::last_os_error())),
        }
    }

    /// Whether nothing more can be written.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.file.is_none()
    }

    fn with_file(
        &mut self,
        act: impl FnOnce(&mut bgzf::io::Writer<File>, &mut usize, Option<&mut IntervalIndexer>) -> io::Result<()>,
    ) -> Result<()> {
        let indexer = self.index.as_mut().map(|(_, indexer)| indexer);
        let outcome = match &mut self.file {
            Some(file) => act(file, &mut self.filled, indexer),
            None => Err(io::Error::other("the file is closed")),
        };
        outcome.map_err(|error| {
            self.take();
            self.error(error)
        })
    }

    /// Takes the file out of its writer, which would otherwise end it with the empty block.
    fn take(&mut self) -> Option<File> {
        self.index = None;
        self.file.take().map(bgzf::io::Writer::into_inner)
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }
}

impl Drop for BgzipWriter {
    fn drop(&mut self) {
        self.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const END: &[u8] = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0\x1b\0\x03\0\0\0\0\0\0\0\0\0";

    /// What `act` writes: the file's bytes.
    fn written(act: impl FnOnce(&mut BgzipWriter)) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.gz");
        act(&mut BgzipWriter::create(&path).unwrap());
        std::fs::read(path).unwrap()
    }

    /// Unpacked bytes of each block.
    fn block_sizes(mut packed: &[u8]) -> Vec<u32> {
        let mut sizes = Vec::new();
        while !packed.is_empty() {
            let length = usize::from(u16::from_le_bytes([packed[16], packed[17]])) + 1;
            sizes.push(u32::from_le_bytes(packed[length - 4..length].try_into().unwrap()));
            packed = &packed[length..];
        }
        sizes
    }

    fn unpacked(packed: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut text).unwrap();
        text
    }

    /// Bytes that cannot be compressed.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn blocks_are_those_of_bgzip_however_the_bytes_come() {
        for text in [vec![b'A'; 150_000], noise(150_000)] {
            for piece in [1, 7, 65_279, 65_280, 65_281, 150_000] {
                let packed = written(|file| {
                    text.chunks(piece).for_each(|bytes| file.write(bytes).unwrap());
                    file.close().unwrap();
                });
                assert_eq!(block_sizes(&packed), [65_280, 65_280, 19_440, 0], "{piece}");
                assert_eq!(unpacked(&packed), text);
                assert!(packed.ends_with(END));
            }
        }
    }

    #[test]
    fn an_empty_file_is_the_empty_block() {
        assert_eq!(written(|file| file.close().unwrap()), END);
        assert_eq!(
            written(|file| {
                file.write(b"").unwrap();
                file.flush().unwrap();
                file.close().unwrap();
            }),
            END
        );
    }

    #[test]
    fn flushing_ends_a_block() {
        let packed = written(|file| {
            file.write(b"GATTACA").unwrap();
            file.flush().unwrap();
            assert_eq!(unpacked(&std::fs::read(&file.path).unwrap()), b"GATTACA");
            file.write(&noise(65_280)).unwrap();
            file.close().unwrap();
        });
        assert_eq!(block_sizes(&packed), [7, 65_280, 0]);
    }

    #[test]
    fn what_is_not_closed_lacks_its_end() {
        let packed = written(|file| file.write(&noise(70_000)).unwrap());
        assert_eq!(block_sizes(&packed), [65_280]);
    }

    #[test]
    fn a_closed_file_takes_nothing_more() {
        let packed = written(|file| {
            file.write(b"A").unwrap();
            file.close().unwrap();
            file.close().unwrap();
            assert!(file.is_closed());
            assert!(file.write(b"C").unwrap_err().to_string().ends_with("x.gz: the file is closed"));
            assert!(file.flush().is_err());
        });
        assert_eq!(unpacked(&packed), b"A");
    }

    #[test]
    fn a_full_disk_is_told_and_closes_the_file() {
        let mut files: [_; 3] = std::array::from_fn(|_| BgzipWriter::create(Path::new("/dev/full")).unwrap());
        let outcomes = [
            files[0].write(&noise(65_280)),
            files[1].write(b"A").and_then(|()| files[1].flush()),
            files[2].close(),
        ];
        for outcome in outcomes {
            match outcome.unwrap_err() {
                Error::Io { path, source } => {
                    assert_eq!(path, Path::new("/dev/full"));
                    assert_eq!(source.raw_os_error(), Some(libc::ENOSPC));
                }
                error => panic!("{error}"),
            }
        }
        assert!(files.iter().all(BgzipWriter::is_closed));
    }
}
