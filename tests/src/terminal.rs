//! A command on a terminal of its own, made by `script` of util-linux.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use crate::wait::until;

/// A shell's command line at work on a terminal.
pub struct Terminal {
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Terminal {
    /// Starts it. What is not redirected goes to the terminal.
    pub fn start(line: &str) -> Self {
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command"]).arg(format!("stty cols 120; exec {line}"));
        command.arg("/dev/null").env("TERM", "xterm").env("SHELL", "/bin/sh");
        // Its input stays open as long as it runs: an end would be typed into the terminal.
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("script starts");
        let mut output = child.stdout.take().expect("stdout is piped");
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let into = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..length]);
            }
        });
        Self { child, shown, reader: Some(reader) }
    }

    /// What was shown so far, with the terminal's control sequences.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until something is shown.
    #[track_caller]
    pub fn until_shown(&self, part: &str) {
        until(&format!("the terminal shows {part:?}"), || self.shown().contains(part).then_some(()));
    }

    /// Waits for the end: the exit code, and all that was shown.
    pub fn end(mut self) -> (i32, String) {
        let status = self.child.wait().expect("script ends");
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        (status.code().unwrap_or(-1), self.shown())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
