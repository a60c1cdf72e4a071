#!/usr/bin/env python3
"""Stops one thread of a process as a hang would, until the process ends. Prints a line once it stands.

Usage: freeze.py THREAD-ID
"""
import ctypes
import os
import sys

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) == -1:
        error = ctypes.get_errno()
        sys.exit(f"freeze.py: ptrace: {os.strerror(error)}")


thread = int(sys.argv[1])
ptrace(PTRACE_SEIZE, thread)
ptrace(PTRACE_INTERRUPT, thread)
os.waitpid(thread, WALL)
print("stands still", flush=True)
while True:
    try:
        _, status = os.waitpid(thread, WALL)
    except ChildProcessError:
        break
    if os.WIFEXITED(status) or os.WIFSIGNALED(status):
        break
