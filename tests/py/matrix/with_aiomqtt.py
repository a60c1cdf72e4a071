"""aiomqtt in the matrix."""

import asyncio
import importlib.metadata

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import scenario
from on_a_loop import loop, wait

TRANSPORTS = {"tcp": "tcp", "tls": "tcp", "ws": "websockets", "wss": "websockets", "unix": "unix"}


class Client(scenario.Inbox):
    def __init__(self, ways, version, transport, client_id, clean, will):
        super().__init__()
        arguments = {"hostname": "127.0.0.1", "port": ways[transport]}
        if transport == "unix":
            arguments = {"hostname": ways[transport]}
        if transport in ("tls", "wss"):
            arguments["tls_params"] = aiomqtt.TLSParameters(ca_certs=ways["ca"])
        if transport in ("ws", "wss"):
            arguments["websocket_path"] = "/mqtt"
        if will is not None:
            arguments["will"] = aiomqtt.Will(*will)
        if version == 5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 3600
            arguments |= {"clean_start": clean, "properties": properties}
        else:
            arguments["clean_session"] = clean

        async def make():
            return aiomqtt.Client(
                identifier=client_id,
                protocol=aiomqtt.ProtocolVersion(version),
                transport=TRANSPORTS[transport],
                **arguments,
            )

        self.client = wait(make())

    async def read(self):
        try:
            async for m in self.client.messages:
                self.put(m.topic.value, m.payload, m.qos, m.retain)
        except aiomqtt.MqttError:
            # How it tells that the connection is over.
            pass

    def connect(self):
        wait(self.client.__aenter__())
        self.reader = asyncio.run_coroutine_threadsafe(self.read(), loop)
        # It keeps the flag to itself.
        return None

    def subscribe(self, topic, qos):
        wait(self.client.subscribe(topic, qos))

    def publish(self, topic, payload, qos, retain=False):
        wait(self.client.publish(topic, payload, qos, retain))

    def receive(self):
        return self.get()

    def disconnect(self):
        self.reader.cancel()
        wait(self.client.__aexit__(None, None, None))

    def drop(self):
        async def close():
            # It has no way to vanish; its paho client, on which it stands, has.
            sock = self.client._client.socket()
            loop.remove_reader(sock.fileno())
            sock.close()

        self.reader.cancel()
        wait(close())


scenario.run(f"aiomqtt {importlib.metadata.version('aiomqtt')}", Client, (3, 4, 5), TRANSPORTS)
