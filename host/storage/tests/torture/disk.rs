//! A disk that does to two files, a store's and its journal, whatever a disk may do, as a seed says.
//!
//! It owns three things of each: what the process sees, what would be left after a crash, and what is on the way between. A
//! sync that succeeds makes all of it last. A crash leaves each sector of what was on the way in any version that it
//! had since, independently of all others, which covers tearing, reordering and loss at once; a change of the file's
//! length may come before, after, or not at all. A sync that fails lets some sectors last and forgets the others,
//! which the process goes on seeing: that is what Linux does.
//! It refuses to know what the bytes mean.

use redb::StorageBackend;
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What a disk writes whole.
const SECTOR: usize = 512;

/// What goes wrong, at some operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// From this operation on nothing is done any more.
    Crash,
    /// This write, sync or change of length fails with EIO, and so do as many after it.
    WritesFail(u32),
    /// The file cannot grow until room is made.
    Full,
    /// This operation fails with EIO where it is a read, or else the next read does.
    ReadFails,
}

/// A disk, shared by those who open it and those who hurt it.
#[derive(Debug, Clone)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: fastrand::Rng,
    /// The store and its journal.
    contents: [Content; 2],
    /// The fault that is to come, after so many operations.
    planned: Option<(u32, Fault)>,
    failing_writes: u32,
    failing_reads: u32,
    /// How far each file may reach.
    room: [usize; 2],
    crashed: bool,
    /// Which opening is alive: a process that crashed does nothing more.
    life: u32,
    operations: u64,
    growths: u64,
    trace: DefaultHasher,
}

impl Disk {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: fastrand::Rng::with_seed(seed),
            contents: Default::default(),
            planned: None,
            failing_writes: 0,
            failing_reads: 0,
            room: [usize::MAX; 2],
            crashed: false,
            life: 0,
            operations: 0,
            growths: 0,
            trace: DefaultHasher::new(),
        })))
    }

    /// The store and its journal for one life of a process.
    pub fn open(&self) -> [File; 2] {
        let life = self.state().life;
        [0, 1].map(|which| File { disk: self.clone(), life, which })
    }

    /// Lets something happen after so many operations.
    pub fn plan(&self, after: u32, fault: Fault) {
        self.state().planned = Some((after, fault));
    }

    /// Ends what is planned and what goes on, but for a crash.
    pub fn heal(&self) {
        let mut state = self.state();
        state.planned = None;
        (state.failing_writes, state.failing_reads, state.room) = (0, 0, [usize::MAX; 2]);
    }

    pub fn crashed(&self) -> bool {
        self.state().crashed
    }

    /// The process ends, if it has not, and another may open the file. Where the power went as well, what was on the
    /// way is lost in part.
    pub fn restart(&self, power_went: bool) {
        {
            let mut state = self.state();
            let State { random, contents, .. } = &mut *state;
            for content in contents {
                if power_went {
                    content.lose(random);
                }
                content.drop_memory();
            }
            state.crashed = false;
            state.life += 1;
        }
        self.heal();
    }

    /// How many operations there were, how often the file grew, and a hash of all of it.
    pub fn trace(&self) -> (u64, u64, u64) {
        let state = self.state();
        (state.operations, state.growths, state.trace.finish())
    }

    /// What a process that opens it sees: the store and its journal.
    pub fn bytes(&self) -> [Vec<u8>; 2] {
        self.state().contents.each_ref().map(|content| content.seen.clone())
    }

    /// A disk on which just these bytes are.
    pub fn of(bytes: [Vec<u8>; 2]) -> Self {
        let disk = Self::new(0);
        disk.state().contents =
            bytes.map(|bytes| Content { seen: bytes.clone(), lasting: bytes, ..Content::default() });
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an operation does, for faults and for the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Length,
    Read,
    Write,
    Resize,
    Sync,
}

impl State {
    /// Counts an operation and says whether it is done.
    fn begin(&mut self, (life, which): (u32, usize), kind: Kind, at: u64, length: usize) -> io::Result<()> {
        if life != self.life || self.crashed {
            return Err(io::Error::other("the process is no more"));
        }
        self.operations += 1;
        (which, kind, at, length).hash(&mut self.trace);
        match self.planned {
            Some((0, fault)) => {
                self.planned = None;
                fault.hash(&mut self.trace);
                match fault {
                    Fault::Crash => {
                        self.crashed = true;
                        // What it was about to do may have been done in part.
                        return Ok(());
                    }
                    Fault::WritesFail(count) => self.failing_writes = count,
                    Fault::Full => self.room = self.contents.each_ref().map(|content| content.seen.len()),
                    Fault::ReadFails => self.failing_reads = 1,
                }
            }
            Some((after, fault)) => self.planned = Some((after - 1, fault)),
            None => {}
        }
        let failing = match kind {
            Kind::Length => return Ok(()),
            Kind::Read => &mut self.failing_reads,
            Kind::Write | Kind::Resize | Kind::Sync => &mut self.failing_writes,
        };
        if *failing > 0 {
            *failing -= 1;
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(())
    }
}

/// What is in one file.
#[derive(Debug, Default)]
struct Content {
    /// What the process sees.
    seen: Vec<u8>,
    /// What a crash leaves at least.
    lasting: Vec<u8>,
    /// What a crash may leave as well: of each sector the versions written since, oldest first.
    on_the_way: BTreeMap<usize, Vec<[u8; SECTOR]>>,
    /// Lengths that the file was given since.
    lengths: Vec<usize>,
}

impl Content {
    fn put(&mut self, at: usize, data: &[u8]) {
        let end = at + data.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
            self.lengths.push(end);
        }
        self.seen[at..end].copy_from_slice(data);
        for sector in at / SECTOR..end.div_ceil(SECTOR) {
            let version = sector_of(&self.seen, sector);
            self.on_the_way.entry(sector).or_default().push(version);
        }
    }

    fn resize(&mut self, length: usize) {
        self.seen.resize(length, 0);
        self.lengths.push(length);
    }

    /// All that is on the way lasts. What a sync that failed forgot is not on the way any more.
    fn all_lasts(&mut self) {
        if !std::mem::take(&mut self.lengths).is_empty() {
            self.lasting.resize(self.seen.len(), 0);
        }
        for sector in std::mem::take(&mut self.on_the_way).into_keys() {
            let at = sector * SECTOR;
            let end = self.seen.len().min(at + SECTOR);
            if at < end {
                self.lasting.resize(self.lasting.len().max(end), 0);
                self.lasting[at..end].copy_from_slice(&self.seen[at..end]);
            }
        }
    }

    /// Some of what is on the way lasts, the rest does not.
    fn some_lasts(&mut self, random: &mut fastrand::Rng) {
        // Moods differ: nearly everything, nearly nothing, anything.
        let odds = [0.02, 0.5, 0.98][random.usize(..3)];
        for (sector, versions) in std::mem::take(&mut self.on_the_way) {
            if random.f64() < odds {
                let version = versions[random.usize(..versions.len())];
                let at = sector * SECTOR;
                // A sector behind the end lasts only if the length does.
                if let Some(there) = self.lasting.get_mut(at..) {
                    let some = there.len().min(SECTOR);
                    there[..some].copy_from_slice(&version[..some]);
                }
            }
        }
    }

    fn lose(&mut self, random: &mut fastrand::Rng) {
        let lengths = std::mem::take(&mut self.lengths);
        if let Some(length) = random.choice(lengths.iter()).copied().filter(|_| random.bool()) {
            self.lasting.resize(length, 0);
        }
        self.some_lasts(random);
        self.seen.clone_from(&self.lasting);
    }

    /// What is neither on the disk nor on the way to it is dropped from memory: the store asks for that when it opens
    /// a file, so that it builds on nothing that an earlier process failed to sync.
    fn drop_memory(&mut self) {
        for at in (0..self.seen.len()).step_by(SECTOR) {
            if !self.on_the_way.contains_key(&(at / SECTOR)) {
                let end = self.seen.len().min(at + SECTOR);
                let lasts = self.lasting.get(at..self.lasting.len().min(end)).unwrap_or_default();
                let (kept, zeros) = self.seen[at..end].split_at_mut(lasts.len());
                kept.copy_from_slice(lasts);
                zeros.fill(0);
            }
        }
    }
}

fn sector_of(bytes: &[u8], sector: usize) -> [u8; SECTOR] {
    let mut out = [0; SECTOR];
    let there = &bytes[sector * SECTOR..bytes.len().min((sector + 1) * SECTOR)];
    out[..there.len()].copy_from_slice(there);
    out
}

// As on Linux; the tests never ask what they mean.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// The disk as one life of a process sees it.
#[derive(Debug)]
pub struct File {
    disk: Disk,
    life: u32,
    which: usize,
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.begin((self.life, self.which), Kind::Length, 0, 0)?;
        Ok(state.contents[self.which].seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin((self.life, self.which), Kind::Read, offset, out.len())?;
        let from = offset as usize;
        let found = state.contents[self.which].seen.get(from..from + out.len());
        out.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin((self.life, self.which), Kind::Resize, len, 0)?;
        if len as usize > state.room[self.which] {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        state.growths += u64::from(len as usize > state.contents[self.which].seen.len());
        state.contents[self.which].resize(len as usize);
        if state.crashed { Err(io::Error::other("crashed")) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        match state.begin((self.life, self.which), Kind::Sync, 0, 0) {
            Ok(()) if state.crashed => Err(io::Error::other("crashed")),
            Ok(()) => {
                state.contents[self.which].all_lasts();
                Ok(())
            }
            Err(error) => {
                if !state.crashed && self.life == state.life {
                    let State { random, contents, .. } = &mut *state;
                    contents[self.which].some_lasts(random);
                }
                Err(error)
            }
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let began = state.begin((self.life, self.which), Kind::Write, offset, data.len());
        if self.life != state.life || (began.is_err() && state.crashed) {
            return began;
        }
        let full = offset as usize + data.len() > state.room[self.which];
        let written = match &began {
            Ok(()) if !full && !state.crashed => data.len(),
            // A write that fails may have been done in part, by whole sectors.
            _ => {
                let end = offset as usize + state.random.usize(..=data.len());
                (end / SECTOR * SECTOR).saturating_sub(offset as usize)
            }
        };
        let room = state.room[self.which].saturating_sub(offset as usize);
        state.contents[self.which].put(offset as usize, &data[..written.min(room)]);
        began?;
        match (full, state.crashed) {
            (true, _) => Err(io::Error::from_raw_os_error(ENOSPC)),
            (_, true) => Err(io::Error::other("crashed")),
            _ => Ok(()),
        }
    }
}
