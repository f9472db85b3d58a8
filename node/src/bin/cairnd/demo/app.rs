//! An application of the demo.

use crate::args::AppArgs;
use crate::failure::Failure;

pub(crate) fn run(_args: AppArgs) -> Result<(), Failure> {
    Err(Failure::new("not yet"))
}
