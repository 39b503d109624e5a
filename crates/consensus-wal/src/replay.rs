//! Reads segments frame by frame and decides what the end is: clean, torn, or damage.

use crate::disk::{Disk, DiskFile};
use crate::entry::{Entries, Entry};
use crate::frame::{self, ALIGNMENT, HEADER_BYTES, Header};
use crate::identity::newer;
use crate::journal::{GroupState, SegmentInfo, note_entry};
use crate::plate::{PLATE_BYTES, PlateError};
use crate::recover::RawRecord;
use crate::segment::{self, Owner, SegmentPlate, Window};
use crate::snapshot::ADVICE;
use crate::volume::Volume;
use bytes::Bytes;
use consensus_core::{GroupId, StorageError};
use std::collections::BTreeMap;
use std::sync::Arc;

const SCAN_BYTES: usize = 1 << 16;

/// What the segments say.
#[derive(Debug)]
pub(crate) struct Replay {
    /// The number of the next frame.
    pub(crate) next: u64,
    pub(crate) states: BTreeMap<GroupId, GroupState>,
    pub(crate) records: BTreeMap<GroupId, Vec<RawRecord>>,
    /// What is kept, oldest first.
    pub(crate) segments: Vec<SegmentInfo>,
    pub(crate) active: End,
}

/// Where the frames of a segment end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    /// The segment.
    pub(crate) first: u64,
    /// The first byte of what may not have been synced: the last frame, or all if there is only one.
    pub(crate) rewrite_from: u64,
    /// The first byte after the last frame.
    pub(crate) end: u64,
    /// Up to here there are remains of a write that a crash cut short; `end` if there are none.
    pub(crate) torn_end: u64,
    /// The floor that its plate names.
    pub(crate) floor: u64,
}

/// The segments that are to be read.
struct Survey {
    retained: Vec<u64>,
    /// A segment that a crash cut short before its first frame was durable.
    torn: Option<u64>,
}

impl Replay {
    pub(crate) fn is_retained(&self, first: u64) -> bool {
        self.segments.iter().any(|segment| segment.first == first)
    }
}

/// Reads everything that is needed, and changes nothing.
pub(crate) fn run<D: Disk>(
    volume: &Volume<D>,
    owner: &Owner,
    names: &[String],
) -> Result<Replay, StorageError> {
    let survey = survey(volume, owner, names)?;
    let start = survey.retained.first().copied().unwrap_or(1);
    let mut replay = Replay {
        next: start,
        states: BTreeMap::new(),
        records: BTreeMap::new(),
        segments: Vec::new(),
        active: End::default(),
    };
    for (place, &first) in survey.retained.iter().enumerate() {
        let later = survey.retained.get(place + 1).copied();
        replay.read_segment(volume, owner, first, later, survey.torn)?;
    }
    Ok(replay)
}

fn survey<D: Disk>(volume: &Volume<D>, owner: &Owner, names: &[String]) -> Result<Survey, StorageError> {
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| segment::parse_name(name)).collect();
    firsts.sort_unstable();
    let mut torn = None;
    let mut newest = read_plate(volume, owner, firsts.last().copied())?;
    if newest.is_none() {
        torn = firsts.pop();
        newest = read_plate(volume, owner, firsts.last().copied())?;
    }
    let Some(SegmentPlate { floor, .. }) = newest else {
        let problem = format!("the identity file is there, but no segment that holds; {ADVICE}");
        return Err(volume.damage(&segment::name(torn.unwrap_or(1)), 0, problem));
    };
    // A segment is superfluous if the next one begins at or before the floor.
    let start = firsts.partition_point(|&first| first <= floor).saturating_sub(1);
    let retained = firsts.split_off(start.min(firsts.len()));
    match retained.first() {
        Some(&first) if first <= floor => Ok(Survey { retained, torn }),
        oldest => {
            let found = oldest.copied().unwrap_or(floor);
            let problem = format!(
                "frames from {floor} on are needed, and no segment before frame {found} is there; {ADVICE}"
            );
            Err(volume.damage(&segment::name(found), 0, problem))
        }
    }
}

/// The plate of a segment; `None` if there is no such segment, or if a crash cut it short before anything in it was durable.
fn read_plate<D: Disk>(
    volume: &Volume<D>,
    owner: &Owner,
    first: Option<u64>,
) -> Result<Option<SegmentPlate>, StorageError> {
    let Some(first) = first else { return Ok(None) };
    let name = segment::name(first);
    let handle = volume.open(&name)?;
    let mut window = Window::over(&handle)?;
    match owner.decode(first, window.at(0, PLATE_BYTES)?) {
        Ok(plate) => Ok(Some(plate)),
        Err(PlateError::Newer(version)) => Err(newer(volume, &name, version)),
        Err(PlateError::Damaged) => {
            Err(volume.damage(&name, 0, format!("the head of the segment does not hold; {ADVICE}")))
        }
        Err(PlateError::Unfinished) => {
            let seed = owner.segment_seed(first);
            match find_frame(&mut window, seed, PLATE_BYTES as u64, first)? {
                None => Ok(None),
                Some(_) => {
                    let problem =
                        format!("the head of the segment is gone, though frames follow it; {ADVICE}");
                    Err(volume.damage(&name, 0, problem))
                }
            }
        }
    }
}

impl Replay {
    /// Reads the segment that begins with frame `first`; `later` is the one after it.
    fn read_segment<D: Disk>(
        &mut self,
        volume: &Volume<D>,
        owner: &Owner,
        first: u64,
        later: Option<u64>,
        torn: Option<u64>,
    ) -> Result<(), StorageError> {
        let name = segment::name(first);
        let Some(plate) = read_plate(volume, owner, Some(first))? else {
            let problem =
                format!("the head of the segment is gone, though a later segment is there; {ADVICE}");
            return Err(volume.damage(&name, 0, problem));
        };
        let handle = volume.open(&name)?;
        let mut window = Window::over(&handle)?;
        let seed = owner.segment_seed(first);
        let place: Arc<str> = volume.place(&name).into();
        let (mut end, mut rewrite_from) = (PLATE_BYTES as u64, 0);
        while let Some((header, payload)) = read_frame(&mut window, seed, end, self.next)? {
            self.take(&payload, &place, end)?;
            rewrite_from = if end > PLATE_BYTES as u64 { end } else { 0 };
            end += header.frame_bytes() as u64;
            self.next += 1;
        }
        self.segments.push(SegmentInfo { first, bytes: end });
        // The name of a later segment proves that every frame before it was durable once.
        if let Some(later) = later.or(torn)
            && later != self.next
        {
            let problem = format!(
                "frame {} does not hold, though a segment was begun with frame {later} when it was durable; {ADVICE}",
                self.next
            );
            return Err(volume.damage(&name, end, problem));
        }
        if later.is_none() {
            let torn_end =
                judge_end(&mut window, seed, end, self.next).map_err(|error| error.at(volume, &name, end))?;
            self.active = End { first, rewrite_from, end, torn_end, floor: plate.floor };
        }
        Ok(())
    }

    fn take(&mut self, payload: &Bytes, place: &Arc<str>, offset: u64) -> Result<(), StorageError> {
        for entry in Entries::of(payload) {
            let entry = entry.map_err(|malformed| StorageError::Corrupt {
                place: place.as_ref().into(),
                offset,
                problem: format!("the checksum of the frame holds, but {}; {ADVICE}", malformed.0),
            })?;
            note_entry(&mut self.states, self.next, &entry, |_| ());
            let raw =
                |bytes: &[u8]| RawRecord { bytes: payload.slice_ref(bytes), place: place.clone(), offset };
            match entry {
                Entry::Record { group, bytes } => self.records.entry(group).or_default().push(raw(bytes)),
                Entry::Checkpoint { group, tail, .. } => {
                    self.records.insert(group, tail.map(raw).collect());
                }
            }
        }
        Ok(())
    }
}

/// Reads the frame at `offset`; `None` if there is none that is whole, intact and numbered `expected`.
pub(crate) fn read_frame<F: DiskFile>(
    window: &mut Window<'_, F>,
    seed: u32,
    offset: u64,
    expected: u64,
) -> Result<Option<(Header, Bytes)>, StorageError> {
    let Some(header) = frame::parse(window.at(offset, HEADER_BYTES)?, seed) else { return Ok(None) };
    if header.sequence != expected {
        return Ok(None);
    }
    let bytes = window.at(offset, header.frame_bytes())?;
    if !header.holds(bytes) {
        return Ok(None);
    }
    let payload = bytes.get(HEADER_BYTES..HEADER_BYTES + header.payload_bytes).unwrap_or_default();
    Ok(Some((header, Bytes::copy_from_slice(payload))))
}

/// Why the end of the newest segment is not the work of a crash.
enum BadEnd {
    Disk(StorageError),
    Damage(String),
}

impl From<StorageError> for BadEnd {
    fn from(error: StorageError) -> Self {
        Self::Disk(error)
    }
}

impl BadEnd {
    fn at<D: Disk>(self, volume: &Volume<D>, name: &str, offset: u64) -> StorageError {
        match self {
            Self::Disk(error) => error,
            Self::Damage(problem) => volume.damage(name, offset, format!("{problem}; {ADVICE}")),
        }
    }
}

/// Where the remains of the write that a crash cut short end. The frame `expected` at `offset` is known not to hold.
fn judge_end<F: DiskFile>(
    window: &mut Window<'_, F>,
    seed: u32,
    offset: u64,
    expected: u64,
) -> Result<u64, BadEnd> {
    let head = window.at(offset, HEADER_BYTES)?;
    let scan_from = match frame::parse(head, seed) {
        Some(header) if header.sequence != expected => {
            let found = header.sequence;
            return Err(BadEnd::Damage(format!("frame {found} is where frame {expected} should be")));
        }
        Some(header) => {
            let frame_bytes = header.frame_bytes();
            if frame::is_written(offset, window.at(offset, frame_bytes)?, frame_bytes) {
                return Err(BadEnd::Damage(format!(
                    "frame {expected} was written as a whole, and its checksum does not match"
                )));
            }
            offset + frame_bytes as u64
        }
        None if frame::is_header_written(head) => {
            return Err(BadEnd::Damage(format!("the header of frame {expected} does not hold")));
        }
        None => offset + ALIGNMENT as u64,
    };
    if let Some(found) = find_frame(window, seed, scan_from, expected + 1)? {
        return Err(BadEnd::Damage(format!(
            "frame {expected} does not hold, though frame {found}, which was written after it was durable, does"
        )));
    }
    Ok(window.last_used(offset)?.map_or(offset, |last| last + 1))
}

/// The first intact header at or after `from` with a sequence of at least `least`.
fn find_frame<F: DiskFile>(
    window: &mut Window<'_, F>,
    seed: u32,
    from: u64,
    least: u64,
) -> Result<Option<u64>, StorageError> {
    let mut offset = from;
    while offset < window.length() {
        let chunk = window.at(offset, SCAN_BYTES)?;
        if !frame::is_zero(chunk) {
            let headers = chunk.chunks(ALIGNMENT).filter(|bytes| frame::is_header_written(bytes));
            let found =
                headers.filter_map(|bytes| frame::parse(bytes, seed)).find(|header| header.sequence >= least);
            if let Some(header) = found {
                return Ok(Some(header.sequence));
            }
        }
        offset += SCAN_BYTES as u64;
    }
    Ok(None)
}
