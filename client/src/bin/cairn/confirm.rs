//! Asks before something is done that cannot be undone.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::report::Report;

/// Asks on a terminal; elsewhere there is nobody to ask, and `refusal` says what is not done.
pub(crate) async fn confirm(question: String, refusal: String) -> Result<(), Report> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Report::invalid(format!("{refusal} without being asked"), "say --yes, or --dry-run"));
    }
    let asked = tokio::task::spawn_blocking(move || {
        io::stderr().lock().write_all(format!("{question} [y/N] ").as_bytes())?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok::<_, io::Error>(answer)
    });
    let answer = asked.await.map_err(io::Error::other).flatten();
    let answer = answer.map_err(|error| Report::internal(format!("cannot ask: {error}")))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Report::internal("nothing was changed")),
    }
}
