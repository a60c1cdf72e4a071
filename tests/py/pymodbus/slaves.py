"""Modbus slaves of pymodbus, on a serial line (RTU) or as a TCP server.

usage: slaves.py serial PATH SPEC [PORT] | slaves.py tcp PORT SPEC

SPEC is a file: {"devices": {"<unit>": [[function, address, type, word order, value], ...]}}; with "identity": [vendor,
product, revision] all of them say so of themselves. Types are those of pymodbus
(FLOAT32, UINT16, ...), and BITS for functions 1 and 2. The values are put into the registers by pymodbus itself. Prints
"ready" when it listens. With a PORT the same slaves are on that TCP port of 127.0.0.1 too.
"""
import asyncio
import json
import logging
import sys

from pymodbus import FramerType, ModbusDeviceIdentification
from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import ModbusSerialServer, ModbusTcpServer

SPAN = 1000
KINDS = {1: "co", 2: "di", 3: "hr", 4: "ir"}

logging.disable(logging.WARNING)


def context(entries):
    """The four tables of a device; what isn't set is 0."""
    tables = {kind: [0] * SPAN for kind in KINDS.values()}
    for function, address, kind, order, value in entries:
        if kind == "BITS":
            cells = [int(value)]
        else:
            cells = ModbusClientMixin.convert_to_registers(value, ModbusClientMixin.DATATYPE[kind], word_order=order)
        tables[KINDS[function]][address : address + len(cells)] = cells
    # The blocks count from 1, the wire from 0.
    return ModbusDeviceContext(**{kind: ModbusSequentialDataBlock(1, cells) for kind, cells in tables.items()})


async def main():
    where, spec = sys.argv[2], json.load(open(sys.argv[3], encoding="utf-8"))
    devices = {int(unit): context(entries) for unit, entries in spec["devices"].items()}
    store = ModbusServerContext(devices=devices, single=False)
    vendor, product, revision = spec.get("identity", ["", "", ""])
    info = {"VendorName": vendor, "ProductCode": product, "MajorMinorRevision": revision}
    identity = ModbusDeviceIdentification(info_name=info)
    if sys.argv[1] == "serial":
        server = ModbusSerialServer(store, framer=FramerType.RTU, port=where, baudrate=115200, identity=identity)
    else:
        server = ModbusTcpServer(store, address=("127.0.0.1", int(where)), identity=identity)
    await server.serve_forever(background=True)
    if len(sys.argv) > 4:
        beside = ModbusTcpServer(store, address=("127.0.0.1", int(sys.argv[4])))
        # The same store, of which each server would make its own.
        beside.context = server.context
        await beside.serve_forever(background=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
