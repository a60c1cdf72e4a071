//! A disk with a write cache, served to the emulated board over NBD: what was not flushed when the power is cut is lost, or
//! kept, or partly kept, in no order, sector by sector.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use crate::support::PATIENCE;

/// A disk writes a sector whole or not at all. Flash is written by pages of this size at least. With smaller ones half of a
/// journal's commit block would be lost now and then, and Linux doesn't mount an ext4 after that, whoever wrote to it.
const SECTOR: usize = 4_096;
const HANDSHAKE: u64 = 0x4e42_444d_4147_4943;
const OPTION: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
/// Flushes and writes that must be safe at once are understood.
const FLAGS: u16 = 1 | 4 | 8;

/// What the cache loses.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    All,
    Nothing,
    /// Each sector with this seed's luck.
    Some(u64),
}

/// A disk.
pub struct Disk {
    state: Arc<(Mutex<State>, Condvar)>,
}

struct State {
    /// What a power cut leaves.
    safe: Vec<u8>,
    /// What the board reads.
    seen: Vec<u8>,
    /// What is in the cache, oldest first: sectors by their numbers.
    cache: Vec<usize>,
    connected: bool,
    /// Writes until it does nothing any more.
    left: Option<u64>,
}

impl Disk {
    /// A disk with this content, served on a socket.
    pub fn serve(content: Vec<u8>, socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let state = State::new(content);
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let served = state.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                served.0.lock().unwrap().connected = true;
                // The board was cut off.
                let _ = converse(stream, &served.0);
                let mut state = served.0.lock().unwrap();
                (state.connected, state.left) = (false, None);
                served.1.notify_all();
            }
        });
        Self { state }
    }

    /// Its power is gone before so many writes more; the board, which has no answer from it, runs on for a moment.
    pub fn stop_after(&self, writes: u64) {
        self.state.0.lock().unwrap().left = Some(writes);
    }

    /// Whether that has happened.
    pub fn has_stopped(&self) -> bool {
        self.state.0.lock().unwrap().left == Some(0)
    }

    /// The power is gone, and the board with it; how many sectors were in the cache, and how many of them are lost.
    pub fn cut(&self, loss: Loss) -> (usize, usize) {
        let state = self.state.0.lock().unwrap();
        let left = self.state.1.wait_timeout_while(state, PATIENCE, |state| state.connected).unwrap();
        let mut state = left.0;
        assert!(!state.connected, "the board still has its disk");
        state.cut(loss)
    }
}

impl State {
    fn new(content: Vec<u8>) -> Self {
        Self { safe: content.clone(), seen: content, cache: Vec::new(), connected: false, left: None }
    }

    fn write(&mut self, offset: usize, bytes: &[u8], at_once: bool) {
        assert!(offset.is_multiple_of(SECTOR) && bytes.len().is_multiple_of(SECTOR), "half a sector");
        self.seen[offset..offset + bytes.len()].copy_from_slice(bytes);
        let sectors = offset / SECTOR..(offset + bytes.len()) / SECTOR;
        if at_once {
            self.safe[offset..offset + bytes.len()].copy_from_slice(bytes);
            self.cache.retain(|sector| !sectors.contains(sector));
        } else {
            self.cache.extend(sectors);
        }
    }

    fn flush(&mut self) {
        for sector in std::mem::take(&mut self.cache) {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            self.safe[range.clone()].copy_from_slice(&self.seen[range]);
        }
    }

    fn cut(&mut self, loss: Loss) -> (usize, usize) {
        self.cache.sort_unstable();
        self.cache.dedup();
        let before = self.cache.len();
        let mut luck = fastrand::Rng::with_seed(if let Loss::Some(seed) = loss { seed } else { 0 });
        let lost: Vec<usize> = std::mem::take(&mut self.cache)
            .into_iter()
            .filter(|_| match loss {
                Loss::All => true,
                Loss::Nothing => false,
                Loss::Some(_) => luck.bool(),
            })
            .collect();
        for sector in &lost {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            self.seen[range.clone()].copy_from_slice(&self.safe[range]);
        }
        // The other sectors reached the disk after all.
        let seen = std::mem::take(&mut self.seen);
        self.safe.copy_from_slice(&seen);
        self.seen = seen;
        (before, lost.len())
    }
}

fn number<const N: usize>(stream: &mut UnixStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Negotiates, then reads, writes and flushes until the board is gone.
fn converse(mut stream: UnixStream, state: &Mutex<State>) -> Result<()> {
    let size = state.lock().unwrap().seen.len();
    stream.write_all(&HANDSHAKE.to_be_bytes())?;
    stream.write_all(&OPTION.to_be_bytes())?;
    // Options one by one, and no padding.
    stream.write_all(&3_u16.to_be_bytes())?;
    number::<4>(&mut stream)?;
    loop {
        if u64::from_be_bytes(number(&mut stream)?) != OPTION {
            return Err(ErrorKind::InvalidData.into());
        }
        let option = u32::from_be_bytes(number(&mut stream)?);
        let mut data = vec![0; u32::from_be_bytes(number(&mut stream)?) as usize];
        stream.read_exact(&mut data)?;
        let mut reply = |kind: u32, data: &[u8]| {
            let length = u32::try_from(data.len()).unwrap();
            let head = [option.to_be_bytes(), kind.to_be_bytes(), length.to_be_bytes()].concat();
            stream.write_all(&[&OPTION_REPLY.to_be_bytes()[..], &head, data].concat())
        };
        // GO is all that there is.
        if option == 7 {
            let about = [&[0, 0][..], &(size as u64).to_be_bytes(), &FLAGS.to_be_bytes()].concat();
            reply(3, &about)?;
            reply(1, &[])?;
            break;
        }
        reply(0x8000_0001, &[])?;
    }
    loop {
        let magic = u32::from_be_bytes(number(&mut stream)?);
        let [flags, kind] = [number::<2>(&mut stream)?, number::<2>(&mut stream)?].map(u16::from_be_bytes);
        let handle = number::<8>(&mut stream)?;
        let offset = usize::try_from(u64::from_be_bytes(number(&mut stream)?)).unwrap();
        let length = u32::from_be_bytes(number(&mut stream)?) as usize;
        if magic != REQUEST {
            return Err(ErrorKind::InvalidData.into());
        }
        {
            let mut state = state.lock().unwrap();
            if kind != 0 && state.left == Some(0) {
                drop(state);
                // Nothing is done, nothing is answered, until the board is gone.
                std::io::copy(&mut stream, &mut std::io::sink())?;
                return Ok(());
            }
            if kind == 1 {
                state.left = state.left.map(|left| left - 1);
            }
        }
        let mut answer = [&REPLY.to_be_bytes()[..], &0_u32.to_be_bytes(), &handle].concat();
        match kind {
            0 => answer.extend_from_slice(&state.lock().unwrap().seen[offset..offset + length]),
            1 => {
                let mut bytes = vec![0; length];
                stream.read_exact(&mut bytes)?;
                state.lock().unwrap().write(offset, &bytes, flags & 1 != 0);
            }
            3 => state.lock().unwrap().flush(),
            _ => return Err(Error::from(ErrorKind::UnexpectedEof)),
        }
        stream.write_all(&answer)?;
    }
}

#[test]
fn the_disk_forgets_what_was_not_flushed_and_nothing_else() {
    let state = || State::new(vec![0; 4 * SECTOR]);
    let firsts = |state: &State| [0, 1, 2, 3].map(|sector| state.seen[sector * SECTOR]);
    let written = || {
        let mut state = state();
        state.write(0, &[1; SECTOR], false);
        state.flush();
        state.write(SECTOR, &[2; 2 * SECTOR], false);
        state.write(3 * SECTOR, &[4; SECTOR], false);
        state.write(3 * SECTOR, &[5; SECTOR], true);
        assert_eq!(firsts(&state), [1, 2, 2, 5]);
        state
    };
    let mut lost = written();
    assert_eq!((lost.cut(Loss::All), firsts(&lost)), ((2, 2), [1, 0, 0, 5]));
    let mut kept = written();
    assert_eq!((kept.cut(Loss::Nothing), firsts(&kept)), ((2, 0), [1, 2, 2, 5]));
    let mut seeds = (0..20).map(|seed| {
        let mut torn = written();
        torn.cut(Loss::Some(seed));
        firsts(&torn)
    });
    assert!(seeds.any(|left| left == [1, 0, 2, 5]), "a write is torn");
}
