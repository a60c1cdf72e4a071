"""Logs in and tells what the broker says, written as scripts for paho-mqtt 2 are."""

import argparse

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("client_id")
parser.add_argument("--user")
parser.add_argument("--password")
parser.add_argument("--will")
parser.add_argument("--protocol", type=int, default=4)
args = parser.parse_args()


def on_connect(client, userdata, flags, reason_code, properties):
    print("connack", reason_code.value)
    client.disconnect()


client = mqtt.Client(
    CallbackAPIVersion.VERSION2, client_id=args.client_id, protocol=MQTTProtocolVersion(args.protocol)
)
client.on_connect = on_connect
if args.user is not None:
    client.username_pw_set(args.user, args.password)
if args.will is not None:
    client.will_set(args.will, "gone")
client.connect("127.0.0.1", args.port)
client.loop_forever()
