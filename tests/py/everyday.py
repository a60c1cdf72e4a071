"""What scripts on paho-mqtt do every day, one function for each habit: the same text for paho-mqtt 1.6.1 and 2.

Says "ok NAME" for each that went well. Its argument is JSON with the ports of the listeners.
"""

import json
import queue
import socket
import sys
import threading
import traceback

import dns.message
import dns.resolver
import dns.rrset
import paho.mqtt.client as mqtt
from paho.mqtt import publish, subscribe

PATIENCE = 30
HOST = "127.0.0.1"
ways = json.loads(sys.argv[1])
PORT = ways["tcp"]
OLD = not hasattr(mqtt, "CallbackAPIVersion")


def new_client(*args, **more):
    """How a script for 1.x is moved to 2: one more argument."""
    return mqtt.Client(*args, **more) if OLD else mqtt.Client(mqtt.CallbackAPIVersion.VERSION1, *args, **more)


class Listener:
    """A subscriber with a thread of its own, subscribed when it is made; messages from before it are not its business."""

    def __init__(self, topics, port=PORT, qos=2, setup=lambda client: None, **more):
        self.messages, self.answers = queue.Queue(), queue.Queue()
        self.client = new_client(**more)
        setup(self.client)
        self.client.on_message = self.on_message
        self.client.on_subscribe = lambda client, userdata, mid, granted_qos: self.answers.put(granted_qos)
        self.client.on_connect = lambda client, userdata, flags, rc: client.subscribe(topics, qos)
        self.client.connect(HOST, port)
        self.client.loop_start()
        self.granted = list(self.answers.get(timeout=PATIENCE))

    def on_message(self, client, userdata, message):
        if not message.retain:
            self.messages.put(message)

    def expect(self, *wanted):
        got = []
        for _ in wanted:
            message = self.messages.get(timeout=PATIENCE)
            got.append((message.topic, message.payload))
        assert got == list(wanted), got

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.client.disconnect()
        self.client.loop_stop()


def publish_single():
    with Listener("single/#") as listener:
        publish.single("single/plain", "text", hostname=HOST, port=PORT)
        listener.expect(("single/plain", b"text"))
        publish.single("single/number", 21.5, qos=1, hostname=HOST, port=PORT, client_id="once", keepalive=5)
        listener.expect(("single/number", b"21.5"))
        publish.single("single/none", qos=2, hostname=HOST, port=PORT, protocol=mqtt.MQTTv31)
        listener.expect(("single/none", b""))
        will = {"topic": "single/will", "payload": "never", "qos": 1}
        publish.single("single/kept", bytearray(b"\xff\x00"), 1, True, HOST, PORT, will=will, transport="tcp")
        listener.expect(("single/kept", b"\xff\x00"))
        publish.single("single/tls", "safe", hostname=HOST, port=ways["tls"], tls={"ca_certs": ways["ca"]})
        listener.expect(("single/tls", b"safe"))
    assert subscribe.simple("single/kept", hostname=HOST, port=PORT).retain


def publish_multiple():
    with Listener("multiple/#") as listener:
        messages = [{"topic": "multiple/a", "payload": "1", "qos": 1}, ("multiple/b", "2", 0, False)]
        messages += [("multiple/c", str(number), 2, False) for number in range(50)]
        publish.multiple(messages, hostname=HOST, port=PORT)
        got = [listener.messages.get(timeout=PATIENCE) for _ in messages]
        # Another QoS may overtake; the same may not.
        for qos, wanted in [(0, [b"2"]), (1, [b"1"]), (2, [b"%d" % number for number in range(50)])]:
            assert [m.payload for m in got if m.qos == qos] == wanted, got


def subscribe_simple():
    for number in range(3):
        publish.single(f"simple/{number}", str(number), 1, True, HOST, PORT)
    one = subscribe.simple("simple/1", qos=1, hostname=HOST, port=PORT)
    assert (one.topic, one.payload, one.retain) == ("simple/1", b"1", True)
    three = subscribe.simple(["simple/+"], msg_count=3, hostname=HOST, port=PORT)
    assert sorted(m.payload for m in three) == [b"0", b"1", b"2"]
    several = subscribe.simple(["simple/0", "simple/2"], msg_count=2, qos=2, hostname=HOST, port=PORT)
    assert sorted(m.topic for m in several) == ["simple/0", "simple/2"]


def subscribe_callback():
    got = []

    def on_message(client, userdata, message):
        got.append((userdata, message.payload))
        client.disconnect()

    publish.single("callback", "called", 1, True, HOST, PORT)
    subscribe.callback(on_message, ["callback", "other"], userdata="mine", hostname=HOST, port=PORT)
    assert got == [("mine", b"called")], got


def list_subscribe():
    with Listener([("list/a", 0), ("list/b", 1), ("list/c/#", 2)], qos=0) as listener:
        assert listener.granted == [0, 1, 2], listener.granted
        for topic in ("list/a", "list/x", "list/b", "list/c"):
            publish.single(topic, topic, 2, hostname=HOST, port=PORT)
        listener.expect(("list/a", b"list/a"), ("list/b", b"list/b"), ("list/c", b"list/c"))


def connect_async():
    client = new_client("async")
    connected = threading.Event()
    client.on_connect = lambda client, userdata, flags, rc: connected.set()
    client.connect_async(HOST, PORT, 10)
    client.loop_start()
    assert connected.wait(PATIENCE) and client.is_connected()
    info = client.publish("async", "x", 1)
    info.wait_for_publish(PATIENCE)
    assert info.is_published()
    client.disconnect()
    client.loop_stop()


def connect_srv():
    """A name server that knows one SRV record, in the place of the system's."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((HOST, 0))
    asked = []

    def answer():
        wire, peer = server.recvfrom(4096)
        question = dns.message.from_wire(wire)
        asked.append(question.question[0].to_text())
        response = dns.message.make_response(question)
        name = question.question[0].name
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "SRV", f"0 0 {PORT} localhost."))
        server.sendto(response.to_wire(), peer)

    threading.Thread(target=answer, daemon=True).start()
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [HOST], server.getsockname()[1]
    dns.resolver.default_resolver = resolver
    connected = threading.Event()
    if OLD:
        # 1.6.1 hands its arguments on one place off; with version 5 and these it still connects.
        client = mqtt.Client("srv", protocol=mqtt.MQTTv5)
        client.on_connect = lambda client, userdata, flags, rc, properties: connected.set()
        client.connect_srv("gateway.test", clean_start=0)
    else:
        client = new_client("srv")
        client.on_connect = lambda client, userdata, flags, rc: connected.set()
        client.connect_srv("gateway.test")
    client.loop_start()
    assert connected.wait(PATIENCE)
    client.disconnect()
    client.loop_stop()
    assert asked == ["_mqtt._tcp.gateway.test. IN SRV"], asked


def reinitialise():
    client = new_client("first")
    for client_id in ("first", "second", ""):
        client.reinitialise(client_id, clean_session=True)
        connected = threading.Event()
        client.on_connect = lambda client, userdata, flags, rc: connected.set()
        client.connect(HOST, PORT)
        client.loop_start()
        assert connected.wait(PATIENCE), client_id
        client.disconnect()
        client.loop_stop()


def reconnect_delay_set():
    def setup(client):
        client.reconnect_delay_set(min_delay=1, max_delay=2)

    with Listener("delay", setup=setup, client_id="comes-back", clean_session=False) as listener:
        # Another client with its name takes its session over; it comes back and takes it again.
        thief = new_client("comes-back", clean_session=False)
        thief.connect(HOST, PORT)
        stolen = threading.Event()
        thief.on_disconnect = lambda client, userdata, rc: (stolen.set(), client.disconnect())
        thread = threading.Thread(target=thief.loop_forever, daemon=True)
        thread.start()
        assert stolen.wait(PATIENCE)
        listener.answers.get(timeout=PATIENCE)
        publish.single("delay", "still there", 1, hostname=HOST, port=PORT)
        listener.expect(("delay", b"still there"))


def inflight_and_queue():
    with Listener("window") as listener:
        client = new_client("window")
        client.max_inflight_messages_set(1)
        client.max_queued_messages_set(40)
        client.connect_async(HOST, PORT)
        results = [client.publish("window", str(number), 1 + number % 2).rc for number in range(60)]
        # Those in the window count as queued or beside it, by version.
        taken = [str(number).encode() for number, rc in enumerate(results) if rc == mqtt.MQTT_ERR_NO_CONN]
        refused = results.count(mqtt.MQTT_ERR_QUEUE_SIZE)
        assert len(taken) + refused == 60 and 40 <= len(taken) <= 41, results
        client.loop_start()
        got = [listener.messages.get(timeout=PATIENCE).payload for _ in taken]
        # Each once, and in order where the QoS is the same (MQTT 3.1.1, 4.6).
        for even in (0, 1):
            assert [p for p in got if int(p) % 2 == even] == [p for p in taken if int(p) % 2 == even], got
        client.disconnect()
        client.loop_stop()


def tls_set_and_insecure():
    def trusting(client):
        client.tls_set(ways["ca"])

    def insecure(client):
        client.tls_set(ways["ca"])
        client.tls_insecure_set(True)

    with Listener("tls", ways["tls"], setup=trusting) as listener:
        publish.single("tls", "safe", 1, hostname=HOST, port=PORT)
        listener.expect(("tls", b"safe"))
    try:
        Listener("tls", ways["elsewhere"], setup=trusting)
        raise AssertionError("a certificate for another name was taken")
    except OSError as error:
        assert "CERTIFICATE_VERIFY_FAILED" in str(error), error
    with Listener("tls", ways["elsewhere"], setup=insecure) as listener:
        publish.single("tls", "insecure", 1, hostname=HOST, port=PORT)
        listener.expect(("tls", b"insecure"))


def ws_set_options():
    def setup(client):
        client.ws_set_options(path="/broker", headers={"X-Device": "17", "Origin": f"http://{HOST}"})

    with Listener("socket", ways["ws"], setup=setup, transport="websockets") as listener:
        publish.single("socket", "framed", 1, hostname=HOST, port=PORT)
        listener.expect(("socket", b"framed"))
    try:
        Listener("socket", ways["ws"], transport="websockets")
        raise AssertionError("there is something at /mqtt")
    except Exception as error:
        assert "andshake" in str(error), error


def will_set():
    with Listener("wills/#") as listener:
        client = new_client("willed")
        client.will_set("wills/a", "gone", 1, retain=True)
        connected = threading.Event()
        client.on_connect = lambda client, userdata, flags, rc: connected.set()
        client.connect(HOST, PORT)
        client.loop_start()
        assert connected.wait(PATIENCE)
        client.loop_stop()
        client.socket().close()
        listener.expect(("wills/a", b"gone"))
        # Whoever says goodbye leaves none.
        publish.single("wills/b", "polite", 1, hostname=HOST, port=PORT, will={"topic": "wills/c", "payload": "x"})
        listener.expect(("wills/b", b"polite"))
    assert subscribe.simple("wills/a", hostname=HOST, port=PORT).payload == b"gone"


def leading_slash():
    topics = ["/a", "/a/", "//", "/"]
    for pattern, wanted in [
        ("/#", topics),
        ("/+", ["/a", "/"]),
        ("+/+", ["/a", "/"]),
        ("/a/#", ["/a", "/a/"]),
        ("+/a/+", ["/a/"]),
        ("//", ["//"]),
    ]:
        with Listener(pattern) as listener:
            publish.multiple([(topic, topic, 1, False) for topic in topics] + [("a", "a", 1, False)], HOST, PORT)
            listener.expect(*[(topic, topic.encode()) for topic in wanted])
            publish.single("/a" if pattern == "/a/#" else wanted[-1], "end", 1, hostname=HOST, port=PORT)
            assert listener.messages.get(timeout=PATIENCE).payload == b"end", pattern


def downgrade_to_3_1():
    codes = []
    client = new_client("downgraded")
    connected = threading.Event()

    def on_connect(client, userdata, flags, rc):
        codes.append(rc)
        connected.set()

    client.on_connect = on_connect
    client.connect(HOST, ways["old"])
    client.loop_start()
    assert connected.wait(PATIENCE)
    client.disconnect()
    client.loop_stop()
    # The refusal with code 1 stays within paho: it connects again with 3.1.
    assert codes == [0] and client._protocol == mqtt.MQTTv31, (codes, client._protocol)


HABITS = [
    publish_single,
    publish_multiple,
    subscribe_simple,
    subscribe_callback,
    list_subscribe,
    connect_async,
    connect_srv,
    reinitialise,
    reconnect_delay_set,
    inflight_and_queue,
    tls_set_and_insecure,
    ws_set_options,
    will_set,
    leading_slash,
    downgrade_to_3_1,
]
for habit in HABITS:
    try:
        habit()
        print("ok", habit.__name__, flush=True)
    except Exception:
        print("failed", habit.__name__, flush=True)
        traceback.print_exc()
