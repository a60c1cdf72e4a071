//! Which version this is, and for how long it gets fixes.

/// For how long, in one sentence; a macro because other texts are made of it. `.github/SECURITY.md` says the same.
macro_rules! support {
    () => {
        "security fixes while it is the newest 0.x, and for six months after the next one came out"
    };
}

/// The version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// For how long it gets fixes.
pub const SUPPORT: &str = support!();

/// Both, as `fieldgate --version` says it.
pub const LONG: &str = concat!(env!("CARGO_PKG_VERSION"), "\nSupport: ", support!());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_is_what_the_security_policy_says() {
        // A version from 1.0 on has another promise.
        assert!(VERSION.starts_with("0."), "{VERSION}");
        assert!(include_str!("../.github/SECURITY.md").contains(SUPPORT));
        assert!(LONG.ends_with(SUPPORT));
        assert!(include_str!("web/texts/en.toml").contains(SUPPORT));
        // The same in German: six months stand there too.
        assert!(include_str!("web/texts/de.toml").contains("sechs Monate nach der nächsten"));
    }
}
