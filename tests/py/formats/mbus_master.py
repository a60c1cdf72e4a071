"""Asks a slave of an M-Bus at a line (first argument) with pyMeterBus: at address 1, then by its secondary address (second
argument), then by one that nobody has. What came is JSON on stdout."""

import json
import sys

import meterbus
import serial


def values(records):
    kinds = {"MeasureUnit.WH": "energy", "MeasureUnit.M3": "volume", "MeasureUnit.W": "power", "MeasureUnit.DATE": "date",
             "MeasureUnit.C": "flow_temperature", "MeasureUnit.M3_H": "volume_flow"}
    out = {}
    for record in records:
        out.setdefault(kinds.get(record["unit"], record["unit"]), record["value"])
    return out


def read(line):
    answer = meterbus.load(meterbus.recv_frame(line, 1))
    told = json.loads(answer.to_JSON())["body"]
    header = told["header"]
    return {"identification": header["identification"], "manufacturer": header["manufacturer"],
            "more": answer.more_records_follow, **values(told["records"])}


with serial.Serial(sys.argv[1], 2400, 8, "E", 1, timeout=2) as line:
    meterbus.send_ping_frame(line, 1)
    assert meterbus.recv_frame(line, 1) == b"\xe5"
    meterbus.send_request_frame_multi(line, 1)
    by_address = read(line)
    assert by_address["more"], by_address

    meterbus.send_select_frame(line, sys.argv[2])
    assert meterbus.recv_frame(line, 1) == b"\xe5"
    meterbus.send_request_frame_multi(line, meterbus.ADDRESS_NETWORK_LAYER)
    by_number = read(line)

    meterbus.send_select_frame(line, "99999999FFFFFFFF")
    stranger = meterbus.recv_frame(line, 1)
    print(json.dumps({"by_address": by_address, "by_number": by_number,
                      "stranger": stranger.hex() if stranger else None}))
