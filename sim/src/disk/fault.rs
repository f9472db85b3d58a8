//! Which step of a disk fails.

use std::io;

/// What the kernel calls an error of a device.
const EIO: i32 = 5;

/// How a step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The device reports an error, and nothing happens. Later steps work again.
    Eio,
    /// The power goes: this step and all later ones fail, reads too, until the machine has crashed.
    PowerOff,
}

/// What is to fail, and what did.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// After so many more steps.
    planned: Option<(u32, Failure)>,
    struck: Option<Failure>,
}

impl Faults {
    pub(super) fn plan(&mut self, operations: u32, how: Failure) {
        self.planned = Some((operations.max(1), how));
    }

    pub(super) fn struck(&self) -> Option<Failure> {
        self.struck
    }

    /// Something is read.
    pub(super) fn look(&self) -> io::Result<()> {
        match self.struck {
            Some(Failure::PowerOff) => Err(io::Error::other("the machine has no power")),
            _ => Ok(()),
        }
    }

    /// Something is changed.
    pub(super) fn step(&mut self) -> io::Result<()> {
        self.look()?;
        let Some((left, how)) = &mut self.planned else { return Ok(()) };
        *left -= 1;
        if *left > 0 {
            return Ok(());
        }
        self.struck = Some(*how);
        self.planned = None;
        self.look()?;
        Err(io::Error::from_raw_os_error(EIO))
    }
}
