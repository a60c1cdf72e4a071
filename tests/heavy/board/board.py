#!/usr/bin/env python3
"""Emulated boards: boots Linux with the gateway, moves the lines of a PL061 GPIO chip from outside by QEMU's qtest socket,
and holds what the gateway says against it; then a Raspberry Pi 3, whose lines can be set but not moved from outside.
Arguments: kernel, initramfs, device tree of the Raspberry Pi."""

import json
import socket
import subprocess
import sys
import tempfile
import time

BASE = 0x9030000
DATA = BASE + 0x3FC
DIRECTION = BASE + 0x400
PENDING = BASE + 0x414
PULSES = 100
PATIENCE = 60


class Lines:
    """A socket that speaks lines."""

    def __init__(self, path):
        deadline = time.time() + PATIENCE
        while True:
            try:
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.connect(path)
                break
            except OSError:
                assert time.time() < deadline, f"{path}: nobody listens"
                time.sleep(0.05)
        self.socket.settimeout(PATIENCE)
        self.file = self.socket.makefile("rb")

    def send(self, text):
        self.socket.sendall(text.encode() + b"\n")

    def line(self):
        line = self.file.readline()
        assert line, "the board is gone"
        return line.decode(errors="replace").rstrip()


VIRT = ["-M", "virt", "-cpu", "cortex-a53", "-m", "512", "-nic", "none", "-append", "console=ttyAMA0 quiet panic=-1"]
# The second serial port is the one with a console; rppal wants the registers, which /dev/mem gives only when told so.
PI_WORDS = "console=ttyS1,115200 iomem=relaxed quiet panic=-1 board=pi"


def pi(device_tree):
    return ["-M", "raspi3b", "-dtb", device_tree, "-append", PI_WORDS, "-serial", "null"]


class Board:
    def __init__(self, kernel, initramfs, machine):
        self.dir = tempfile.TemporaryDirectory()
        path = lambda name: f"{self.dir.name}/{name}"
        self.process = subprocess.Popen(
            ["qemu-system-aarch64", "-accel", "tcg", "-kernel", kernel, "-initrd", initramfs]
            + machine
            + ["-display", "none", "-no-reboot", "-qtest-log", "none", "-monitor", "none"]
            + ["-qtest", f"unix:{path('qtest')},server=on,wait=off", "-qmp", f"unix:{path('qmp')},server=on,wait=off"]
            + ["-serial", f"unix:{path('console')},server=on,wait=on"],
            stdin=subprocess.DEVNULL,
        )
        self.console = Lines(path("console"))
        qmp = Lines(path("qmp"))
        qmp.line()
        ask = lambda command, **arguments: (
            qmp.send(json.dumps({"execute": command, "arguments": arguments})),
            json.loads(qmp.line())["return"],
        )[1]
        ask("qmp_capabilities")
        children = ask("qom-list", path="/machine/unattached")
        self.chip = next((child["name"] for child in children if child["type"] == "child<pl061>"), None)
        self.qtest = Lines(path("qtest"))
        self.seen = []
        self.wait("BOARD ready")

    def wait(self, start):
        while True:
            line = self.console.line()
            self.seen.append(line)
            if line.startswith(start):
                return line.removeprefix(start).strip()

    def qtest_ask(self, text):
        self.qtest.send(text)
        answer = self.qtest.line()
        assert answer.startswith("OK"), f"{text}: {answer}"
        return answer

    def level(self, line, level):
        self.qtest_ask(f"set_irq_in /machine/unattached/{self.chip} unnamed-gpio-in {line} {level}")

    def settle(self):
        """Waits until no interrupt is pending at the chip."""
        deadline = time.time() + PATIENCE
        while int(self.qtest_ask(f"readl {PENDING:#x}").split()[1], 16):
            assert time.time() < deadline, "the kernel takes no interrupts"

    def pin(self, line):
        """Whether the board drives the line, and its level."""
        read = lambda address: int(self.qtest_ask(f"readl {address:#x}").split()[1], 16) >> line & 1
        return bool(read(DIRECTION)), read(DATA)

    def run(self, words):
        self.console.send(words)
        return self.wait("RAN")

    def status(self):
        self.console.send("status")
        text = self.wait("STATUS")
        try:
            health = json.loads(text)
        except ValueError:
            return {}
        return {line["name"]: line for line in health["gpio"]}

    def until(self, what, wanted):
        deadline = time.time() + PATIENCE
        while True:
            status = self.status()
            if status and wanted(status):
                return status
            assert time.time() < deadline, f"did not happen: {what}: {json.dumps(status, indent=1)}"
            time.sleep(0.2)

    def end(self):
        self.process.kill()
        self.process.wait()


def check(board):
    names = ["pulses", "contact", "low", "pump"]
    status = board.until("the lines are open", lambda s: all(s[name]["state"] == "open" for name in names))
    assert all(status[name]["backend"] == "gpiocdev" for name in names), status
    error = status["taken"]["error"]
    assert "is used by" in error, error
    print(f"a line that is taken: {error}")
    # An output: driven, read back, in both directions.
    assert board.pin(4) == (True, 0), board.pin(4)
    assert "true" in board.run("run gpio set pump on --socket /tmp/control.sock")
    assert board.pin(4) == (True, 1), board.pin(4)
    status = board.until("it reads on", lambda s: s["pump"]["actual"] is True)
    # Edges: none is missed. The next one waits until the kernel has taken the interrupt and its thread has run: two before
    # that are one to the kernel, on any board.
    before = status["low"]["pulses"]
    for _ in range(PULSES):
        for level in (1, 0):
            for line in (0, 2):
                board.level(line, level)
            board.settle()
            time.sleep(0.03)
    counted = lambda s: s["pulses"]["pulses"] >= PULSES and s["low"]["pulses"] - before >= PULSES
    status = board.until("all pulses are counted", counted)
    print(f"pulses: {status['pulses']['pulses']} of {PULSES}, lost {status['pulses']['lost_edges']}")
    assert (status["pulses"]["pulses"], status["pulses"]["lost_edges"]) == (PULSES, 0), status["pulses"]
    assert status["low"]["pulses"] - before == PULSES, "active_low counts the falling edges"
    # The kernel debounces: five bounces are one change.
    edges = status["contact"]["edges"]
    for _ in range(5):
        board.level(1, 1)
        time.sleep(0.005)
        board.level(1, 0)
        time.sleep(0.005)
    board.level(1, 1)
    status = board.until("the contact is closed", lambda s: s["contact"]["edges"] > edges)
    time.sleep(0.3)
    status = board.status()
    print(f"debounced: 11 changes, {status['contact']['edges'] - edges} seen")
    assert status["contact"]["edges"] == edges + 1, status["contact"]
    # A crash takes no total back.
    time.sleep(1.5)
    board.run("kill")
    status = board.until("it is back", lambda s: s["pulses"]["state"] == "open")
    assert status["pulses"]["pulses"] == PULSES, status["pulses"]
    # At the end the output is off.
    board.run("run gpio set pump on --socket /tmp/control.sock")
    assert board.pin(4) == (True, 1)
    assert board.run("stop") == "stop 0"
    assert board.pin(4)[1] == 0, board.pin(4)
    print("the output: on, off at the end")


def check_pi(board):
    names = ["relay", "relay-low", "pulses", "named"]
    status = board.until("the lines are open", lambda s: all(s[name]["state"] == "open" for name in names))
    assert [status[name]["backend"] for name in names] == ["rppal"] * 3 + ["gpiocdev"], status
    # GPLEV0: what the pins are. Low is on.
    level = lambda line: int(board.qtest_ask("readl 0x3f200034").split()[1], 16) >> line & 1
    status = board.until("it is on from the start", lambda s: s["relay-low"]["actual"] is True)
    assert (level(22), level(23), level(24)) == (0, 0, 0), (level(22), level(23), level(24))
    for name, line in (("relay", 22), ("named", 24)):
        for word, expected in (("on", 1), ("off", 0), ("on", 1)):
            answer = board.run(f"run gpio set {name} {word} --socket /tmp/control.sock")
            assert answer == f"{name}: {'true' if expected else 'false'}", answer
            assert level(line) == expected, (name, word)
    board.run("run gpio set relay-low off --socket /tmp/control.sock")
    assert level(23) == 1
    assert board.run("stop") == "stop 0"
    assert (level(22), level(23), level(24)) == (0, 1, 0), "off, kept, off"
    print("a Raspberry Pi: rppal and gpiocdev set and read back their outputs")


def main():
    kernel, initramfs, device_tree = sys.argv[1:4]
    run(kernel, initramfs, VIRT, check)
    run(kernel, initramfs, pi(device_tree), check_pi)


def run(kernel, initramfs, machine, check):
    board = Board(kernel, initramfs, machine)
    try:
        check(board)
    except BaseException:
        print("\n".join(board.seen[-40:]))
        board.console.send("log")
        time.sleep(1)
        board.wait("RAN log")
        print("\n".join(board.seen[-60:]))
        raise
    finally:
        board.end()


main()
