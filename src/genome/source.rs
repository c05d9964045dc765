//! Bytes of a FASTA file's text by position, whatever the file's compression.
//!
//! Every read is positioned and keeps its state on the stack, so a source can be used from many threads and
//! after `fork`.

use super::{Opening, interrupted};
use crate::error::{Error, Result};
use flate2::bufread::GzDecoder;
use noodles::bgzf;
use noodles::bgzf::gzi;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const STREAM_BUFFER: usize = 1 << 20;
const INTERRUPT_BYTES: u64 = 1 << 20;
const BGZF_HEADER_SIZE: usize = 18;
const BGZF_MIN_BLOCK_SIZE: u64 = 26;
const BGZF_MAX_UNPACKED_SIZE: u64 = 1 << 16;

/// How a file's text is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    Plain,
    Bgzf,
    Gzip,
}

impl Format {
    /// Tells from the first bytes.
    pub(super) fn detect(file: &File) -> io::Result<Self> {
        let mut start = Vec::with_capacity(BGZF_HEADER_SIZE);
        Positioned::new(file).take(BGZF_HEADER_SIZE as u64).read_to_end(&mut start)?;
        Ok(match start.first_chunk() {
            Some(header) if is_bgzf_header(header) => Self::Bgzf,
            _ if start.starts_with(&[0x1f, 0x8b]) => Self::Gzip,
            _ => Self::Plain,
        })
    }
}

/// Text that can be read from any position.
pub(super) enum Source {
    /// The file is the text.
    Plain { file: File, size: u64 },
    /// The file holds the text in blocks, which end at byte `packed_size`; the index says where each lies.
    Bgzf { file: File, index: gzi::Index, size: u64, packed_size: u64 },
}

impl Source {
    pub(super) fn plain(path: &Path, file: File) -> Result<Self> {
        let size = file.metadata().map_err(|error| io_error(path, error))?.len();
        Ok(Self::Plain { file, size })
    }

    /// Takes the block index beside the file, or builds it from the blocks' headers; None if a block is
    /// followed by gzip that is not bgzip's.
    ///
    /// An index is held against the file where it is used: its last block begins and ends where it says, and so
    /// does each that is read. To look at all would be to build it. So an index of another file is told, but not
    /// one that was made to mislead, whose entries agree about blocks that are there and lie elsewhere.
    pub(super) fn bgzf(path: &Path, file: &File, opening: &Opening) -> Result<Option<Self>> {
        let file_size = file.metadata().map_err(|error| io_error(path, error))?.len();
        let index_path = path.with_added_extension("gzi");
        let (blocks, blame) = match File::open(&index_path) {
            Ok(index) => (read_gzi(&index_path, index, file_size)?, &*index_path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), path),
            Err(error) => return Err(io_error(&index_path, error)),
        };
        let walk = Walk { path, blame, file, file_size, opening };
        let Some((blocks, size, packed_size)) = walk.blocks(blocks)? else { return Ok(None) };
        let file = file.try_clone().map_err(|error| io_error(path, error))?;
        Ok(Some(Self::Bgzf { file, index: blocks.into(), size, packed_size }))
    }

    /// Bytes of text.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Plain { size, .. } | Self::Bgzf { size, .. } => *size,
        }
    }

    /// Fills `buffer` with the text from `offset` on.
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Plain { file, .. } => file.read_exact_at(buffer, offset),
            Self::Bgzf { .. } if buffer.is_empty() => Ok(()),
            Self::Bgzf { file, index, size, .. } => {
                let mut reader = bgzf::io::Reader::new(Positioned::new(file));
                reader.seek_by_uncompressed_position(index, offset)?;
                let blocks = index.as_ref();
                let next = blocks.partition_point(|&(_, start)| start <= offset);
                let block_end = blocks.get(next).map_or(*size, |&(_, start)| start);
                if offset + reader.fill_buf()?.len() as u64 != block_end {
                    let what = "a block has not the size that the block index says";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                reader.read_exact(buffer)
            }
        }
    }

    /// The text from its start.
    pub(super) fn stream(&self) -> Box<dyn BufRead + '_> {
        match self {
            Self::Plain { file, .. } => {
                Box::new(BufReader::with_capacity(STREAM_BUFFER, Positioned::new(file)))
            }
            Self::Bgzf { file, packed_size, .. } => {
                Box::new(bgzf::io::Reader::new(Positioned::new(file).take(*packed_size)))
            }
        }
    }
}

/// The text of a gzip file, of one member or several, from its start.
pub(super) fn gzip_stream(file: &File) -> impl BufRead + '_ {
    let packed = BufReader::with_capacity(STREAM_BUFFER, Positioned::new(file));
    BufReader::with_capacity(STREAM_BUFFER, Members { member: Some(GzDecoder::new(packed)) })
}

/// The members of a gzip file one after another, and zeros behind each, as `gzip` reads them.
struct Members<R: BufRead> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(mut packed) = self.member.take().map(GzDecoder::into_inner) else { break };
            loop {
                let rest = packed.fill_buf()?;
                if rest.is_empty() {
                    return Ok(0);
                }
                let zeros = rest.iter().take_while(|&&byte| byte == 0).count();
                let is_over = zeros < rest.len();
                packed.consume(zeros);
                if is_over {
                    break;
                }
            }
            self.member = Some(GzDecoder::new(packed));
        }
        Ok(0)
    }
}

/// A cursor of its own on a shared file.
struct Positioned<'a> {
    file: &'a File,
    position: u64,
}

impl<'a> Positioned<'a> {
    fn new(file: &'a File) -> Self {
        Self { file, position: 0 }
    }
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Positioned<'_> {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        let position = match target {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(step) => self.position.checked_add_signed(step),
            SeekFrom::End(step) => self.file.metadata()?.len().checked_add_signed(step),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// A system's error stays one; anything a decoder says is about the file's content.
pub(super) fn read_error(path: &Path, place: &str, error: io::Error) -> Error {
    if error.raw_os_error().is_some() {
        return io_error(path, error);
    }
    let reason = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the file ends too early (truncated?)".to_owned(),
        _ => format!("damaged data ({error})"),
    };
    file_error(path, format!("{place}: {reason}"))
}

pub(super) fn io_error(path: &Path, source: io::Error) -> Error {
    Error::Io { path: path.to_owned(), source }
}

pub(super) fn file_error(path: &Path, message: impl Into<String>) -> Error {
    Error::File { path: PathBuf::from(path), message: message.into() }
}

fn is_bgzf_header(header: &[u8; BGZF_HEADER_SIZE]) -> bool {
    header.starts_with(&[0x1f, 0x8b, 8, 4]) && header[10..16] == [6, 0, b'B', b'C', 2, 0]
}

fn read_gzi(path: &Path, file: File, file_size: u64) -> Result<Vec<(u64, u64)>> {
    let index = gzi::io::Reader::new(BufReader::new(file))
        .read_index()
        .map_err(|error| read_error(path, "block index", error))?;
    let blocks = index.as_ref().to_vec();
    let mut previous = (0, 0);
    for (number, &(packed, unpacked)) in blocks.iter().enumerate() {
        let grows = packed > previous.0 && unpacked >= previous.1;
        if !grows || unpacked - previous.1 > BGZF_MAX_UNPACKED_SIZE || packed > file_size {
            return Err(file_error(
                path,
                format!("entry {number} does not match the compressed file: ({packed}, {unpacked})"),
            ));
        }
        previous = (packed, unpacked);
    }
    Ok(blocks)
}

/// The blocks' starts as (packed, unpacked) offsets, and the sizes of the text and of the blocks.
type Blocks = (Vec<(u64, u64)>, u64, u64);

struct Walk<'a> {
    path: &'a Path,
    /// What is wrong if no block starts where one is looked for.
    blame: &'a Path,
    file: &'a File,
    file_size: u64,
    opening: &'a Opening<'a>,
}

impl Walk<'_> {
    /// Appends the start of each block after the last known; None if a gzip member comes that is no block.
    fn blocks(&self, mut blocks: Vec<(u64, u64)>) -> Result<Option<Blocks>> {
        let (mut packed, mut unpacked) = blocks.last().copied().unwrap_or((0, 0));
        let mut block_size = u64::MAX;
        let mut next_look = 0;
        while packed < self.file_size {
            if packed >= next_look {
                next_look = packed + INTERRUPT_BYTES;
                interrupted(self.path, self.opening)?;
            }
            let mut start = Vec::with_capacity(BGZF_HEADER_SIZE);
            Positioned { file: self.file, position: packed }
                .take(BGZF_HEADER_SIZE as u64)
                .read_to_end(&mut start)
                .map_err(|error| io_error(self.path, error))?;
            let header = match start.first_chunk() {
                Some(header) if is_bgzf_header(header) => header,
                _ if start.first() == Some(&0) && block_size != u64::MAX && self.is_zero_from(packed)? => {
                    break;
                }
                None => return Err(self.truncated(packed)),
                Some(header) if header.starts_with(&[0x1f, 0x8b]) && self.blame == self.path => {
                    return Ok(None);
                }
                Some(_) => {
                    let what = format!("no bgzip block starts at byte {packed} of {}", self.path.display());
                    return Err(file_error(self.blame, what));
                }
            };
            let end = packed + u64::from(u16::from_le_bytes([header[16], header[17]])) + 1;
            if end - packed < BGZF_MIN_BLOCK_SIZE || end > self.file_size {
                return Err(self.truncated(packed));
            }
            let mut size = [0; 4];
            self.file.read_exact_at(&mut size, end - 4).map_err(|_| self.truncated(packed))?;
            block_size = u64::from(u32::from_le_bytes(size));
            if block_size > BGZF_MAX_UNPACKED_SIZE {
                let what = format!("the block at byte {packed} claims to hold {block_size} bytes");
                return Err(file_error(self.path, what));
            }
            (packed, unpacked) = (end, unpacked + block_size);
            blocks.push((packed, unpacked));
        }
        if block_size != 0 {
            let what = "the bgzip file is truncated: it lacks the empty block that ends every such file";
            return Err(file_error(self.path, what));
        }
        // Nothing starts where the last one ends.
        blocks.pop();
        Ok(Some((blocks, unpacked, packed)))
    }

    fn is_zero_from(&self, packed: u64) -> Result<bool> {
        let mut rest = BufReader::new(Positioned { file: self.file, position: packed });
        loop {
            let buffer = rest.fill_buf().map_err(|error| io_error(self.path, error))?;
            if buffer.is_empty() || buffer.iter().any(|&byte| byte != 0) {
                return Ok(buffer.is_empty());
            }
            let length = buffer.len();
            rest.consume(length);
        }
    }

    fn truncated(&self, packed: u64) -> Error {
        let what = format!("the bgzip file is truncated: its block at byte {packed} is not whole");
        file_error(self.path, what)
    }
}
