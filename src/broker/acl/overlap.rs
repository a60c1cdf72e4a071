//! Topic filters among themselves: what two have in common, and whether one covers another.

/// The filter that matches exactly the topic names that both match; `None` if there are none. Two filters have
/// always one such filter in common, since each level is either fixed, or any, or the rest.
pub(super) fn intersection(a: &str, b: &str) -> Option<String> {
    // 4.7.2-1: a wildcard in the first level matches no name that starts with `$`.
    let is_wild = |filter: &str| filter.starts_with(['+', '#']);
    if is_wild(a) && b.starts_with('$') || is_wild(b) && a.starts_with('$') {
        return None;
    }
    let (mut a, mut b) = (a.split('/').peekable(), b.split('/').peekable());
    let mut common: Vec<&str> = Vec::new();
    loop {
        match (a.next(), b.next()) {
            (None, None) => break,
            // `x/#` matches `x` too (4.7.1.2).
            (None, Some("#")) | (Some("#"), None) => break,
            (None, Some(_)) | (Some(_), None) => return None,
            (Some("#"), Some(level)) => {
                common.push(level);
                common.extend(b);
                break;
            }
            (Some(level), Some("#")) => {
                common.push(level);
                common.extend(a);
                break;
            }
            (Some("+"), Some(level)) | (Some(level), Some("+")) => common.push(level),
            (Some(x), Some(y)) if x == y => common.push(x),
            _ => return None,
        }
    }
    Some(common.join("/"))
}

/// Whether every topic name that `narrow` matches is matched by `wide` too.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    if wide.starts_with(['+', '#']) && narrow.starts_with('$') {
        return false;
    }
    // Every name has a first level.
    if wide == "+/#" && narrow == "#" {
        return true;
    }
    let mut narrow = narrow.split('/');
    for level in wide.split('/') {
        match (level, narrow.next()) {
            ("#", _) => return true,
            ("+", Some(other)) if other != "#" => {}
            (level, Some(other)) if level == other => {}
            _ => return false,
        }
    }
    narrow.next().is_none()
}
