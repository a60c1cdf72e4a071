"""Publishes one large message to itself and tells what came, written as scripts for paho-mqtt 2 are."""

import sys

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

port, protocol, qos, size = (int(argument) for argument in sys.argv[1:5])
client = mqtt.Client(
    CallbackAPIVersion.VERSION2, client_id="large", protocol=MQTTProtocolVersion(protocol)
)
payload = b"x" * size
done = set()


def end_after(what):
    print(what, flush=True)
    done.add(what.split()[0])
    if done == {"published", "got"}:
        client.disconnect()


client.on_connect = lambda client, userdata, flags, reason_code, properties: client.subscribe("large", qos)
client.on_subscribe = lambda *args: client.publish("large", payload, qos)
client.on_publish = lambda *args: end_after("published")
client.on_message = lambda client, userdata, message: end_after(
    "got %d %s" % (len(message.payload), message.payload == payload)
)
client.connect("127.0.0.1", port, 60)
client.loop_forever()
