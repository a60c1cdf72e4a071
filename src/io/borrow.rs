//! Lines of the running gateway, lent for a while to somebody else: a scan, a probe of another config.
//!
//! The task of each port has a [`Desk`] and waits at it. Whoever wants a port's line asks [`Loans::borrow`]; the task
//! closes the line, tells its machine, and the asker has a [`Loan`]. From then on the asker may open what
//! [`Loan::config`] says. The task has the line back when the loan is dropped, or when its time is over: see
//! [`Loan::over`]. Other ports know nothing of it.
//!
//! ```text
//! asker                       port's task
//!   borrow ── who, how long ──▶ closes, Input::Borrowed
//!   Loan ◀────────────────────  waits
//!   opens, asks, closes
//!   drop, or time over ───────▶ Input::Returned, opens
//! ```

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::limits::LOAN_MAX;
use crate::sensor::PortConfig;

/// A port's task hears of one asker at a time; a second one is refused.
const ASKERS_MAX: usize = 1;

/// A port's task that writes is asked again within this; longer, and it hangs.
const GRANT_MAX: Duration = Duration::from_secs(8);

/// Who lends which port. Lives on the service thread.
#[derive(Debug, Default)]
pub struct Loans {
    /// By the port's name.
    lenders: RefCell<HashMap<Arc<str>, Lender>>,
}

/// A port, and the way to its desk.
#[derive(Clone, Debug)]
struct Lender {
    config: PortConfig,
    desk: mpsc::Sender<Wish>,
}

/// Somebody wants a line.
#[derive(Debug)]
struct Wish {
    by: Arc<str>,
    until: Instant,
    granted: oneshot::Sender<()>,
    returned: oneshot::Receiver<()>,
}

/// Where a port's task hears that its line is wanted.
#[derive(Debug)]
pub struct Desk {
    wishes: mpsc::Receiver<Wish>,
    lent: Option<Lent>,
}

#[derive(Debug)]
struct Lent {
    until: Instant,
    returned: oneshot::Receiver<()>,
}

/// What has happened at a desk.
#[derive(Debug)]
pub enum Event {
    /// The line is wanted: close it, then [`Desk::lend`].
    Wanted(Asker),
    /// It is back.
    Returned,
}

/// Who wants a line and waits for it.
#[derive(Debug)]
pub struct Asker(Wish);

impl Asker {
    /// Who it is, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.by
    }
}

/// A line that is lent; given back when dropped.
#[derive(Debug)]
pub struct Loan {
    config: PortConfig,
    until: Instant,
    _returned: oneshot::Sender<()>,
}

impl Loans {
    /// The desk of a port, whose task waits there as long as it runs. An earlier one of that name is closed.
    #[must_use]
    pub fn desk(&self, config: &PortConfig) -> Desk {
        let (desk, wishes) = mpsc::channel(ASKERS_MAX);
        let lender = Lender { config: config.clone(), desk };
        self.lenders.borrow_mut().insert(config.name.clone(), lender);
        Desk { wishes, lent: None }
    }

    /// What a port that can be borrowed is told; `None`: there is none of that name.
    #[must_use]
    pub fn config(&self, port: &str) -> Option<PortConfig> {
        self.lender(port).map(|lender| lender.config)
    }

    fn lender(&self, port: &str) -> Option<Lender> {
        self.lenders.borrow().get(port).filter(|lender| !lender.desk.is_closed()).cloned()
    }

    /// Borrows a port's line for at most so long, [`LOAN_MAX`] in any case. When this returns the gateway has closed it.
    /// `by` is what people see: "a scan".
    ///
    /// # Errors
    /// In words: there is no such port, somebody has it already, or its task hangs.
    pub async fn borrow(&self, port: &str, by: &str, span: Duration) -> Result<Loan, String> {
        let Some(Lender { config, desk }) = self.lender(port) else {
            return Err(format!("there is no port {port:?} that can be borrowed"));
        };
        let until = Instant::now() + span.min(LOAN_MAX);
        let (granted, grant) = oneshot::channel();
        let (back, returned) = oneshot::channel();
        let wish = Wish { by: Arc::from(by), until, granted, returned };
        let taken = || format!("port {port:?} is borrowed by somebody else already");
        desk.try_send(wish).map_err(|_| taken())?;
        match tokio::time::timeout(GRANT_MAX, grant).await {
            Ok(Ok(())) => Ok(Loan { config, until, _returned: back }),
            Ok(Err(_)) => Err(taken()),
            Err(_) => Err(format!("port {port:?} did not let go of its line within {GRANT_MAX:?}")),
        }
    }
}

impl Desk {
    /// Waits until somebody wants the line, or gives it back. Cancel safe. Never completes where nobody can ask any more.
    pub async fn next(&mut self) -> Event {
        loop {
            let Some(lent) = &mut self.lent else {
                match self.wishes.recv().await {
                    // Whoever has gone meanwhile needs nothing.
                    Some(wish) if wish.granted.is_closed() => continue,
                    Some(wish) => return Event::Wanted(Asker(wish)),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = &mut lent.returned => {}
                () = tokio::time::sleep_until(lent.until) => {}
                // A second asker is refused: its wish is dropped, which it hears.
                Some(_) = self.wishes.recv() => continue,
            }
            self.lent = None;
            return Event::Returned;
        }
    }

    /// The line is closed: the asker may have it.
    pub fn lend(&mut self, asker: Asker) {
        let Asker(Wish { until, granted, returned, .. }) = asker;
        // Of one that has gone it is back at once.
        let _ = granted.send(());
        self.lent = Some(Lent { until, returned });
    }

    /// Whether somebody has the line.
    #[must_use]
    pub const fn is_lent(&self) -> bool {
        self.lent.is_some()
    }
}

impl Loan {
    /// The port as its config has it.
    #[must_use]
    pub const fn config(&self) -> &PortConfig {
        &self.config
    }

    /// Completes when the time of the loan is over: whoever still has the line open must close it, for the gateway opens it
    /// again.
    pub async fn over(&self) {
        tokio::time::sleep_until(self.until).await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::io::scan::unnamed_port;

    fn config(name: &str) -> PortConfig {
        PortConfig { name: Arc::from(name), ..unnamed_port("/dev/x") }
    }

    const SPAN: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test(flavor = "current_thread")]
    async fn a_line_is_back_when_it_is_given_back_or_its_time_is_over_and_one_has_it_at_a_time() {
        let loans = Loans::default();
        let mut desk = loans.desk(&config("a"));
        let unknown = loans.borrow("b", "a scan", LONG).await.unwrap_err();
        assert!(unknown.contains("no port \"b\""), "{unknown}");
        let lend = async |desk: &mut Desk| {
            let Event::Wanted(asker) = desk.next().await else { panic!("nobody asks") };
            assert_eq!(asker.name(), "a scan");
            desk.lend(asker);
            assert!(desk.is_lent());
        };
        let (loan, ()) = tokio::join!(loans.borrow("a", "a scan", LONG), lend(&mut desk));
        let loan = loan.unwrap();
        assert_eq!(loan.config().path, "/dev/x");
        {
            let mut waiting = pin!(desk.next());
            let second = tokio::select! {
                second = loans.borrow("a", "another", LONG) => second.unwrap_err(),
                _ = &mut waiting => panic!("it is not back yet"),
            };
            assert!(second.contains("borrowed by somebody else"), "{second}");
            drop(loan);
            assert!(matches!(waiting.await, Event::Returned));
        }
        assert!(!desk.is_lent());
        let began = Instant::now();
        let (loan, ()) = tokio::join!(loans.borrow("a", "a scan", SPAN), lend(&mut desk));
        let loan = loan.unwrap();
        let (back, ()) = tokio::join!(desk.next(), loan.over());
        assert!(matches!(back, Event::Returned));
        assert!(began.elapsed() >= SPAN);
        drop(desk);
        assert!(loans.borrow("a", "a scan", LONG).await.is_err(), "its task has ended");
    }
}
