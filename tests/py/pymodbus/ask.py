"""A Modbus master of pymodbus: reads registers and decodes them itself.

usage: ask.py serial PATH SPEC | ask.py tcp PORT SPEC

SPEC is a file: {"unit": 1, "reads": [[name, function, address, type, word order], ...]}. Prints {name: value}.
"""
import json
import sys

from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient, ModbusTcpClient

where, spec = sys.argv[2], json.load(open(sys.argv[3], encoding="utf-8"))
if sys.argv[1] == "serial":
    client = ModbusSerialClient(where, framer=FramerType.RTU, baudrate=115200, timeout=10)
else:
    client = ModbusTcpClient("127.0.0.1", port=int(where), timeout=10)
assert client.connect()
read = {}
for name, function, address, kind, order in spec["reads"]:
    if function < 3:
        ask = client.read_coils if function == 1 else client.read_discrete_inputs
        read[name] = ask(address, count=1, device_id=spec["unit"]).bits[0]
        continue
    kind = client.DATATYPE[kind]
    ask = client.read_holding_registers if function == 3 else client.read_input_registers
    answer = ask(address, count=kind.value[1], device_id=spec["unit"])
    assert not answer.isError(), (name, answer)
    read[name] = client.convert_from_registers(answer.registers, kind, word_order=order)
print(json.dumps(read))
