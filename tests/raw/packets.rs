//! Packets as bytes, from client to server.

/// A protocol version, by its level on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V {
    V31 = 3,
    V311 = 4,
    V5 = 5,
}

/// A string or binary data with its length in front.
pub fn text(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

/// A variable byte integer.
pub fn varint(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = u8::try_from(n & 0x7F).unwrap();
        n >>= 7;
        out.push(if n > 0 { byte | 0x80 } else { byte });
        if n == 0 {
            return out;
        }
    }
}

/// A packet: first byte, remaining length, body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first], &varint(body.len())[..], body].concat()
}

/// Bytes as they stand in the standard's examples.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X} ")).collect()
}

fn properties(v: V, properties: &[u8]) -> Vec<u8> {
    match v {
        V::V5 => [&varint(properties.len())[..], properties].concat(),
        _ => Vec::new(),
    }
}

/// A will.
#[derive(Clone, Debug)]
pub struct Will {
    pub topic: Vec<u8>,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Vec<u8>,
}

impl Will {
    pub fn new(topic: impl AsRef<[u8]>, payload: &str) -> Self {
        let topic = topic.as_ref().to_vec();
        Self { topic, payload: payload.into(), qos: 0, retain: false, properties: Vec::new() }
    }

    /// With a will delay interval, in seconds.
    pub fn delay(mut self, seconds: u32) -> Self {
        self.properties.push(0x18);
        self.properties.extend(seconds.to_be_bytes());
        self
    }

    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }
}

/// A CONNECT.
#[derive(Clone, Debug)]
pub struct Connect {
    pub v: V,
    pub id: Vec<u8>,
    pub clean: bool,
    pub keep_alive: u16,
    pub properties: Vec<u8>,
    pub will: Option<Will>,
    pub user: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
    /// Exclusive or of what the flags would be.
    pub flip: u8,
}

impl Connect {
    /// With a clean session and no keep alive.
    pub fn new(v: V, id: impl AsRef<[u8]>) -> Self {
        Self {
            v,
            id: id.as_ref().to_vec(),
            clean: true,
            keep_alive: 0,
            properties: Vec::new(),
            will: None,
            user: None,
            password: None,
            flip: 0,
        }
    }

    /// Goes on with its session, which stays for ever.
    pub fn resume(self) -> Self {
        self.resume_for(u32::MAX)
    }

    /// Goes on with its session, which stays for so many seconds (5.0).
    pub fn resume_for(mut self, seconds: u32) -> Self {
        self.clean = false;
        self.expiry(seconds)
    }

    /// With a session expiry interval.
    pub fn expiry(self, seconds: u32) -> Self {
        self.property(&[&[0x11], &seconds.to_be_bytes()[..]].concat())
    }

    pub fn property(mut self, property: &[u8]) -> Self {
        self.properties.extend_from_slice(property);
        self
    }

    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    pub fn user(mut self, user: &str, password: &str) -> Self {
        self.user = Some(user.into());
        self.password = Some(password.into());
        self
    }

    pub fn flip(mut self, bits: u8) -> Self {
        self.flip = bits;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 4 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags |= u8::from(self.password.is_some()) << 6 | u8::from(self.user.is_some()) << 7;
        let mut body = text(if self.v == V::V31 { "MQIsdp" } else { "MQTT" });
        body.extend([self.v as u8, flags ^ self.flip]);
        body.extend(self.keep_alive.to_be_bytes());
        body.extend(properties(self.v, &self.properties));
        body.extend(text(&self.id));
        if let Some(will) = &self.will {
            body.extend(properties(self.v, &will.properties));
            body.extend(text(&will.topic));
            body.extend(text(&will.payload));
        }
        for field in [&self.user, &self.password].into_iter().flatten() {
            body.extend(text(field));
        }
        packet(0x10, &body)
    }
}

/// A PUBLISH.
#[derive(Clone, Debug)]
pub struct Publish {
    pub topic: Vec<u8>,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub id: u16,
    pub dup: bool,
    pub retain: bool,
    pub properties: Vec<u8>,
}

impl Publish {
    /// With QoS 0.
    pub fn new(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.as_ref().to_vec(),
            payload: payload.as_ref().to_vec(),
            qos: 0,
            id: 0,
            dup: false,
            retain: false,
            properties: Vec::new(),
        }
    }

    pub fn qos(mut self, qos: u8, id: u16) -> Self {
        self.qos = qos;
        self.id = id;
        self
    }

    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    pub fn property(mut self, property: &[u8]) -> Self {
        self.properties.extend_from_slice(property);
        self
    }

    /// With a topic alias.
    pub fn alias(self, alias: u16) -> Self {
        self.property(&[&[0x23], &alias.to_be_bytes()[..]].concat())
    }

    pub fn bytes(&self, v: V) -> Vec<u8> {
        let first = 0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let mut body = text(&self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        body.extend(properties(v, &self.properties));
        body.extend_from_slice(&self.payload);
        packet(first, &body)
    }
}

/// PUBACK 0x40, PUBREC 0x50, PUBREL 0x62, PUBCOMP 0x70 with a success.
pub fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

/// SUBSCRIBE with these filters and options.
pub fn subscribe(v: V, id: u16, props: &[u8], filters: &[(&[u8], u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(properties(v, props));
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

/// UNSUBSCRIBE with these filters.
pub fn unsubscribe(v: V, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(properties(v, &[]));
    filters.iter().for_each(|filter| body.extend(text(filter)));
    packet(0xA2, &body)
}
