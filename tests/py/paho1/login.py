"""Logs in and tells what the broker says, written as scripts for paho-mqtt 1.6 are."""

import argparse

import paho.mqtt.client as mqtt

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("client_id")
parser.add_argument("--user")
parser.add_argument("--password")
parser.add_argument("--will")
parser.add_argument("--protocol", type=int, default=4)
args = parser.parse_args()


def on_connect(client, userdata, flags, rc, properties=None):
    print("connack", getattr(rc, "value", rc))
    client.disconnect()


client = mqtt.Client(args.client_id, protocol=args.protocol)
client.on_connect = on_connect
if args.user is not None:
    client.username_pw_set(args.user, args.password)
if args.will is not None:
    client.will_set(args.will, "gone")
client.connect("127.0.0.1", args.port)
client.loop_forever()
