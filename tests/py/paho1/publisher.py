"""Publishes a number of messages and goes, written as scripts for paho-mqtt 1 are."""

import argparse

import paho.mqtt.client as mqtt

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("client_id")
parser.add_argument("topic")
parser.add_argument("payload")
parser.add_argument("--protocol", type=int, default=mqtt.MQTTv311)
parser.add_argument("--count", type=int, default=1)
parser.add_argument("--qos", type=int, default=1)
parser.add_argument("--retain", action="store_true")
parser.add_argument("--transport", default="tcp")
parser.add_argument("--ca")
parser.add_argument("--cert")
parser.add_argument("--key")
args = parser.parse_args()

published = 0


def on_connect(client, userdata, flags, rc, properties=None):
    print("connected", rc)
    for number in range(args.count):
        client.publish(args.topic, "%s%d" % (args.payload, number), args.qos, args.retain)


def on_publish(client, userdata, mid):
    global published
    published += 1
    if published == args.count:
        client.disconnect()


client = mqtt.Client(args.client_id, protocol=args.protocol, transport=args.transport)
if args.ca:
    client.tls_set(args.ca, args.cert, args.key)
client.on_connect = on_connect
client.on_publish = on_publish
client.connect("127.0.0.1", args.port, 60)
client.loop_forever()
print("published", published)
