//! How another thread asks: a bounded channel to the service thread, and one answer each.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_local;

use super::{Desk, Failure, Looking, Request, ports};
use crate::said;

/// Questions that wait for the service thread; further ones are told to come back. Each is a few hundred bytes.
const WAITING_MAX: usize = 32;

/// Questions that are being answered at once: some of them wait for the store. Further ones wait.
const AT_WORK_MAX: usize = 8;

/// Whoever has no answer by then is told to come back: a page must not hang.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for what may take long.
const PATIENCE_LONG: Duration = Duration::from_secs(60);

/// What is asked, and the place for the answer.
#[derive(Debug)]
pub struct Question(Asked);

#[derive(Debug)]
enum Asked {
    /// A request.
    Request(Box<Request>, oneshot::Sender<Result<Json, Failure>>),
    /// To look on at a port.
    LookOn(String, oneshot::Sender<Result<Looking, Failure>>),
}

/// Asks from any thread.
#[derive(Clone, Debug)]
pub struct Asker(mpsc::Sender<Question>);

/// An asker, and what is to be served.
#[must_use]
pub fn asker() -> (Asker, mpsc::Receiver<Question>) {
    let (sender, questions) = mpsc::channel(WAITING_MAX);
    (Asker(sender), questions)
}

impl Asker {
    /// Has a request answered; never takes longer than the operation may.
    ///
    /// # Errors
    /// [`Failure`]: what the operation said, or that the gateway is busy.
    pub async fn ask(&self, mut request: Request) -> Result<Json, Failure> {
        request.by.get_or_insert_with(|| super::By { name: "page".to_owned(), address: String::new() });
        let patience = if request.op.row().long { PATIENCE_LONG } else { PATIENCE };
        self.answered(patience, |answer| Asked::Request(Box::new(request), answer)).await
    }

    /// Looks on at what passes over a port, as operation `trace` does.
    ///
    /// # Errors
    /// [`Failure`]: there is no such port, too many look on, or the gateway is busy.
    pub async fn look_on(&self, port: &str) -> Result<Looking, Failure> {
        self.answered(PATIENCE, |answer| Asked::LookOn(port.to_owned(), answer)).await
    }

    async fn answered<T>(
        &self,
        patience: Duration,
        asked: impl FnOnce(oneshot::Sender<Result<T, Failure>>) -> Asked,
    ) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        if self.0.try_send(Question(asked(answer))).is_err() {
            return Err(Failure::busy(said!(
                "busy_questions",
                "the gateway is busy with other questions; ask again"
            )));
        }
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Failure::busy(said!("stopping", "the gateway is stopping"))),
            Err(_) => Err(Failure::busy(said!("busy", "the gateway is busy; ask again"))),
        }
    }
}

/// Answers until nobody can ask any more.
pub async fn serve(desk: Desk, mut questions: mpsc::Receiver<Question>) {
    let room = Arc::new(Semaphore::new(AT_WORK_MAX));
    while let Some(Question(asked)) = questions.recv().await {
        let (request, answer) = match asked {
            Asked::Request(request, answer) => (*request, answer),
            Asked::LookOn(port, answer) => {
                // Whoever has given up meanwhile looks on no more.
                let _ = answer.send(ports::look_on(&port, &desk.reporter));
                continue;
            }
        };
        // Whoever has given up meanwhile costs nothing.
        if answer.is_closed() {
            continue;
        }
        let Ok(at_work) = room.clone().acquire_owned().await else { return };
        let desk = desk.clone();
        spawn_local(async move {
            let answered = desk.answer(request).await;
            let _ = answer.send(answered);
            drop(at_work);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::operations::{FailureKind, Operation};

    #[tokio::test]
    async fn who_asks_a_gateway_with_many_questions_is_told_so_at_once() {
        let (asker, questions) = asker();
        let waiting: Vec<_> = (0..WAITING_MAX)
            .map(|_| {
                let asker = asker.clone();
                tokio::spawn(async move { asker.ask(Request::new(Operation::Status)).await })
            })
            .collect();
        tokio::task::yield_now().await;
        let full = asker.ask(Request::new(Operation::Status)).await.unwrap_err();
        assert_eq!(full.kind, FailureKind::Busy);
        assert!(full.message.to_string().contains("other questions"), "{}", full.message);
        drop(questions);
        for one in waiting {
            assert!(one.await.unwrap().unwrap_err().message.to_string().contains("stopping"));
        }
    }
}
