//! Clients whose certificates count no longer while they are connected.

use rustls::pki_types::CertificateDer;

use super::Shard;
use crate::broker::{ConnId, Input, ListenerId};

impl Shard {
    /// Disconnects the clients of a listener whose certificates, its own first, are `shut_out`; how many.
    pub(in crate::io) fn turn_out(
        &self,
        listener: ListenerId,
        shut_out: impl Fn(&[CertificateDer<'_>]) -> bool,
    ) -> usize {
        let revoked: Vec<ConnId> = {
            let core = self.core.borrow();
            let slots = (0..).map(ConnId).zip(&core.slots);
            let here = slots.filter(|(_, slot)| slot.listener == Some(listener) && !slot.closing);
            here.filter(|(_, slot)| slot.link.as_ref().is_some_and(|link| link.has_certificates(&shut_out)))
                .map(|(conn, _)| conn)
                .collect()
        };
        for conn in &revoked {
            self.input(Input::TurnOut { conn: *conn });
        }
        revoked.len()
    }
}
