//! `cairnd demo`: the whole story.

pub(crate) mod app;

use crate::args::DemoArgs;
use crate::failure::Failure;

pub(crate) fn run(_args: DemoArgs) -> Result<u8, Failure> {
    Err(Failure::new("not yet"))
}
