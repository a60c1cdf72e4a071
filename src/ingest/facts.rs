//! What is known of a device beside its readings: `<base>/info/<device>`, retained.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use crate::filter::{FilterConfig, SUFFIXES, Statistic};

/// What the config tells of a device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceFacts {
    /// Its name.
    pub name: Arc<str>,
    /// Where it hangs.
    pub port: Option<Arc<str>>,
    /// Who makes it.
    pub maker: Option<String>,
    /// What it is: the profile that describes it.
    pub profile: Option<String>,
    /// Its points; `None` if they are known only when they come.
    pub points: Option<Vec<PointFacts>>,
    /// Without a reading for this long it is stale.
    pub stale_after: Option<Duration>,
}

/// What the config tells of a point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PointFacts {
    /// Its name.
    pub name: Arc<str>,
    /// Its unit, by its SenML name.
    pub unit: Option<Arc<str>>,
    /// What its values are, if that is known.
    pub kind: Option<PointKind>,
    /// It takes part in a reading only this often.
    pub every: Option<Duration>,
}

/// What a point's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum PointKind {
    Number,
    Integer,
    Bool,
    Text,
}

impl PointKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Bool => "bool",
            Self::Text => "text",
        }
    }

    /// Whether it can be reckoned with.
    pub(super) const fn is_number(self) -> bool {
        matches!(self, Self::Number | Self::Integer)
    }
}

impl DeviceFacts {
    /// A device of which nothing is known but its name.
    #[must_use]
    pub fn named(name: Arc<str>) -> Self {
        Self { name, ..Self::default() }
    }

    /// The points that its readings have as they are published, those of `seen` that the config doesn't know behind the
    /// others.
    pub(super) fn published(&self, filter: &FilterConfig, seen: &[Arc<str>]) -> Vec<PointFacts> {
        let mut points = Vec::new();
        for point in self.points.iter().flatten() {
            points.push(point.clone());
            let is_number = point.kind.is_none_or(PointKind::is_number);
            if is_number && matches!(filter.window, Some((_, Statistic::All))) {
                let made = SUFFIXES.iter().map(|suffix| Arc::from(format!("{}{suffix}", point.name)));
                points.extend(made.map(|name| PointFacts { name, ..point.clone() }));
            }
        }
        for name in seen {
            if points.iter().all(|point| point.name != *name) {
                points.push(PointFacts { name: name.clone(), ..PointFacts::default() });
            }
        }
        points
    }

    /// The units of its points as they are published.
    pub(super) fn units(&self, filter: &FilterConfig) -> Vec<(Arc<str>, Arc<str>)> {
        let points = self.published(filter, &[]);
        points.into_iter().filter_map(|point| Some((point.name, point.unit?))).collect()
    }

    /// `{"device":"weather","port":"usb0","stale_after_s":60,"points":{"t":{"type":"number","unit":"Cel"}}}`; what is not
    /// known is left out. `announced`: the topics of announcements to Home Assistant, by which a later start finds those
    /// that are gone.
    pub(super) fn info(&self, points: &[PointFacts], announcements: &[Arc<str>]) -> Json {
        let mut info = Map::from_iter([("device".to_owned(), json!(&*self.name))]);
        let mut put = |key: &str, value: Option<Json>| {
            if let Some(value) = value {
                info.insert(key.to_owned(), value);
            }
        };
        put("port", self.port.as_deref().map(Json::from));
        put("maker", self.maker.as_deref().map(Json::from));
        put("profile", self.profile.as_deref().map(Json::from));
        put("stale_after_s", self.stale_after.map(|span| json!(span.as_secs_f64())));
        put("points", Some(points.iter().map(|point| (point.name.to_string(), point.info())).collect()));
        if !announcements.is_empty() {
            let topics = announcements.iter().map(|topic| json!(&**topic)).collect();
            info.insert(ANNOUNCED.to_owned(), Json::Array(topics));
        }
        Json::Object(info)
    }
}

const ANNOUNCED: &str = "announced";

/// The topics of announcements that a device's `info` names.
#[must_use]
pub fn announced(info: &[u8]) -> Vec<Arc<str>> {
    let info: Json = serde_json::from_slice(info).unwrap_or_default();
    let topics = info.get(ANNOUNCED).and_then(Json::as_array);
    topics.into_iter().flatten().filter_map(Json::as_str).map(Arc::from).collect()
}

impl PointFacts {
    fn info(&self) -> Json {
        let mut info = Map::new();
        if let Some(kind) = self.kind {
            info.insert("type".to_owned(), json!(kind.as_str()));
        }
        if let Some(unit) = &self.unit {
            info.insert("unit".to_owned(), json!(&**unit));
        }
        Json::Object(info)
    }
}
