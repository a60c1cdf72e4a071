"""Makes src/people/common_passwords.bin: the 10,000 passwords that people use most, as zxcvbn has counted them (MIT licence),
each as the first 32 bits of its SHA-256; sorted, the distances between them in LEB128. Without arguments it writes to
standard output."""

import hashlib
import sys

from zxcvbn.frequency_lists import FREQUENCY_LISTS

COUNT = 10_000


def main():
    words = FREQUENCY_LISTS["passwords"][:COUNT]
    hashes = sorted({int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") for word in words})
    out, before = bytearray(), 0
    for value in hashes:
        distance, before = value - before, value
        while distance >= 0x80:
            out.append(distance & 0x7F | 0x80)
            distance >>= 7
        out.append(distance)
    sys.stdout.buffer.write(out)


main()
