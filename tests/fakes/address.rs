//! Loopback ports for the services under test.

use std::{
    fs::File,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::TcpListener,
    ops::Range,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// The ports to choose from, all below the kernel's ephemeral ports.
///
/// The kernel assigns ephemeral ports to outgoing connections and to listeners on port 0. No other program takes a port
/// of this range between the check that it is free and the start of a service.
const PORTS: Range<u16> = 20_000..32_000;
/// The number of ports that a process claims together; each block keeps one file open.
const BLOCK: u16 = 200;

/// Returns a loopback address that nothing listens on now.
///
/// A process returns each address once until it has returned all. Other test processes use other blocks of ports.
///
/// # Panics
///
/// Panics if no port is free.
pub fn free_address() -> String {
    static OWN: Mutex<Own> = Mutex::new(Own::new());
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in PORTS {
        let address = format!("127.0.0.1:{}", own.next());
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
    panic!("no loopback port of {PORTS:?} is free");
}

/// The blocks of this process, whose locks last as long as the process.
struct Own {
    blocks: Vec<(u16, File)>,
    given: usize,
}

impl Own {
    const fn new() -> Self {
        Self {
            blocks: Vec::new(),
            given: 0,
        }
    }

    fn next(&mut self) -> u16 {
        let per_block = usize::from(BLOCK);
        if self.given == self.blocks.len() * per_block {
            match claim() {
                Some(block) => self.blocks.push(block),
                None => self.given = 0,
            }
        }
        let (first, _) = self
            .blocks
            .get(self.given / per_block)
            .expect("the process claimed a block of ports");
        let port = first + u16::try_from(self.given % per_block).expect("the number is below the size of a block");
        self.given += 1;
        port
    }
}

/// Claims a block that no process has, from a random start, so that no block is reused soon.
fn claim() -> Option<(u16, File)> {
    let folder = std::env::temp_dir().join("killfeed-test-ports");
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let blocks = u64::from((PORTS.end - PORTS.start) / BLOCK);
    let random = RandomState::new().build_hasher().finish() % blocks;
    (0..blocks).find_map(|n| {
        let first = PORTS.start
            + BLOCK * u16::try_from((random + n) % blocks).expect("the number is below the number of blocks");
        Some((first, lock(&folder.join(first.to_string()))?))
    })
}

fn lock(path: &Path) -> Option<File> {
    let file = File::options().create(true).append(true).open(path).ok()?;
    file.try_lock().ok()?;
    Some(file)
}
