//! Who changes the config, from where, and how he wants it done.

/// Who wants something of the config, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The account, the client, or what somebody with the control socket calls himself.
    pub who: Option<String>,
    /// The way that the request came, for the history: `the page`, `MQTT`, `uid 0`.
    pub way: String,
    /// From where exactly, for the events: the address of a browser, `control socket, uid 0`, `MQTT`.
    pub address: String,
}

impl Origin {
    /// One line, for the history.
    #[must_use]
    pub fn words(&self) -> String {
        self.who.as_ref().map_or_else(|| self.way.clone(), |who| format!("{who} ({})", self.way))
    }
}

/// How a change is to be made.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// Who makes it.
    pub origin: Origin,
    /// Why, in that person's words.
    pub note: Option<String>,
    /// Whether what changes is tried first.
    pub probe: bool,
    /// Whether it is made even if the try fails.
    pub force: bool,
}
