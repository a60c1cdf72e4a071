//! Who may log in on the LAN, and who is connected as whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::Failure;
use super::broker::ask;
use crate::broker::look::{CLIENTS_AT_ONCE_MAX, Client};
use crate::io::access::KnownUsers;
use crate::io::reporter::Reporter;
use crate::io::shard::Look;

/// Users in one answer, of some 300 bytes each; how many more there are is told.
const USERS_MAX: usize = 500;
/// Pages of clients that are looked through; beyond, the answer says that it doesn't know all.
const PAGES_MAX: usize = 8;
/// Clients of one user that are named; the others are counted.
const NAMED_MAX: usize = 5;

/// Clients that are connected under a name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Connected {
    count: usize,
    named: Vec<Arc<str>>,
}

/// By user name and, where the listener they came in at has users of its own, that listener.
type Who = (Option<Arc<str>>, Option<Arc<str>>);

/// The users with their clients.
pub(super) async fn users(reporter: &Reporter) -> Result<Json, Failure> {
    let house = ask(reporter, Look::House).await?;
    let of_door =
        |place: usize| house.doors.get(place).filter(|door| door.own_users).map(|door| door.name.clone());
    let mut connected: BTreeMap<Who, Connected> = BTreeMap::new();
    let (mut from, mut pages) = (Some(0), 0);
    while let Some(next) = from.filter(|_| pages < PAGES_MAX) {
        let max = CLIENTS_AT_ONCE_MAX;
        let found = ask(reporter, |answer| Look::Clients { from: next, max, answer }).await?;
        count(&found.clients, of_door, &mut connected);
        from = found.next;
        pages += 1;
    }
    let known = reporter.lan_users.borrow().clone();
    let (users, more) = told(&known, connected);
    Ok(json!({"users": users, "more": more, "all_counted": from.is_none()}))
}

fn count(
    clients: &[Client],
    of_door: impl Fn(usize) -> Option<Arc<str>>,
    all: &mut BTreeMap<Who, Connected>,
) {
    for client in clients {
        let Some(there) = &client.connected else { continue };
        let who = (of_door(usize::from(there.listener.0)), client.user_name.clone());
        let connected = all.entry(who).or_default();
        connected.count += 1;
        if connected.named.len() < NAMED_MAX {
            connected.named.push(client.client_id.clone());
        }
    }
}

/// Those that are known, then those that nobody lists: by a certificate, where nobody is asked, or without a name.
fn told(known: &[KnownUsers], mut connected: BTreeMap<Who, Connected>) -> (Vec<Json>, usize) {
    let mut all = Vec::new();
    for one in known {
        let of = [("config", &one.configured), ("file", &one.of_file)];
        for (source, name) in
            of.into_iter().flat_map(|(source, names)| names.iter().map(move |name| (source, name)))
        {
            let who = (one.whose.clone(), Some(Arc::from(name.as_str())));
            let there = connected.remove(&who).unwrap_or_default();
            all.push(user(Some(name), one.whose.as_deref(), Some(source), &there));
        }
    }
    for ((listener, name), there) in &connected {
        all.push(user(name.as_deref(), listener.as_deref(), None, there));
    }
    let more = all.len().saturating_sub(USERS_MAX);
    all.truncate(USERS_MAX);
    (all, more)
}

fn user(name: Option<&str>, listener: Option<&str>, source: Option<&str>, there: &Connected) -> Json {
    json!({
        "name": name,
        "listener": listener,
        "source": source,
        "connected": there.count,
        "clients": there.named.iter().map(|client| &**client).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_told_with_their_clients_and_so_are_clients_that_no_list_names() {
        let known = [
            KnownUsers { whose: None, configured: vec!["plc".into()], of_file: vec!["anna".into()] },
            KnownUsers { whose: Some("panel".into()), configured: vec!["plc".into()], of_file: Vec::new() },
        ];
        let there = |count, named: &[&str]| Connected {
            count,
            named: named.iter().map(|name| Arc::from(*name)).collect(),
        };
        let connected = BTreeMap::from([
            ((None, Some(Arc::from("plc"))), there(2, &["a", "b"])),
            ((Some(Arc::from("panel")), Some(Arc::from("plc"))), there(1, &["c"])),
            ((None, None), there(7, &["x"])),
        ]);
        let (users, more) = told(&known, connected);
        let short: Vec<String> = users
            .iter()
            .map(|user| {
                format!("{} {} {} {}", user["name"], user["listener"], user["source"], user["connected"])
            })
            .collect();
        assert_eq!(
            short,
            [
                "\"plc\" null \"config\" 2",
                "\"anna\" null \"file\" 0",
                "\"plc\" \"panel\" \"config\" 1",
                "null null null 7",
            ]
        );
        assert_eq!(more, 0);
        let many = KnownUsers {
            of_file: (0..USERS_MAX + 3).map(|n| n.to_string()).collect(),
            ..KnownUsers::default()
        };
        let (users, more) = told(&[many], BTreeMap::new());
        assert_eq!((users.len(), more), (USERS_MAX, 3));
    }
}
