//! The walker: TOML and schema in, typed sections out, and every mistake of form noted on the way: unknown keys,
//! wrong types, values out of range, what is missing. Mistakes of meaning (a name that is taken, a port that
//! isn't there) are found where the sections become settings.

use toml::de::{DeTable, DeValue};

use super::Source;
use super::mistake::{Mistakes, Span, quoted};
use super::profile::{self, Profile};
use super::schema::{Absent, Key, Kind, ROOT, TAG, Table, each_table};
use super::section::{Entry, Section, Value};
use super::suggest::nearest;
use super::value;

/// What people call pre-shared keys, Mosquitto's words among them.
const PRE_SHARED_KEY: [&str; 4] = ["psk", "psk_file", "psk_hint", "psk_identity"];

/// A key or value as the TOML parser gives it.
pub(super) type Spanned<T> = toml::Spanned<T>;

/// Reads all sources into one section for the top level, defaults filled in. `None`: a source isn't TOML, so that
/// nobody can say what it lacks.
pub(super) fn read(sources: &[Source], profiles: &[Profile], mistakes: &mut Mistakes<'_>) -> Option<Section> {
    let mut all = Section::new(&ROOT, Span::default());
    let mut is_toml = true;
    for (index, source) in sources.iter().enumerate() {
        let (document, errors) = DeTable::parse_recoverable(&source.text);
        let mut walker = Walker { source: index, text: &source.text, pinned: None, mistakes };
        let section = walker.table(&ROOT, document.get_ref(), Span { source: index, start: 0, end: 0 });
        if errors.is_empty() {
            merge(&mut all, section, mistakes);
        } else {
            is_toml = false;
            syntax(index, &errors, mistakes);
        }
    }
    if !is_toml {
        return None;
    }
    profile::apply(&mut all, profiles, sources.len(), mistakes);
    complete(&mut all, mistakes);
    Some(all)
}

/// Reads one text of another shape, without defaults. Everything in it is said to stand at `pinned`, if that is given.
/// `None`: it isn't TOML.
pub(super) fn document(
    source: usize,
    text: &str,
    table: &'static Table,
    pinned: Option<Span>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Section> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut walker = Walker { source, text, pinned, mistakes };
    let section = walker.table(table, document.get_ref(), Span { source, start: 0, end: 0 });
    if errors.is_empty() {
        return Some(section);
    }
    syntax(source, &errors, mistakes);
    None
}

/// Notes the syntax errors of a source. What the walker found after the first of them is forgotten: it may be a
/// mere consequence.
fn syntax(source: usize, errors: &[toml::de::Error], mistakes: &mut Mistakes<'_>) {
    let span_of = |error: &toml::de::Error| {
        let range = error.span().unwrap_or_default();
        Span { source, start: range.start, end: range.end }
    };
    if let Some(first) = errors.iter().map(|error| mistakes.line_of(span_of(error)).0).min() {
        mistakes.forget_from(source, first);
    }
    for error in errors {
        mistakes.add(span_of(error), format!("this is not TOML: {}", error.message()));
    }
}

/// Puts a source's section into what the sources before it gave: tables join, lists add up, a value that is there
/// already is a mistake.
fn merge(all: &mut Section, section: Section, mistakes: &mut Mistakes<'_>) {
    for (name, entry) in section.entries {
        let Some(there) = all.entries.get_mut(name) else {
            all.entries.insert(name, entry);
            continue;
        };
        match (&mut there.value, entry.value) {
            (Value::Table(there), Value::Table(table)) => merge(there, table, mistakes),
            (Value::Tables(there), Value::Tables(tables)) => there.extend(tables),
            (Value::Mistaken, value) => there.value = value,
            (_, Value::Mistaken) => {}
            (..) => {
                let place = mistakes.place(there.key);
                mistakes.add(
                    entry.key,
                    format!("{} is also in {place}; a key may stand in one file only", quoted(name)),
                );
            }
        }
    }
}

/// Fills in the defaults, and notes what is required and absent, in this section and below.
fn complete(section: &mut Section, mistakes: &mut Mistakes<'_>) {
    for key in section.table.keys {
        if let Some(entry) = section.entries.get_mut(key.name) {
            count(&key.kind, &mut entry.value, mistakes);
            continue;
        }
        match key.absent {
            Absent::Required(example) => mistakes.add_with_help(
                section.span,
                format!("{} has no {}", section.table.name, quoted(key.name)),
                format!("add {}", assignment(key, example)),
            ),
            Absent::Default(text) => {
                if let Some(value) = default_value(key, text, section.span, mistakes) {
                    let entry = Entry { key: section.span, span: section.span, value, given: false };
                    section.entries.insert(key.name, entry);
                }
            }
            Absent::Computed(_) | Absent::None => {}
        }
    }
    for entry in section.entries.values_mut() {
        match &mut entry.value {
            Value::Table(section) | Value::Tagged(_, section) => complete(section, mistakes),
            Value::Tables(sections) => sections.iter_mut().for_each(|section| complete(section, mistakes)),
            _ => {}
        }
    }
}

/// Notes more tables than there may be, all files taken together, and drops those beyond.
fn count(kind: &Kind, value: &mut Value, mistakes: &mut Mistakes<'_>) {
    match (kind, value) {
        (Kind::OneOf(kinds), value) => kinds.iter().for_each(|kind| count(kind, value, mistakes)),
        (Kind::Tables { table, count_max }, Value::Tables(sections)) => {
            if let Some(first_too_many) = sections.get(*count_max) {
                let message =
                    format!("there are {} {}, at most {count_max} may be", sections.len(), table.name);
                mistakes.add(first_too_many.span, message);
                sections.truncate(*count_max);
            }
        }
        _ => {}
    }
}

fn default_value(key: &'static Key, text: &str, span: Span, mistakes: &mut Mistakes<'_>) -> Option<Value> {
    let value = DeValue::parse(text).ok()?;
    let mut walker = Walker { source: span.source, text, pinned: Some(span), mistakes };
    Some(walker.value(key, &key.kind, &value))
}

/// `path = "/dev/ttyUSB0"`, as advice.
fn assignment(key: &Key, example: &str) -> String {
    format!("{} = {example}", key.name)
}

/// Reads one source.
pub(super) struct Walker<'w, 'm> {
    /// The place of the source in the list.
    pub(super) source: usize,
    /// Its text.
    pub(super) text: &'w str,
    /// Where everything is said to stand, if not where it does: for defaults.
    pinned: Option<Span>,
    pub(super) mistakes: &'w mut Mistakes<'m>,
}

impl Walker<'_, '_> {
    pub(super) fn span<T>(&self, spanned: &Spanned<T>) -> Span {
        let range = spanned.span();
        self.pinned.unwrap_or(Span { source: self.source, start: range.start, end: range.end })
    }

    /// Reads a table.
    pub(super) fn table(&mut self, table: &'static Table, document: &DeTable<'_>, span: Span) -> Section {
        let mut section = Section::new(table, span);
        for (name, spanned) in document {
            let key_span = self.span(name);
            let span = self.span(spanned);
            match table.key(name.get_ref()) {
                Some(key) => {
                    let value = self.value(key, &key.kind, spanned);
                    section.entries.insert(key.name, Entry { key: key_span, span, value, given: true });
                }
                None if PRE_SHARED_KEY.contains(&name.get_ref().as_ref()) => {
                    self.pre_shared_key(&mut section, name, span);
                }
                None => {
                    if let Some(meant) = self.unknown(table, name, spanned) {
                        // What was meant isn't missing as well.
                        let entry = Entry { key: key_span, span, value: Value::Mistaken, given: true };
                        section.entries.entry(meant).or_insert(entry);
                    }
                }
            }
        }
        section
    }

    /// Notes a key that asks for TLS with pre-shared keys: one mistake, whatever else is missing beside it.
    fn pre_shared_key(&mut self, section: &mut Section, name: &Spanned<toml::de::DeString<'_>>, value: Span) {
        let key = self.span(name);
        let message = format!("{}: TLS with pre-shared keys (TLS-PSK) is not available", name.get_ref());
        self.mistakes.add_with_help(
            key,
            message,
            "give each device a certificate of its own, which `fieldgate cert device NAME` issues: \
             client_ca = \"/etc/fieldgate/devices-ca.pem\" and user_from_cert = \"cn\" in [broker.listener.tls]",
        );
        let required = section.table.keys.iter().filter(|key| matches!(key.absent, Absent::Required(_)));
        for missing in required {
            let entry = Entry { key, span: value, value: Value::Mistaken, given: true };
            section.entries.entry(missing.name).or_insert(entry);
        }
    }

    /// Notes an unknown key, and says which key was probably meant.
    fn unknown(
        &mut self,
        table: &'static Table,
        name: &Spanned<toml::de::DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<&'static str> {
        if self.mistakes.is_full() {
            let span = self.span(name);
            self.mistakes.add(span, "unknown key");
            return None;
        }
        let written: &str = name.get_ref();
        let path = match table.path() {
            "" => written.to_owned(),
            above => format!("{above}.{written}"),
        };
        let header = self.header(value);
        let message = match &header {
            Some(Header::Single) => format!("unknown table [{}]", clipped(&path)),
            Some(Header::Several) => format!("unknown table [[{}]]", clipped(&path)),
            None if table.name.is_empty() => format!("unknown key {} at the top level", quoted(written)),
            None => format!("unknown key {} in {}", quoted(written), table.name),
        };
        let meant = nearest(written, table.keys.iter().map(|key| key.name));
        let help = match meant.and_then(|meant| table.key(meant)) {
            Some(key) => Some(format!("did you mean {}?", shown_as(key, header.as_ref()))),
            None => elsewhere(table, written).or_else(|| known(table)),
        };
        let span = self.span(name);
        self.mistakes.note(span, message, help);
        meant
    }

    /// Reads a value of a certain kind.
    pub(super) fn value(
        &mut self,
        key: &'static Key,
        kind: &'static Kind,
        spanned: &Spanned<DeValue<'_>>,
    ) -> Value {
        if self.pinned.is_none() && spanned.span().is_empty() {
            // The parser puts such a value where it found none, and has said so.
            return Value::Mistaken;
        }
        match (kind, spanned.get_ref()) {
            (Kind::Table(table), DeValue::Table(document)) => {
                let span = self.span(spanned);
                Value::Table(self.table(table, document, span))
            }
            (Kind::Table(table), DeValue::Array(_)) if self.header(spanned).is_some() => {
                self.brackets(table, spanned, "stands once, so it is written with one pair of brackets")
            }
            (Kind::Tables { table, .. }, DeValue::Table(document)) if self.header(spanned).is_some() => {
                let span = self.span(spanned);
                self.table(table, document, span);
                self.brackets(
                    table,
                    spanned,
                    "may stand several times, so it is written with two pairs of brackets",
                )
            }
            (Kind::Tables { table, .. }, DeValue::Array(items)) => self.tables(key, table, items),
            (Kind::Tagged(variants), DeValue::Table(document)) => {
                self.tagged(key, variants, document, spanned)
            }
            (Kind::Tagged(variants), DeValue::String(word)) => {
                let span = self.span(spanned);
                match self.variant(key, variants, word, span) {
                    Some((tag, table)) => Value::Tagged(tag, Section::new(table, span)),
                    None => Value::Mistaken,
                }
            }
            (Kind::OneOf(kinds), found) => match kinds.iter().find(|kind| value::has_type(kind, found)) {
                Some(kind) => self.value(key, kind, spanned),
                None => value::mismatch(self, key, kind, spanned),
            },
            _ => value::scalar(self, key, kind, spanned),
        }
    }

    fn brackets(&mut self, table: &'static Table, spanned: &Spanned<DeValue<'_>>, why: &str) -> Value {
        let span = self.span(spanned);
        self.mistakes.add_with_help(
            span,
            format!("[{}] {why}", table.path()),
            format!("write {}", table.name),
        );
        Value::Mistaken
    }

    fn tables(&mut self, key: &'static Key, table: &'static Table, items: &toml::de::DeArray<'_>) -> Value {
        let mut sections = Vec::new();
        for item in items.iter() {
            let span = self.span(item);
            match item.get_ref() {
                DeValue::Table(document) => sections.push(self.table(table, document, span)),
                found => {
                    let message = format!(
                        "{}: expected a table {{ … }} for {}, found {}",
                        key.name,
                        table.name,
                        value::found(found)
                    );
                    self.mistakes.add(span, message);
                }
            }
        }
        Value::Tables(sections)
    }

    fn tagged(
        &mut self,
        key: &'static Key,
        variants: &'static [(&'static str, &'static Table)],
        document: &DeTable<'_>,
        spanned: &Spanned<DeValue<'_>>,
    ) -> Value {
        let span = self.span(spanned);
        let words: Vec<&str> = variants.iter().map(|(word, _)| *word).collect();
        let choice = value::alternatives(&words);
        let Some((_, tag)) = document.iter().find(|(name, _)| name.get_ref() == TAG) else {
            self.mistakes.add_with_help(
                span,
                format!("{} has no {TAG:?}", key.name),
                format!("add kind = {choice}"),
            );
            return Value::Mistaken;
        };
        let at = self.span(tag);
        let DeValue::String(word) = tag.get_ref() else {
            let found = value::found(tag.get_ref());
            self.mistakes.add(at, format!("kind: expected {choice}, found {found}"));
            return Value::Mistaken;
        };
        match self.variant(key, variants, word, at) {
            Some((tag, table)) => Value::Tagged(tag, self.table(table, document, span)),
            None => Value::Mistaken,
        }
    }

    fn variant(
        &mut self,
        key: &'static Key,
        variants: &'static [(&'static str, &'static Table)],
        word: &str,
        at: Span,
    ) -> Option<(&'static str, &'static Table)> {
        let found = variants.iter().find(|(tag, _)| *tag == word);
        if found.is_none() {
            let words: Vec<&str> = variants.iter().map(|(word, _)| *word).collect();
            value::not_one_of(self.mistakes, at, key.name, word, &words);
        }
        found.copied()
    }

    /// Whether a table, or an array of tables, is written with a header.
    fn header(&self, spanned: &Spanned<DeValue<'_>>) -> Option<Header> {
        let start = spanned.span().start;
        let rest = self.text.get(start..).unwrap_or_default();
        match spanned.get_ref() {
            DeValue::Table(_) if rest.starts_with('{') => None,
            DeValue::Table(_) => Some(Header::Single),
            DeValue::Array(items) => {
                // An array of tables and its first table share the header.
                let first = items.first()?;
                (matches!(first.get_ref(), DeValue::Table(_)) && first.span().start == start)
                    .then_some(Header::Several)
            }
            _ => None,
        }
    }
}

enum Header {
    Single,
    Several,
}

fn clipped(path: &str) -> String {
    let quoted = quoted(path);
    quoted.trim_matches('"').to_owned()
}

/// A key as advice shows it: a table with its brackets, anything else in quotes.
fn shown(key: &Key) -> String {
    match &key.kind {
        Kind::Table(table) | Kind::Tables { table, .. } => table.name.to_owned(),
        _ => quoted(key.name),
    }
}

/// A key as advice shows it to someone who wrote a header.
fn shown_as(key: &Key, header: Option<&Header>) -> String {
    let Kind::OneOf(kinds) = &key.kind else { return shown(key) };
    let table = kinds.iter().find_map(|kind| match (kind, header) {
        (Kind::Table(table), Some(Header::Single)) | (Kind::Tables { table, .. }, Some(Header::Several)) => {
            Some(table)
        }
        _ => None,
    });
    table.map_or_else(|| shown(key), |table| table.name.to_owned())
}

/// Advice for a key that is known in other tables.
fn elsewhere(table: &'static Table, written: &str) -> Option<String> {
    const PLACES_MAX: usize = 3;
    let mut nested = None;
    let mut places: Vec<&'static str> = Vec::new();
    each_table(&mut |other| {
        let Some(key) = other.key(written).filter(|_| !std::ptr::eq(other, table)) else { return };
        if let Kind::Table(table) | Kind::Tables { table, .. } = &key.kind {
            nested = Some(table.name);
        } else if !places.contains(&other.name) {
            places.push(other.name);
        }
    });
    if let Some(name) = nested {
        return Some(format!("did you mean {name}?"));
    }
    if places.is_empty() || places.len() > PLACES_MAX {
        return None;
    }
    Some(format!("{} is a key of {}", quoted(written), places.join(" and ")))
}

/// Advice where nothing is near and the table is small: all that it knows.
fn known(table: &Table) -> Option<String> {
    // The top level is what a file is made of, so all of it is worth telling.
    let keys_max = if table.name.is_empty() { 24 } else { 10 };
    let names: Vec<String> = table.keys.iter().map(shown).collect();
    (names.len() <= keys_max).then(|| format!("known here: {}", names.join(", ")))
}
