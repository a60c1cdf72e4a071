"""Reads what devices send, as others read it: pynmea2, dsmr-parser, smllib, pyMeterBus; VE.Direct as its paper says.

usage: sensors.py KIND HEX, prints an object of what was read.
"""

import json
import sys


def nmea(data):
    import pynmea2

    lines = data.decode("ascii").splitlines()
    read = {message.sentence_type: message for message in (pynmea2.parse(line, check=True) for line in lines)}
    rmc, gga, gsa = read["RMC"], read["GGA"], read["GSA"]
    return {
        "latitude": rmc.latitude,
        "longitude": rmc.longitude,
        "knots": float(rmc.spd_over_grnd),
        "utc": rmc.datetime.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "is_valid": rmc.status == "A",
        "altitude": float(gga.altitude),
        "satellites": int(gga.num_sats),
        "hdop": float(gsa.hdop),
    }


def dsmr(data):
    from dsmr_parser import telegram_specifications
    from dsmr_parser.parsers import TelegramParser

    telegram = TelegramParser(telegram_specifications.V5).parse(data.decode("ascii"))
    meter = telegram.MBUS_DEVICES[0]
    return {
        "power_import": float(telegram.CURRENT_ELECTRICITY_USAGE.value),
        "energy_import_1": float(telegram.ELECTRICITY_USED_TARIFF_1.value),
        "voltage_l1": float(telegram.INSTANTANEOUS_VOLTAGE_L1.value),
        "time": telegram.P1_MESSAGE_TIMESTAMP.value.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "gas": float(meter.MBUS_METER_READING.value),
        "unit": telegram.CURRENT_ELECTRICITY_USAGE.unit,
    }


def sml(data):
    from smllib import SmlStreamReader

    stream = SmlStreamReader()
    stream.add(data)
    frame = stream.get_frame()
    entries = frame.parse_frame()[1].message_body.val_list
    return {str(entry.obis.obis_short): entry.get_value() for entry in entries}


def mbus(data):
    import meterbus

    telegram = json.loads(meterbus.load(data).to_JSON())
    return {record["type"]: [record["value"], record["unit"]] for record in telegram["body"]["records"]}


def vedirect(data):
    blocks, read = data.split(b"\r\nPID\t")[1:], {}
    for block in (b"\r\nPID\t" + block for block in blocks):
        assert sum(block) % 256 == 0, block
        for line in block[2 : block.rindex(b"\r\nChecksum\t")].split(b"\r\n"):
            key, value = line.decode("ascii").split("\t")
            read[key] = value
    return read


KINDS = {"nmea": nmea, "dsmr": dsmr, "sml": sml, "mbus": mbus, "vedirect": vedirect}
print(json.dumps(KINDS[sys.argv[1]](bytes.fromhex(sys.argv[2])), default=str))
