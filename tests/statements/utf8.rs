//! What is UTF-8 and what is not.

use crate::raw::{BOTH, Connect, Lan, Publish, V, Will, packet, subscribe, text};

/// What no MQTT string may hold.
const BAD: &[&[u8]] =
    &[b"\xC0\x80", b"\xED\xA0\x80", b"\xF4\x90\x80\x80", b"\xFF", b"\x80", b"\xE2\x82", b"a\xC1\xBFb"];

/// Sends each string in each place where one can stand; all must end the connection.
fn refused_everywhere(strings: &[&[u8]]) {
    let lan = Lan::start("");
    for bad in strings {
        for v in BOTH {
            let user = Connect { user: Some(bad.to_vec()), ..Connect::new(v, "a") };
            let will = Connect::new(v, "a").will(Will::new(bad, "x"));
            for connect in [Connect::new(v, bad), user, will] {
                assert!(lan.answer(&connect.bytes()).is_empty(), "{v:?} {bad:02X?}");
            }
            for bytes in [Publish::new(bad, "x").bytes(v), subscribe(v, 1, &[], &[(bad, 0)])] {
                let mut client = lan.join(v, "a");
                client.send(&bytes);
                client.closed(0x81);
            }
        }
        let mut body = vec![0, 1, 0];
        body.extend(text(bad));
        let pair = [&[0x26][..], &text("k"), &text(bad)].concat();
        let other_pair = [&[0x26][..], &text(bad), &text("v")].concat();
        let content_type = [&[3][..], &text(bad)].concat();
        let answer_to = [&[8][..], &text(bad)].concat();
        let of_publish =
            [&pair, &other_pair, &content_type, &answer_to].map(|p| Publish::new("t", "x").property(p));
        let of_disconnect = [&[0, u8::try_from(pair.len()).unwrap()][..], &pair].concat();
        let of_subscribe = subscribe(V::V5, 1, &pair, &[(b"t", 0)]);
        let mut all: Vec<Vec<u8>> = of_publish.iter().map(|publish| publish.bytes(V::V5)).collect();
        all.extend([packet(0xA2, &body), packet(0xE0, &of_disconnect), of_subscribe]);
        for bytes in all {
            let mut client = lan.join(V::V5, "a");
            client.send(&bytes);
            client.ended();
        }
        let connect = Connect::new(V::V5, "a").property(&pair);
        assert!(lan.answer(&connect.bytes()).is_empty(), "{bad:02X?}");
    }
    lan.join(V::V311, "a").nothing();
}

#[test]
fn statement_62_what_is_not_utf_8_ends_the_connection() {
    refused_everywhere(BAD);
}

#[test]
fn statement_63_u_0000_is_refused_and_a_byte_order_mark_is_kept() {
    refused_everywhere(&[b"a\0b", b"\0"]);
    let lan = Lan::start("");
    let topic = b"\xEF\xBB\xBFtopic\xEF\xBB\xBF";
    for v in BOTH {
        let mut s = lan.join(v, "s");
        assert_eq!(s.subscribe_with(&[], topic, 0), 0);
        lan.join(v, "publisher").say("topic", 0, "without");
        lan.join(v, "publisher").publish(&Publish::new(topic, "with"));
        assert_eq!(s.take_text("with").topic, topic);
        assert_eq!(s.unsubscribe("topic"), if v == V::V5 { 0x11 } else { 0 });
    }
}

#[test]
fn statement_64_a_payload_that_is_not_the_utf_8_it_says_is_not_altered() {
    let lan = Lan::start("");
    let mut s = lan.join(V::V5, "s");
    s.subscribe("t", 1);
    let mut publisher = lan.join(V::V5, "publisher");
    for payload in BAD {
        publisher.publish(&Publish::new("t", payload).qos(1, 0).property(&[1, 1]));
        let message = s.take();
        assert_eq!((&message.payload[..], &message.properties[..]), (*payload, &[1, 1][..]));
    }
}
