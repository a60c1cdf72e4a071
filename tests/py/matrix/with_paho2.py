"""paho-mqtt 2 in the matrix."""

import threading

import paho.mqtt
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import scenario

TRANSPORTS = {"tcp": "tcp", "tls": "tcp", "ws": "websockets", "wss": "websockets", "unix": "unix"}


class Client(scenario.Inbox):
    def __init__(self, ways, version, transport, client_id, clean, will):
        super().__init__()
        self.way, self.transport, self.version, self.clean = ways[transport], transport, version, clean
        self.done = threading.Event()
        arguments = {} if version == 5 else {"clean_session": clean}
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=MQTTProtocolVersion(version),
            transport=TRANSPORTS[transport],
            **arguments,
        )
        if transport in ("tls", "wss"):
            self.client.tls_set(ways["ca"])
        if will is not None:
            self.client.will_set(*will)
        self.client.on_connect = self.on_connect
        self.client.on_subscribe = lambda *args: self.done.set()
        self.client.on_message = lambda client, userdata, m: self.put(m.topic, m.payload, m.qos, m.retain)

    def on_connect(self, client, userdata, flags, reason_code, properties):
        self.session, self.reason_code = flags.session_present, reason_code
        self.done.set()

    def wait(self):
        assert self.done.wait(scenario.PATIENCE), "no answer"
        self.done.clear()

    def connect(self):
        where = (self.way,) if self.transport == "unix" else ("127.0.0.1", self.way)
        if self.version == 5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if self.clean else 3600
            self.client.connect(*where, clean_start=self.clean, properties=properties)
        else:
            self.client.connect(*where)
        self.client.loop_start()
        self.wait()
        assert not self.reason_code.is_failure, self.reason_code
        return bool(self.session)

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        self.wait()

    def publish(self, topic, payload, qos, retain=False):
        self.client.publish(topic, payload, qos, retain).wait_for_publish(scenario.PATIENCE)

    def receive(self):
        return self.get()

    def disconnect(self):
        self.client.disconnect()
        self.client.loop_stop()

    def drop(self):
        self.client.loop_stop()
        self.client.socket().close()


scenario.run(f"paho-mqtt {paho.mqtt.__version__}", Client, (3, 4, 5), TRANSPORTS)
