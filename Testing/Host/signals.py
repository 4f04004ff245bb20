"""Signals and slots with the manners of PythonQt, on objects of PySide6.

A signal is named by its C++ signature; a slot gets as many arguments as it takes; what it raises is recorded.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable
from dataclasses import dataclass
from inspect import CO_VARARGS

from PySide6 import QtCore
from shiboken6 import Shiboken

from Testing.Host.slots import recorded
from Testing.Host.widgetApi import argumentTypes, nameOf, slicerClassOf, widgetApi


@dataclass(frozen=True)
class Connection:
    """One slot at one signal."""

    signal: str
    slot: Callable
    handle: QtCore.QMetaObject.Connection


_connections: dict[int, list[Connection]] = {}
"""Address of the sender -> its connections; the sender itself is not held, so it dies when nobody else wants it."""


def normalized(signature: str) -> str:
    """The signature as Qt spells it: no spaces, no `const &`."""
    return bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()


def signatures(sender: QtCore.QObject, name: str) -> list[str]:
    """The signatures of all signals called `name`, in order of declaration."""
    meta = sender.metaObject()
    methods = (meta.method(i) for i in range(meta.methodCount()))
    signals = (one for one in methods if one.methodType() == QtCore.QMetaMethod.MethodType.Signal)
    return [bytes(one.methodSignature()).decode() for one in signals if bytes(one.name()).decode() == name]


def resolved(sender: QtCore.QObject, signature: str) -> str:
    """The signature under which PySide6 knows a signal.

    A stand-in's signal carries `PyObject` where the real one carries a type that PySide6 does not know.

    Raises:
        ValueError: the object has no such signal.
    """
    wanted = normalized(signature)
    if sender.metaObject().indexOfSignal(wanted) >= 0:
        return wanted
    className = slicerClassOf(type(sender))
    if className and wanted in map(normalized, widgetApi().ownSignals(className)):
        for one in signatures(sender, nameOf(wanted)):
            if _carries(one, wanted):
                return one
    raise ValueError(f"{sender.metaObject().className()} has no signal {signature}")


def _carries(own: str, wanted: str) -> bool:
    pairs = list(itertools.zip_longest(argumentTypes(own), argumentTypes(wanted)))
    return all(have in (want, "PyObject") and want is not None for have, want in pairs)


def argumentCount(slot: Callable) -> int | None:
    """How many arguments of a signal PythonQt hands to a slot, None for all of them."""
    bound = isinstance(slot, types.MethodType)
    function = slot.__func__ if bound else slot
    if not isinstance(function, types.FunctionType) or function.__code__.co_flags & CO_VARARGS:
        return None
    return function.__code__.co_argcount - bound


def connect(sender: QtCore.QObject, signature: str, slot: Callable, convert: Callable) -> bool:
    """Call `slot` at every emission of the signal, with its arguments after `convert`.

    Raises:
        ValueError: the object has no such signal.
        TypeError: the slot cannot be called.
    """
    signal = resolved(sender, signature)
    if not callable(slot):
        raise TypeError(f"{slot!r} cannot be connected to {signature}: it is not callable")
    count = argumentCount(slot)

    def receive(*arguments):
        slot(*[convert(one) for one in arguments[:count]])

    handle = QtCore.QObject.connect(sender, f"2{signal}", recorded(receive, signature))
    _connectionsOf(sender).append(Connection(signal, slot, handle))
    return True


def disconnect(sender: QtCore.QObject, signature: str, slot: Callable | None = None) -> bool:
    """Undo the connections of a signal to one slot, or to all; returns whether there was one."""
    signal = resolved(sender, signature)
    connections = _connectionsOf(sender)
    ended = [one for one in connections if one.signal == signal and (slot is None or one.slot == slot)]
    for one in ended:
        QtCore.QObject.disconnect(one.handle)
        connections.remove(one)
    return bool(ended)


def _connectionsOf(sender: QtCore.QObject) -> list[Connection]:
    address = Shiboken.getCppPointer(sender)[0]
    if address not in _connections:
        connections = _connections

        def forget():
            connections.pop(address, None)

        sender.destroyed.connect(forget)
        _connections[address] = []
    return _connections[address]
