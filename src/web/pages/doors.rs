//! The pages in front of the others: login, and the claim of a gateway that nobody has yet.

use askama::Template;

use super::status::list;
use super::{Frame, rendered};
use crate::io::lock::Locked;
use crate::io::operations::{Operation, Request};
use crate::people::PASSWORD_CHARS_MIN;
use crate::web::call::Call;
use crate::web::reply::{Refusal, Reply};

#[derive(Template)]
#[template(path = "login.html", config = "src/web/askama.toml")]
struct Login {
    frame: Frame,
    next: String,
}

pub(in crate::web) async fn login(call: Call) -> Result<Reply, Refusal> {
    let next = call.argument("next").filter(|next| is_ours(next)).unwrap_or("/").to_owned();
    rendered(&call, &Login { frame: Frame::of(&call, "login.title"), next })
}

/// Whether a path leads to a page of this gateway, and not, as `//elsewhere`, to another's.
fn is_ours(next: &str) -> bool {
    next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n', '\t'])
}

#[derive(Template)]
#[template(path = "setup.html", config = "src/web/askama.toml")]
struct Setup {
    frame: Frame,
    is_open: bool,
    characters_min: usize,
    /// Where the claim leads: a gateway that was set up beforehand needs no steps.
    then: &'static str,
}

pub(in crate::web) async fn setup(call: Call) -> Result<Reply, Refusal> {
    let is_open = call.web.people.locked().is_claim_open(call.web.clock.now().mono);
    let status = call.ask(Request::new(Operation::Status)).await.unwrap_or_default();
    let has_any = |key: &str| !list(&status, key).is_empty();
    let is_new = !has_any("devices") && !has_any("upstreams");
    let page = Setup {
        frame: Frame::of(&call, "setup.title"),
        is_open,
        characters_min: PASSWORD_CHARS_MIN,
        then: if is_new { "/start" } else { "/" },
    };
    rendered(&call, &page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_login_one_stays_on_this_gateway() {
        for good in ["/", "/config?x=1", "/a/b"] {
            assert!(is_ours(good), "{good}");
        }
        for bad in [
            "",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "javascript:x",
        ] {
            assert!(!is_ours(bad), "{bad}");
        }
    }
}
