"""Reads payloads as their receivers do: a form and the payload in hexadecimal digits come in, JSON goes out.

senml-json and senml-cbor are resolved as RFC 8428, 4.6 says, each rule of 4 checked on the way; influx is read by
line-protocol-parser; jinja renders a template of Home Assistant (third argument) for a payload.
"""

import json
import re
import sys

import cbor2
import jinja2
from line_protocol_parser import parse_line

# RFC 8428, 6, table 4.
LABELS = {-1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs", 0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb",
          5: "s", 6: "t", 7: "ut", 8: "vd"}
NAME = re.compile(r"[A-Za-z0-9][-:./_A-Za-z0-9]*")
UNITS = {"Cel", "%RH", "hPa", "kWh", "count"}


def resolved(pack):
    assert isinstance(pack, list) and pack
    base_name, base_time, out = "", 0, []
    for record in pack:
        assert set(record) <= set(LABELS.values()), record
        base_name = record.get("bn", base_name)
        base_time = record.get("bt", base_time)
        name = base_name + record.get("n", "")
        assert NAME.fullmatch(name), name
        values = [key for key in ("v", "vs", "vb", "vd") if key in record]
        assert len(values) == 1, record
        value = record[values[0]]
        kinds = {"v": (int, float), "vs": str, "vb": bool, "vd": str}
        assert isinstance(value, kinds[values[0]]), record
        assert values[0] != "v" or not isinstance(value, bool), record
        unit = record.get("u")
        assert unit is None or unit in UNITS, unit
        out.append({"n": name, "u": unit, "v": value, "t": base_time + record.get("t", 0)})
    return out


def main():
    form, payload = sys.argv[1], bytes.fromhex(sys.argv[2])
    if form == "senml-json":
        answer = resolved(json.loads(payload))
    elif form == "senml-cbor":
        pack = cbor2.loads(payload)
        answer = resolved([{LABELS[label]: value for label, value in record.items()} for record in pack])
    elif form == "influx":
        answer = parse_line(payload.decode())
    else:
        text = payload.decode()
        environment = jinja2.Environment()
        try:
            value_json = json.loads(text)
        except ValueError:
            value_json = None
        answer = environment.from_string(sys.argv[3]).render(value=text, value_json=value_json)
    print(json.dumps(answer))


main()
