"""Imported by Python at start when this folder is on PYTHONPATH: a process that may open no network socket."""

import socket
import sys


def refuse_network(event, args):
    if event == "socket.__new__" and args[1] in (socket.AF_INET, socket.AF_INET6):
        raise AssertionError("the network was used: an internet socket was opened")


sys.addaudithook(refuse_network)
