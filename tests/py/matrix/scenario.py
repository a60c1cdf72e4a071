"""What each client does on each way into the broker: it gets its own message back byte for byte, a retained message, a
will, and what came while it was away.

A client is given as a class with these methods, all of which wait until they are done:

    Client(ways, version, transport, client_id, clean=True, will=None)    will: (topic, payload, qos)
    connect() -> whether a session was there, None if the client can't tell
    subscribe(topic, qos)
    publish(topic, payload, qos, retain=False)
    receive() -> (topic, payload, qos, retain)
    disconnect()
    drop()                                                                   closes the socket and says nothing

Each result is a line: CELL|client|version|transport|qos|check|ok, or what was wrong in the place of ok.
"""

import concurrent.futures
import itertools
import json
import queue
import sys
import traceback

# The longest that a message may take on a busy machine.
PATIENCE = 30

# Every byte, of which most is no UTF-8; then more than a packet's length byte can say.
PAYLOAD = bytes(range(256)) * 70


class Inbox:
    """Messages that have come, for clients with a thread of their own."""

    def __init__(self):
        self.messages = queue.Queue()

    def put(self, topic, payload, qos, retain):
        self.messages.put((topic, bytes(payload), int(qos), bool(retain)))

    def get(self):
        return self.messages.get(timeout=PATIENCE)


def expect(client, *wanted):
    got = client.receive()
    if got != wanted:
        topic, payload, qos, retain = got
        raise AssertionError(f"got {topic} {payload[:40]!r} ({len(payload)} bytes) QoS {qos} retain {retain}")


class Cell:
    def __init__(self, make, root, qos, version):
        self.make, self.root, self.qos, self.version = make, root, qos, version
        self.client_id = root.replace("/", "-")
        self.main = make(self.client_id)
        self.main.connect()
        self.main.subscribe(f"{root}/#", qos)

    def echo(self):
        topic = f"{self.root}/echo"
        for payload in (PAYLOAD, b"", b"\x00"):
            self.main.publish(topic, payload, self.qos)
            expect(self.main, topic, payload, self.qos, False)

    def retained(self):
        topic = f"{self.root}/kept"
        self.main.publish(topic, b"kept", self.qos, retain=True)
        expect(self.main, topic, b"kept", self.qos, False)
        late = self.make(f"{self.client_id}-late")
        late.connect()
        late.subscribe(topic, self.qos)
        expect(late, topic, b"kept", self.qos, True)
        late.disconnect()
        self.main.publish(topic, b"", self.qos, retain=True)
        expect(self.main, topic, b"", self.qos, False)

    def will(self):
        topic = f"{self.root}/will"
        doomed = self.make(f"{self.client_id}-doomed", will=(topic, b"gone", self.qos))
        doomed.connect()
        doomed.drop()
        expect(self.main, topic, b"gone", self.qos, False)

    def session(self):
        # Beside the topics of `main`, so that both get it once.
        topic = f"{self.root}/away"
        sleeper = self.make(f"{self.client_id}-sleeper", clean=False)
        if sleeper.connect():
            raise AssertionError("there is a session that nobody has made")
        sleeper.subscribe(topic, self.qos)
        sleeper.disconnect()
        self.main.publish(topic, b"while away", self.qos)
        expect(self.main, topic, b"while away", self.qos, False)
        sleeper = self.make(f"{self.client_id}-sleeper", clean=False)
        present = sleeper.connect()
        # 3.1 has no such flag.
        if present is False and self.version != 3:
            raise AssertionError("the session is gone")
        expect(sleeper, topic, b"while away", self.qos, False)
        sleeper.disconnect()


def run_cell(name, client, ways, version, transport, qos):
    def make(client_id, clean=True, will=None):
        return client(ways, version, transport, client_id, clean, will)

    def tell(check, result):
        print(f"CELL|{name}|{version}|{transport}|{qos}|{check}|{result}\n", end="", flush=True)

    checks = ["echo", "retained", "will"] + (["session"] if qos else [])
    try:
        cell = Cell(make, f"{name}/{version}/{transport}/{qos}", qos, version)
    except Exception as error:
        traceback.print_exc()
        for check in checks:
            tell(check, f"no connection: {error!r}")
        return
    for check in checks:
        try:
            getattr(cell, check)()
            tell(check, "ok")
        except Exception as error:
            traceback.print_exc()
            tell(check, repr(error))
    cell.main.disconnect()


def run(name, client, versions, transports):
    ways = json.loads(sys.argv[1])
    # Most of a cell's time is waiting: these clients leave Nagle's algorithm on.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        cells = itertools.product(versions, transports, range(3))
        futures = [pool.submit(run_cell, name, client, ways, *cell) for cell in cells]
        for future in futures:
            future.result()
