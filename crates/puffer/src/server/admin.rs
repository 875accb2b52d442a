//! The administration socket: what `puffer status`, `puffer explain`, `puffer spot` and `puffer zone` ask of a
//! running server.
//!
//! One JSON line each way on a unix socket of mode 0600 in the data directory, so the file system says who may ask.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::operator::{Order, Outcome};
use super::report::{ExplainReport, StatusReport};

/// A question is far shorter.
const QUESTION_BYTES_MAX: u64 = 64 * 1024;
/// The status of a great fleet is long, but not endless.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// From connection to answer.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Questions answered at a time.
const QUESTIONS_MAX: usize = 8;

/// A question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// The whole picture.
    Status,
    /// Why: an activity's id or a group's name.
    Explain {
        /// Which.
        what: String,
    },
    /// Simulated instances: let something happen.
    Simulate(Box<super::simulate::Simulate>),
    /// The newest events, oldest first.
    Events {
        /// Only of this group.
        group: Option<String>,
        /// At most so many.
        most: usize,
    },
    /// Something for the person who runs the machines.
    Order(Order),
    /// End the server (instances and balancers go on).
    Stop,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// To [`Question::Status`].
    Status(Box<StatusReport>),
    /// To [`Question::Explain`].
    Explained(ExplainReport),
    /// To [`Question::Simulate`].
    Done,
    /// To [`Question::Events`]: as EventBridge has them.
    Events(Vec<serde_json::Value>),
    /// To [`Question::Order`].
    Outcome(Outcome),
    /// To [`Question::Stop`].
    Stopping,
    /// The question cannot be answered; why.
    Error(String),
}

/// What answers questions.
pub(crate) type Answers = dyn Fn(Question) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// Answers questions with `answer` until dropped.
pub(crate) async fn serve(path: &Path, answer: Arc<Answers>) -> anyhow::Result<()> {
    // The data directory's lock is ours, so a socket there is left over from a server that died.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let slots = Arc::new(Semaphore::new(QUESTIONS_MAX));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let (stream, _) = listener.accept().await?;
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            if let Err(error) = tokio::time::timeout(EXCHANGE_TIMEOUT, exchange(stream, &*answer)).await {
                tracing::debug!(%error, "a question on the administration socket took too long");
            }
            drop(slot);
        });
    }
}

async fn exchange(mut stream: UnixStream, answer: &Answers) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = String::new();
    BufReader::new(reader.take(QUESTION_BYTES_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(question) => answer(question).await,
        Err(error) => Answer::Error(format!("not a question: {error}")),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await?;
    Ok(())
}

/// Asks the server at `path`.
pub(crate) fn ask(path: &Path, question: &Question) -> anyhow::Result<Answer> {
    use std::io::{BufRead, Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(path).map_err(|e| {
        anyhow::anyhow!("no server answers at {} ({e}); is puffer serve running?", path.display())
    })?;
    stream.set_read_timeout(Some(EXCHANGE_TIMEOUT))?;
    stream.set_write_timeout(Some(EXCHANGE_TIMEOUT))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    std::io::BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut answer)?;
    match serde_json::from_str(&answer)? {
        Answer::Error(why) => anyhow::bail!(why),
        answer => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn questions_get_answers_and_nonsense_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let answer: Arc<Answers> = Arc::new(|q: Question| {
            Box::pin(std::future::ready(match q {
                Question::Stop => Answer::Stopping,
                _ => Answer::Error("no".into()),
            }))
        });
        let serving = tokio::spawn({
            let path = path.clone();
            async move { serve(&path, answer).await }
        });
        while !path.exists() {
            tokio::task::yield_now().await;
        }
        let asked = tokio::task::spawn_blocking(move || {
            let stopping = ask(&path, &Question::Stop);
            let refused = ask(&path, &Question::Status).unwrap_err().to_string();
            (stopping, refused)
        });
        let (stopping, refused) = asked.await.unwrap();
        assert!(matches!(stopping.unwrap(), Answer::Stopping));
        assert_eq!(refused, "no");
        serving.abort();
    }
}
