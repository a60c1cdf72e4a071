//! Style, script and picture of the page, which are part of the program. Their folder is named after their content, so
//! that a browser may keep them for ever, and gets others with another version.

use std::sync::OnceLock;

use axum::http::{HeaderValue, StatusCode, header};

use super::call::Call;
use super::reply::{Refusal, Reply, typed};
use crate::hex;
use crate::people::digest_of;

/// All of them: name, type, content.
const ASSETS: &[(&str, &str, &[u8])] = &[
    ("app.css", "text/css; charset=utf-8", include_bytes!("assets/app.css")),
    ("app.js", "text/javascript; charset=utf-8", include_bytes!("assets/app.js")),
    ("sensors.js", "text/javascript; charset=utf-8", include_bytes!("assets/sensors.js")),
    ("upstreams.js", "text/javascript; charset=utf-8", include_bytes!("assets/upstreams.js")),
    ("start.css", "text/css; charset=utf-8", include_bytes!("assets/start.css")),
    ("start.js", "text/javascript; charset=utf-8", include_bytes!("assets/start.js")),
    ("config.css", "text/css; charset=utf-8", include_bytes!("assets/config.css")),
    ("config.js", "text/javascript; charset=utf-8", include_bytes!("assets/config.js")),
    ("port.css", "text/css; charset=utf-8", include_bytes!("assets/port.css")),
    ("port.js", "text/javascript; charset=utf-8", include_bytes!("assets/port.js")),
    ("backup.js", "text/javascript; charset=utf-8", include_bytes!("assets/backup.js")),
    ("pending.js", "text/javascript; charset=utf-8", include_bytes!("assets/pending.js")),
    ("broker.js", "text/javascript; charset=utf-8", include_bytes!("assets/broker.js")),
    ("topics.js", "text/javascript; charset=utf-8", include_bytes!("assets/topics.js")),
    ("follow.js", "text/javascript; charset=utf-8", include_bytes!("assets/follow.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
];

/// The folder's name.
pub(super) fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let all: Vec<u8> = ASSETS.iter().flat_map(|(_, _, content)| content.iter().copied()).collect();
        hex::encode(&digest_of(&all)).chars().take(12).collect()
    })
}

pub(super) async fn asset(call: Call) -> Result<Reply, Refusal> {
    let wanted = call.argument("file").unwrap_or_default();
    if call.argument("version") != Some(version()) {
        return Err(Refusal::not_found());
    }
    let (_, kind, content) =
        ASSETS.iter().find(|(name, ..)| *name == wanted).ok_or_else(Refusal::not_found)?;
    let tag = format!("\"{}\"", version());
    let is_known =
        call.header("if-none-match").is_some_and(|known| known.split(',').any(|one| one.trim() == tag));
    let mut reply = if is_known { typed(kind, Vec::new()) } else { typed(kind, *content) };
    if is_known {
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = reply.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_weighs_less_than_200_kb_and_asks_nobody_else() {
        let weight: usize = ASSETS.iter().map(|(_, _, content)| content.len()).sum();
        assert!(weight < 150_000, "{weight} bytes before the page itself");
        for (name, _, content) in ASSETS {
            let text = String::from_utf8_lossy(content).replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("http://") && !text.contains("https://"), "{name} names another host");
        }
    }
}
