//! A child process that cannot outlive the process that started it.
//!
//! `Drop` is not enough: it does not run when a test is killed, when it aborts, or for what stands in a `static`. So a
//! tethered child gets a second process, a few lines of shell that wait on a pipe of which we hold the other end.
//! However we end, the kernel closes our end; the shell then kills the child and removes its folder.
//!
//! A child that takes more of the machine than processes and files has a script of the name [`CLEAN_UP`] in its folder,
//! which gives it back.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use std::os::unix::process::CommandExt;

/// `$1` is the folder to remove, or empty; the rest is the command. The shell becomes the command by `exec`, so that
/// the process id we know is the command's own. A line on the pipe says that the child was reaped and that its id may
/// belong to somebody else by now; end of file says that we are gone.
const TETHER: &str = r#"
folder=$1; shift
exec 3<&0
(
  if ! read -r _ <&3; then
    kill -KILL $$
    if [ -n "$folder" ]; then
      sleep 0.5
      if [ -e "$folder/clean-up" ]; then /bin/sh "$folder/clean-up"; fi
      rm -rf --one-file-system "$folder"; sleep 2; rm -rf --one-file-system "$folder"
    fi
  fi
) >/dev/null 2>&1 &
exec "$@" 3<&- </dev/null
"#;

/// The name of the script that is run, once a child is gone, before its folder is removed.
pub const CLEAN_UP: &str = "clean-up";

/// A running child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    tether: Option<ChildStdin>,
}

impl Process {
    /// Starts `command` tied to this process; `folder` is removed with it if this process ends without stopping it.
    ///
    /// The child reads nothing on its standard input, whatever `command` says of it, and stands in a process group of
    /// its own, so that a Ctrl-C in the terminal reaches it only through us.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub fn tethered(command: &Command, folder: Option<&Path>, output: Output) -> Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(TETHER).arg("tether");
        shell.arg(folder.unwrap_or(Path::new(""))).arg(command.get_program()).args(command.get_args());
        carry_over(command, &mut shell);
        output.attach(&mut shell)?;
        let mut child = shell
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let tether = child.stdin.take();
        Ok(Self { child, tether })
    }

    /// Starts `command` so that it goes on when this process ends.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub fn detached(command: &Command, output: Output) -> Result<Self> {
        let mut detached = Command::new(command.get_program());
        detached.args(command.get_args());
        carry_over(command, &mut detached);
        output.attach(&mut detached)?;
        let child = detached
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, tether: None })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The handle to read piped output from.
    pub fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How the child ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait().context("cannot ask for a child's end")?;
        if status.is_some() {
            self.release();
        }
        Ok(status)
    }

    /// Waits for the child's own end.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait().context("cannot wait for a child")?;
        self.release();
        Ok(status)
    }

    /// Ends the child at once (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill().context("cannot kill a child")?;
        self.wait()
    }

    /// Asks the child to end (SIGTERM) without waiting.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn terminate(&mut self) -> Result<()> {
        match self.ended()? {
            Some(_) => Ok(()),
            None => send_signal("TERM", self.id()),
        }
    }

    /// Asks the child to end, and kills it when it has not within `patience`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.terminate()?;
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.kill()
    }

    /// The child is reaped, its id free for others: the tether must not kill it any more.
    fn release(&mut self) {
        if let Some(mut pipe) = self.tether.take() {
            use std::io::Write;
            // A tether that is already gone has nothing left to be told.
            let _ = pipe.write_all(b"\n");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Without a tether the child is meant to go on.
        if self.tether.is_some() {
            let _ = self.kill();
        }
    }
}

/// Removes the folder of a child that has ended, after its [`CLEAN_UP`] if it has one.
///
/// # Errors
/// When something is left; the text says what.
pub fn remove_folder(folder: &Path) -> Result<()> {
    let script = folder.join(CLEAN_UP);
    if script.exists() {
        let output =
            Command::new("/bin/sh").arg(&script).stdin(Stdio::null()).output().context("cannot run /bin/sh")?;
        if !output.status.success() {
            bail!("{} failed: {}", script.display(), String::from_utf8_lossy(&output.stderr).trim());
        }
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Where a child's standard output and standard error go.
#[derive(Debug)]
pub enum Output {
    /// Both into one file.
    File(File),
    /// Each into a file of its own.
    Files {
        /// For standard output.
        stdout: File,
        /// For standard error.
        stderr: File,
    },
    /// Both into pipes that the caller reads through [`Process::child_mut`].
    Piped,
    /// Both nowhere.
    Discard,
}

impl Output {
    fn attach(self, command: &mut Command) -> Result<()> {
        match self {
            Self::File(file) => {
                let copy = file.try_clone().context("cannot share a log file")?;
                command.stdout(file).stderr(copy);
            }
            Self::Files { stdout, stderr } => {
                command.stdout(stdout).stderr(stderr);
            }
            Self::Piped => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
            Self::Discard => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            }
        }
        Ok(())
    }
}

/// Sends the signal of this name (without `SIG`) to a process.
///
/// The standard library can only kill, and a shell is on every machine that runs these tests.
///
/// # Errors
/// When there is no such process, or it is not ours.
pub fn send_signal(name: &str, process_id: u32) -> Result<()> {
    let sent = Command::new("/bin/sh")
        .arg("-c")
        .arg(format!("kill -{name} {process_id}"))
        .stderr(Stdio::null())
        .status()
        .context("cannot run /bin/sh")?;
    if !sent.success() {
        bail!("cannot send SIG{name} to process {process_id}");
    }
    Ok(())
}

/// When a process started, in clock ticks since the machine did, or `None` when it does not run any more.
///
/// With the id it identifies a process: ids are given out again, this pair is not.
pub fn started_ticks(process_id: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat")).ok()?;
    // The command's name, in parentheses, may hold anything, parentheses and blanks included.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

fn carry_over(from: &Command, to: &mut Command) {
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
    if let Some(folder) = from.get_current_dir() {
        to.current_dir(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("60");
        command
    }

    fn wait_until_gone(process_id: u32) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while started_ticks(process_id).is_some() {
            assert!(Instant::now() < deadline, "process {process_id} still runs");
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_closed_tether_kills_the_child_and_removes_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::tethered(&sleeper(), Some(folder.path()), Output::Piped).unwrap();
        let id = process.id();
        assert!(started_ticks(id).is_some());
        drop(process.tether.take());
        process.child.wait().unwrap();
        wait_until_gone(id);
        let deadline = Instant::now() + Duration::from_secs(10);
        while folder.path().exists() {
            assert!(Instant::now() < deadline, "{} is still there", folder.path().display());
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_closed_tether_runs_the_clean_up_of_the_folder() {
        let (folder, witness) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let script = format!("echo cleaned up >> {}", witness.path().display());
        fs::write(folder.path().join(CLEAN_UP), script).unwrap();
        let mut process = Process::tethered(&sleeper(), Some(folder.path()), Output::Piped).unwrap();
        drop(process.tether.take());
        process.child.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while folder.path().exists() {
            assert!(Instant::now() < deadline, "{} is still there", folder.path().display());
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(fs::read_to_string(witness.path()).unwrap(), "cleaned up\n");
    }

    #[test]
    fn a_failed_clean_up_keeps_the_folder_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CLEAN_UP), "echo no way >&2; exit 3").unwrap();
        assert!(format!("{:#}", remove_folder(folder.path()).unwrap_err()).contains("no way"));
        fs::write(folder.path().join(CLEAN_UP), "exit 0").unwrap();
        remove_folder(folder.path()).unwrap();
        assert!(!folder.path().exists());
    }

    #[test]
    fn a_dropped_process_is_killed() {
        let process = Process::tethered(&sleeper(), None, Output::Piped).unwrap();
        let id = process.id();
        drop(process);
        wait_until_gone(id);
    }

    #[test]
    fn a_child_that_ended_by_itself_gives_its_status() {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg("exit 7");
        let mut process = Process::tethered(&command, None, Output::Piped).unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(7));
    }

    #[test]
    fn the_arguments_reach_the_child_as_they_are() {
        let mut command = Command::new("printf");
        command.args(["%s|", "two words", "$HOME", "it's"]);
        let mut process = Process::tethered(&command, None, Output::Piped).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut process.child_mut().stdout.take().unwrap(), &mut text).unwrap();
        assert_eq!(text, "two words|$HOME|it's|");
    }
}
