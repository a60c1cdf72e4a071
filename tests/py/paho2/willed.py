"""Connects with a will and stays, or goes at once with --leave, written as scripts for paho-mqtt 2 are."""

import argparse

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("client_id")
parser.add_argument("topic")
parser.add_argument("--keepalive", type=int, default=60)
parser.add_argument("--leave", action="store_true")
args = parser.parse_args()


def on_connect(client, userdata, flags, reason_code, properties):
    print("connected", reason_code)
    if args.leave:
        client.disconnect()


client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=args.client_id)
client.will_set(args.topic, f"gone {args.client_id}", qos=1, retain=True)
client.on_connect = on_connect
client.connect("127.0.0.1", args.port, args.keepalive)
client.loop_forever()
