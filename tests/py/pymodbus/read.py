"""What slaves hold, as pymodbus's own client reads it by Modbus TCP.

usage: read.py PORT SPEC

SPEC is JSON: [[unit, function, address, type, word order], ...] with the types of pymodbus, and BITS. Prints the values as a
JSON array.
"""
import json
import sys

from pymodbus.client import ModbusTcpClient

client = ModbusTcpClient("127.0.0.1", port=int(sys.argv[1]))
assert client.connect(), "nobody listens"
values = []
for unit, function, address, kind, order in json.loads(sys.argv[2]):
    if kind == "BITS":
        read = client.read_coils if function == 1 else client.read_discrete_inputs
        answer = read(address, count=1, device_id=unit)
        assert not answer.isError(), answer
        values.append(answer.bits[0])
        continue
    datatype = client.DATATYPE[kind]
    count = 5 if kind == "STRING" else datatype.value[1]
    read = client.read_holding_registers if function == 3 else client.read_input_registers
    answer = read(address, count=count, device_id=unit)
    assert not answer.isError(), answer
    values.append(client.convert_from_registers(answer.registers, datatype, word_order=order))
client.close()
print(json.dumps(values))
