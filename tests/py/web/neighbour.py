"""A neighbour on the LAN: looks for services by mDNS with zeroconf, and says what it finds, a line of JSON each time that
something changes: {"services": {"<name>": {"port", "server", "addresses", "facts"}}, "host": [...]}.

Arguments: the own address on the network, the host name to ask for, the kinds of service."""

import json
import sys
import time

from zeroconf import IPVersion, ServiceBrowser, Zeroconf
from zeroconf._services.info import AddressResolverIPv4

own, host, kinds = sys.argv[1], sys.argv[2], sys.argv[3:]
zero = Zeroconf(interfaces=[own], ip_version=IPVersion.V4Only)


class Listener:
    def __init__(self):
        self.names = set()

    def add_service(self, _zero, kind, name):
        self.names.add((kind, name))

    def update_service(self, _zero, kind, name):
        self.names.add((kind, name))

    def remove_service(self, _zero, kind, name):
        self.names.discard((kind, name))


listener = Listener()
browser = ServiceBrowser(zero, [f"{kind}.local." for kind in kinds], listener)
said = None
while True:
    found = {}
    for kind, name in sorted(listener.names):
        info = zero.get_service_info(kind, name, timeout=2000)
        if info:
            facts = {key.decode(): (value or b"").decode() for key, value in info.properties.items()}
            found[name] = {
                "port": info.port,
                "server": info.server,
                "addresses": info.parsed_addresses(),
                "facts": facts,
            }
    resolver = AddressResolverIPv4(f"{host}.")
    addresses = resolver.parsed_addresses() if resolver.request(zero, 1000) else []
    line = json.dumps({"services": found, "host": addresses}, sort_keys=True)
    if line != said:
        said = line
        print(line, flush=True)
    time.sleep(0.2)
