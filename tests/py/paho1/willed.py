"""Connects with a will and stays, or goes at once with --leave, written as scripts for paho-mqtt 1 are."""

import argparse

import paho.mqtt.client as mqtt

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("client_id")
parser.add_argument("topic")
parser.add_argument("--keepalive", type=int, default=60)
parser.add_argument("--leave", action="store_true")
args = parser.parse_args()


def on_connect(client, userdata, flags, rc):
    print("connected", rc)
    if args.leave:
        client.disconnect()


client = mqtt.Client(args.client_id)
client.will_set(args.topic, "gone " + args.client_id, 1, True)
client.on_connect = on_connect
client.connect("127.0.0.1", args.port, args.keepalive)
client.loop_forever()
