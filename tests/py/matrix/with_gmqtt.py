"""gmqtt in the matrix. It speaks 3.1.1 and 5, over TCP and TLS."""

import asyncio
import importlib.metadata
import ssl

import gmqtt

import scenario
from on_a_loop import wait


class Client(scenario.Inbox):
    def __init__(self, ways, version, transport, client_id, clean, will):
        super().__init__()
        self.port, self.version = ways[transport], version
        self.tls = ssl.create_default_context(cafile=ways["ca"]) if transport == "tls" else False
        arguments = {}
        if version == 5:
            arguments["session_expiry_interval"] = 0 if clean else 3600
        if will is not None:
            topic, payload, qos = will
            arguments["will_message"] = gmqtt.Message(topic, payload, qos=qos)

        async def make():
            return gmqtt.Client(client_id, clean_session=clean, **arguments)

        self.client = wait(make())
        self.client.set_config({"reconnect_retries": 0})
        self.subscribed = asyncio.Event()
        self.client.on_connect = self.on_connect
        self.client.on_message = self.on_message
        self.client.on_subscribe = lambda *args, **more: self.subscribed.set()

    def on_connect(self, client, flags, rc, properties):
        self.session = bool(flags & 1)

    async def on_message(self, client, topic, payload, qos, properties):
        self.put(topic, payload, qos, properties["retain"])
        return 0

    def connect(self):
        wait(self.client.connect("127.0.0.1", self.port, ssl=self.tls, version=self.version))
        return self.session

    def subscribe(self, topic, qos):
        async def subscribe():
            self.subscribed.clear()
            self.client.subscribe(topic, qos)
            await self.subscribed.wait()

        wait(subscribe())

    def publish(self, topic, payload, qos, retain=False):
        async def publish():
            self.client.publish(topic, payload, qos=qos, retain=retain)

        wait(publish())

    def receive(self):
        return self.get()

    def disconnect(self):
        try:
            wait(self.client.disconnect())
        except ssl.SSLError as error:
            # It closes TLS without reading on, and takes an answer that was under way for a fault.
            if error.reason != "APPLICATION_DATA_AFTER_CLOSE_NOTIFY":
                raise

    def drop(self):
        async def drop():
            self.client.stop_reconnect()
            self.client._connection._transport.abort()

        wait(drop())


scenario.run(f"gmqtt {importlib.metadata.version('gmqtt')}", Client, (4, 5), ("tcp", "tls"))
