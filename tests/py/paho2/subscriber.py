"""Subscribes and prints what comes, written as scripts for paho-mqtt 2 are."""

import argparse

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("client_id")
parser.add_argument("topic")
parser.add_argument("--protocol", type=int, default=4)
parser.add_argument("--durable", action="store_true")
parser.add_argument("--transport", default="tcp")
parser.add_argument("--ca")
args = parser.parse_args()
protocol = MQTTProtocolVersion(args.protocol)


def on_connect(client, userdata, flags, reason_code, properties):
    print("connected", reason_code, flags)
    client.subscribe(args.topic, qos=2)


def on_subscribe(client, userdata, mid, reason_codes, properties):
    print("subscribed", reason_codes)


def on_message(client, userdata, message):
    print(f"MSG|{message.topic}|{message.qos}|{message.retain:d}|{message.payload.decode()}")


clean = None if protocol == MQTTProtocolVersion.MQTTv5 else not args.durable
client = mqtt.Client(
    CallbackAPIVersion.VERSION2,
    client_id=args.client_id,
    clean_session=clean,
    protocol=protocol,
    transport=args.transport,
)
if args.ca:
    client.tls_set(args.ca)
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
if protocol == MQTTProtocolVersion.MQTTv5:
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600 if args.durable else 0
    client.connect("127.0.0.1", args.port, clean_start=not args.durable, properties=properties)
else:
    client.connect("127.0.0.1", args.port)
client.loop_forever()
