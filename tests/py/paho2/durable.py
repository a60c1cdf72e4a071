"""A publisher and a subscriber with persistent sessions that live through kills of their broker.

publisher <port>: publishes with QoS 1 and 2, and now and then retained, until SIGTERM; says "ack <payload>" for each that is acknowledged, ends when
all are. subscriber <port>: says "subscribed", then "got <payload>" for each message.
"""

import collections
import signal
import sys
import threading
import time

import paho.mqtt.client as mqtt

role, port = sys.argv[1], int(sys.argv[2])
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=role, clean_session=False)
client.reconnect_delay_set(min_delay=1, max_delay=1)
client.max_inflight_messages_set(10)

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
    # Filled by paho's thread, which holds a lock of its own meanwhile.
    done = collections.deque()
    client.on_publish = lambda client, userdata, mid, reason_code, properties: done.append(mid)
    client.connect("127.0.0.1", port)
    client.loop_start()
    payloads = {}
    number = 0
    while payloads or not stopping.is_set():
        if len(payloads) < 10 and not stopping.is_set():
            qos = 1 + number % 2
            retain = number % 8 == 0
            topic, payload = ("state/x", f"r-{number}") if retain else ("load/x", f"{qos}-{number}")
            payloads[client.publish(topic, payload, qos=qos, retain=retain).mid] = payload
            number += 1
        while done:
            print("ack", payloads.pop(done.popleft()), flush=True)
        if len(payloads) >= 10 or stopping.is_set():
            time.sleep(0.002)
    client.disconnect()
    client.loop_stop()
