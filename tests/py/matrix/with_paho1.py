"""paho-mqtt 1.6.1 in the matrix."""

import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import scenario

TRANSPORTS = {"tcp": "tcp", "tls": "tcp", "ws": "websockets", "wss": "websockets"}


class Client(scenario.Inbox):
    def __init__(self, ways, version, transport, client_id, clean, will):
        super().__init__()
        self.port, self.version, self.clean = ways[transport], version, clean
        self.done = threading.Event()
        arguments = {} if version == mqtt.MQTTv5 else {"clean_session": clean}
        self.client = mqtt.Client(client_id, protocol=version, transport=TRANSPORTS[transport], **arguments)
        if transport in ("tls", "wss"):
            self.client.tls_set(ways["ca"])
        if will is not None:
            self.client.will_set(*will)
        self.client.on_connect = self.on_connect
        self.client.on_subscribe = lambda *args: self.done.set()
        self.client.on_message = lambda client, userdata, m: self.put(m.topic, m.payload, m.qos, m.retain)

    def on_connect(self, client, userdata, flags, rc, properties=None):
        self.session, self.rc = bool(flags["session present"]), rc
        self.done.set()

    def wait(self):
        assert self.done.wait(scenario.PATIENCE), "no answer"
        self.done.clear()

    def connect(self):
        if self.version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if self.clean else 3600
            self.client.connect("127.0.0.1", self.port, clean_start=self.clean, properties=properties)
        else:
            self.client.connect("127.0.0.1", self.port)
        self.client.loop_start()
        self.wait()
        assert self.rc == 0, self.rc
        return self.session

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


scenario.run("paho-mqtt 1.6.1", Client, (3, 4, 5), TRANSPORTS)
