"""Subscribes and prints what comes, written as scripts for paho-mqtt 1 are."""

import argparse

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("client_id")
parser.add_argument("topic")
parser.add_argument("--protocol", type=int, default=mqtt.MQTTv311)
parser.add_argument("--durable", action="store_true")
parser.add_argument("--transport", default="tcp")
parser.add_argument("--ca")
args = parser.parse_args()


def on_connect(client, userdata, flags, rc, properties=None):
    print("connected", rc, flags)
    client.subscribe(args.topic, 2)


def on_subscribe(client, userdata, mid, granted_qos, properties=None):
    print("subscribed", granted_qos)


def on_message(client, userdata, message):
    fields = (message.topic, message.qos, message.retain, message.payload.decode())
    print("MSG|%s|%d|%d|%s" % fields)


if args.protocol == mqtt.MQTTv5:
    client = mqtt.Client(args.client_id, protocol=mqtt.MQTTv5, transport=args.transport)
else:
    client = mqtt.Client(args.client_id, not args.durable, None, args.protocol, args.transport)
if args.ca:
    client.tls_set(args.ca)
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
if args.protocol == mqtt.MQTTv5:
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600 if args.durable else 0
    client.connect("127.0.0.1", args.port, 60, clean_start=not args.durable, properties=properties)
else:
    client.connect("127.0.0.1", args.port, 60)
client.loop_forever()
