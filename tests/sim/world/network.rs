//! The networks: towards upstream, and of the LAN.

use std::collections::VecDeque;

use fieldgate::bridge;
use fieldgate::broker::{self, ConnId};

use super::settings::{BATCH, broker_config};
use super::{Event, World};

/// The network between the gateway and its upstream.
#[derive(Debug, Default)]
pub struct LinkModel {
    pub conn: u64,
    pub open: bool,
    pub last_up: u64,
    pub last_down: u64,
}

/// A LAN connection.
#[derive(Debug)]
pub struct Conn {
    pub client: usize,
    pub last_in: u64,
    pub last_out: u64,
    pub paused: bool,
    pub held: VecDeque<Vec<u8>>,
    pub buffered: usize,
    pub was_full: bool,
}

impl World {
    // The link.

    pub fn opened(&mut self, ok: bool) {
        if !ok {
            let failed = bridge::Input::ConnectFailed { error: "connection refused", permanent: false };
            return self.tell_bridge(failed);
        }
        self.link.open = true;
        self.link.last_up = self.time;
        self.link.last_down = self.time;
        self.tell_bridge(bridge::Input::Connected);
        if self.plan.cuts && self.chance(2) {
            let micros = self.random.u64(0..3_000_000);
            self.after(micros, Event::Cut(self.link.conn));
        }
    }

    pub fn end_link(&mut self) {
        if self.link.open {
            let together = if self.plan.batch { u64::from(BATCH.messages_max) } else { 1 };
            self.truth.duplicates_allowed += u64::from(self.bridge_config().inflight_max) * together;
        }
        self.link.open = false;
        self.link.conn += 1;
        let forgets = self.plan.session_loss && self.chance(3);
        self.upstream.connection_ends(forgets);
    }

    // LAN connections.

    pub fn open_conn(&mut self, client: usize) -> u32 {
        self.next_conn += 1;
        let conn = Conn {
            client,
            last_in: self.time,
            last_out: self.time,
            paused: false,
            held: VecDeque::new(),
            buffered: 0,
            was_full: false,
        };
        self.conns.insert(self.next_conn, conn);
        self.next_conn
    }

    pub fn client_sent(&mut self, conn: u32, bytes: Vec<u8>) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        if c.paused || !c.held.is_empty() {
            return c.held.push_back(bytes);
        }
        let (head, tail) = bytes.split_at(self.random.usize(0..=bytes.len()));
        self.tell_broker(broker::Input::Bytes { conn: ConnId(conn), bytes: head });
        // What is read may be what makes the broker pause: then the rest waits.
        match self.conns.get_mut(&conn) {
            Some(c) if c.paused => c.held.push_front(tail.to_vec()),
            Some(_) => self.tell_broker(broker::Input::Bytes { conn: ConnId(conn), bytes: tail }),
            None => {}
        }
    }

    pub fn client_gets(&mut self, conn: u32, bytes: &[u8]) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        c.buffered -= bytes.len();
        let client = c.client;
        let buffered = c.buffered;
        let drained = c.was_full && buffered < broker_config().out_buffer_bytes_max / 2;
        c.was_full &= !drained;
        self.out.buffered.insert(conn, buffered);
        if drained {
            self.tell_broker(broker::Input::Drained { conn: ConnId(conn) });
        }
        if self.clients[client].conn == Some(conn) {
            self.client_reads(client, bytes);
        }
    }

    pub fn cut_client(&mut self, conn: u32) {
        let Some(client) = self.conns.get(&conn).map(|conn| conn.client) else { return };
        if self.clients[client].conn != Some(conn) {
            return;
        }
        self.client_lost(client);
        // The broker learns of it at once, or so late that the client is back before.
        let micros = if self.random.bool() { 0 } else { self.random.u64(0..2_000_000) };
        self.happened.takeovers += u64::from(micros > 800_000);
        self.after(micros, Event::BrokerClosed(conn));
    }
}
