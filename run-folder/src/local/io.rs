//! A few threads that do file work, one piece after the other. A pool that starts a thread for every waiting call pays more for
//! waking and switching threads than for the files of a short trial.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The threads; started with the first piece of work, gone with the last clone.
#[derive(Debug, Clone)]
pub(crate) struct Io {
    threads: usize,
    // Unbounded, and yet bounded by the callers: each waits for its own piece of work.
    jobs: Arc<OnceLock<Mutex<Sender<Job>>>>,
}

impl Io {
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads, jobs: Arc::default() }
    }

    /// Does a piece of work and waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Whoever waited may be gone; the work is done all the same.
            let _ = answer.send(work());
        });
        let jobs = self.jobs.get_or_init(|| Mutex::new(start(self.threads)));
        let sent = jobs.lock().unwrap_or_else(PoisonError::into_inner).send(job);
        sent.map_err(|_| io::Error::other("no thread for file work"))?;
        answered.await.map_err(|_| io::Error::other("a thread for file work died"))?
    }
}

fn start(threads: usize) -> Sender<Job> {
    let (jobs, queue) = channel::<Job>();
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..threads {
        let queue = Arc::clone(&queue);
        let work = move || {
            loop {
                let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(job) = job else { return };
                job();
            }
        };
        if let Err(error) = std::thread::Builder::new().name("run-folder".to_owned()).spawn(work) {
            tracing::warn!(%error, "could not start a thread for file work");
        }
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_work_is_done_and_answered() {
        let io = Io::new(2);
        let done = futures::future::join_all((0..1000).map(|number| io.run(move || Ok(number)))).await;
        assert_eq!(done.into_iter().map(Result::unwrap).sum::<i32>(), 499_500);
        let failed: io::Result<()> = io.run(|| Err(io::ErrorKind::NotFound.into())).await;
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
