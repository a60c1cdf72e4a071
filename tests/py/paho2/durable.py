"""A publisher and a subscriber with persistent sessions that live through kills of their broker.

publisher <port>: publishes with QoS 1 and 2, and now and then retained, until SIGTERM; says "ack <payload>" for each that is acknowledged, ends when
all are. subscriber <port>: says "subscribed", then "got <payload>" for each message.
"""

import collections
import signal
import socket
import sys
import threading
import time

import paho.mqtt.client as mqtt

role, port = sys.argv[1], int(sys.argv[2])
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=role, clean_session=False)
client.reconnect_delay_set(min_delay=1, max_delay=1)
client.max_inflight_messages_set(10)


def wait_served():
    """Waits until somebody who connects is answered. When an attempt of paho's fails, paho forgets that it has sent PUBREL, and
    publishes the message once more under a number that the broker has done with: against 4.3.3, and no broker can tell."""
    connect = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05probe"
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)) as probe:
                probe.sendall(connect)
                if probe.recv(4) == b"\x20\x02\x00\x00":
                    return
        except OSError:
            pass
        time.sleep(0.1)


if role == "subscriber":

    def on_connect(client, userdata, flags, reason_code, properties):
        if not flags.session_present:
            client.subscribe("load/#", qos=2)

    client.on_connect = on_connect
    client.on_subscribe = lambda *args: print("subscribed", flush=True)
    client.on_message = lambda client, userdata, message: print(
        "got", message.payload.decode(), flush=True
    )
    client.connect("127.0.0.1", port)
    client.loop_forever(retry_first_connection=True)
else:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *args: stopping.set())
    done = collections.deque()
    client.on_publish = lambda client, userdata, mid, reason_code, properties: done.append(mid)
    client.connect("127.0.0.1", port)
    payloads = {}
    number = 0
    while payloads or not stopping.is_set():
        if len(payloads) < 10 and not stopping.is_set():
            qos = 1 + number % 2
            retain = number % 8 == 0
            topic, payload = ("state/x", f"r-{number}") if retain else ("load/x", f"{qos}-{number}")
            payloads[client.publish(topic, payload, qos=qos, retain=retain).mid] = payload
            number += 1
        if client.loop(timeout=0.002) != mqtt.MQTT_ERR_SUCCESS:
            wait_served()
            client.reconnect()
        while done:
            print("ack", payloads.pop(done.popleft()), flush=True)
    client.disconnect()
