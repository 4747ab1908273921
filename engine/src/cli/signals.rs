//! SIGTERM and Ctrl-C: the first one asks the run to end cleanly, the second one ends it.

use std::io::{self, Write};

use kafka_backup::error::Kind;
use kafka_backup::stop::Stop;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from now on, in the background.
pub fn listen(stop: Stop) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!(
            "signals cannot be listened to: a signal ends the run at once, and the next one goes on from its last checkpoint"
        );
        return;
    };
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("stopping cleanly; a second signal stops at once");
        stop.set();
        either(&mut terminate, &mut interrupt).await;
        // Whatever instruction this comes at: a run that is killed leaves nothing half done that looks whole.
        let _ = writeln!(io::stderr(), "error: stopped at once, by a second signal");
        std::process::exit(i32::from(Kind::Interrupted.code()));
    });
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
