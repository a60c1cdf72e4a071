"""Declares a quorum queue behind amq.topic, or prints all that is in it.

quorum.py declare PORT ROUTING_KEY
quorum.py drain PORT COUNT       until there were so many different ones, or nothing came for 20 s
"""

import sys

import pika

what, port, argument = sys.argv[1:]
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(port)))
channel = connection.channel()
if what == "declare":
    channel.queue_declare("readings", durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_bind("readings", "amq.topic", argument)
else:
    channel.basic_qos(prefetch_count=500)
    different = set()
    for method, _, body in channel.consume("readings", inactivity_timeout=20):
        if method is None:
            break
        channel.basic_ack(method.delivery_tag)
        print("MSG", body.decode(), flush=True)
        different.add(body)
        if len(different) >= int(argument):
            break
connection.close()
