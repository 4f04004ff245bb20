"""Objects of PySide6 behind proxies that behave as PythonQt's wrappers do.

An attribute is looked up in PythonQt's order: member of a Python subclass, Qt property (`name` is `objectName`), method
or signal, dynamic property, child object of that name. So properties are values (`label.text`, never `label.text()`),
lists come back as tuples and enumerators as numbers. Assigning an unknown attribute, or overwriting a method, raises
AttributeError, unless the object is of a Python subclass.
"""

from __future__ import annotations

import enum
import functools
import types
import weakref
from dataclasses import dataclass

from PySide6 import QtCore
from shiboken6 import Shiboken

from Testing.Host.enumerators import EnumScope, EnumValue, fittedToSignature, isEnumeration
from Testing.Host.signals import connect, disconnect, signatures
from Testing.Host.slots import recorded, slotErrors
from Testing.Host.widgetApi import argumentTypes, nameOf, offers, slicerClassOf

MISSING = object()
"""Answer of a look-up that found nothing."""

_proxyClasses: dict[type, ProxyType] = {}
"""Class of PySide6 -> its proxy class."""


# Conversion ----------------------------------------------------------------------------------------------------------


def wrap(value):
    """What PythonQt shows for a value of PySide6."""
    if isinstance(value, enum.Enum):
        return EnumValue(value) if isinstance(value.value, int) else value
    if isinstance(value, Shiboken.Object):
        return _proxyOf(value)
    if isinstance(value, list | tuple):
        return tuple(wrap(one) for one in value)
    return value


def unwrap(value):
    """The value of PySide6 behind what PythonQt shows."""
    if isinstance(value, Proxy):
        return value._target
    if isinstance(value, EnumValue):
        return value.enumerator
    if type(value) in (list, tuple):
        return type(value)(unwrap(one) for one in value)
    if isinstance(value, ProxyType):
        return value._qtClass
    return value


def call(function, name: str, *arguments, **keywords):
    """Call a method of PySide6 with proxies.

    Raises:
        ValueError: it does not take these arguments.
    """
    arguments = [unwrap(one) for one in arguments]
    keywords = {key: unwrap(one) for key, one in keywords.items()}
    try:
        return wrap(function(*arguments, **keywords))
    except TypeError as error:
        fitted = fittedToSignature(function, arguments)
        if fitted is None:
            raise ValueError(f"{name}: could not find a matching slot for {arguments!r} ({error})") from error
        return wrap(function(*fitted, **keywords))


def _proxyOf(target):
    proxy = getattr(target, "_proxy", None)
    if isinstance(proxy, weakref.ref):
        proxy = proxy()
    if proxy is None:
        class_ = proxyClass(type(target))
        proxy = class_.__new__(class_)
        object.__setattr__(proxy, "_target", target)
        _remember(target, weakref.ref(proxy))
    return proxy


def _remember(target, proxy) -> None:
    try:
        target._proxy = proxy
    except AttributeError:
        return  # a value type without attributes gets a new proxy every time


# Signals -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NamedSlot:
    """A slot given as receiver and signature: (edit, "clear()")."""

    receiver: Proxy
    signature: str

    def __call__(self, *arguments):
        """Call it with as many arguments as its signature has."""
        count = len(argumentTypes(self.signature))
        getattr(self.receiver, nameOf(self.signature))(*arguments[:count])


class BoundSignal:
    """A signal of one object: `button.clicked`."""

    def __init__(self, sender: QtCore.QObject, name: str):
        self._sender = sender
        self._name = name

    def connect(self, slot, *_):
        return connect(self._sender, self._signature(), slot, wrap)

    def disconnect(self, slot=None):
        return disconnect(self._sender, self._signature(), slot)

    def emit(self, *arguments):
        getattr(self._sender, self._name).emit(*[unwrap(one) for one in arguments])

    __call__ = emit

    def _signature(self):
        return signatures(self._sender, self._name)[0]


# Methods that PythonQt gives every QObject ---------------------------------------------------------------------------


def _connect(target, signature, receiver, slot=None):
    return connect(target, signature, NamedSlot(receiver, slot) if slot else receiver, wrap)


def _disconnect(target, signature, receiver=None, slot=None):
    return disconnect(target, signature, NamedSlot(receiver, slot) if slot else receiver)


def _className(target):
    """The C++ class, also of an object of a Python subclass."""
    slicerClass = slicerClassOf(type(target))
    if slicerClass:
        return slicerClass
    if isinstance(target, QtCore.QObject) and type(target).__module__.startswith("PySide6"):
        return target.metaObject().className()
    return next(one.__name__ for one in type(target).__mro__ if one.__module__.startswith("PySide6"))


def _inherits(target, className):
    return target.inherits(className) or any(one.__name__ == className for one in type(target).__mro__)


def _children(target):
    return [wrap(one) for one in target.children()]


def _findChildren(target, *arguments):
    return [wrap(one) for one in target.findChildren(*[unwrap(one) for one in arguments])]


SPECIAL_METHODS = {
    "children": _children,
    "className": _className,
    "connect": _connect,
    "delete": Shiboken.delete,
    "disconnect": _disconnect,
    "findChildren": _findChildren,
    "inherits": _inherits,
}


# Look-ups, in PythonQt's order ---------------------------------------------------------------------------------------


def _metaProperty(target, name: str) -> QtCore.QMetaProperty | None:
    if not isinstance(target, QtCore.QObject) or (name == "singleShot" and isinstance(target, QtCore.QTimer)):
        return None  # PythonQt shows the static method QTimer.singleShot, which hides the property
    meta = target.metaObject()
    index = meta.indexOfProperty(name)
    if index < 0 and name == "name":
        index = meta.indexOfProperty("objectName")
    return meta.property(index) if index >= 0 else None


def _findProperty(target, name):
    found = _metaProperty(target, name)
    return MISSING if found is None else wrap(target.property(found.name()))


def _findSpecialMethod(target, name):
    if isinstance(target, QtCore.QObject) and name in SPECIAL_METHODS:
        return functools.partial(SPECIAL_METHODS[name], target)
    return MISSING


def _findMember(target, name):
    name = {"exec_": "exec"}.get(name, name)
    if name.startswith("_") or not offers(type(target), name):
        return MISSING
    member = getattr(target, name, MISSING)
    if isinstance(member, QtCore.SignalInstance):
        return BoundSignal(target, name)
    if isinstance(member, enum.Enum):
        return wrap(member)
    if isEnumeration(member):
        return EnumScope(member)
    return functools.partial(call, member, name) if callable(member) else MISSING


def _dynamicNames(target) -> list[str]:
    return [bytes(one).decode() for one in target.dynamicPropertyNames()]


def _findDynamicProperty(target, name):
    if isinstance(target, QtCore.QObject) and name in _dynamicNames(target):
        return wrap(target.property(name))
    return MISSING


def _findChild(target, name):
    children = target.children() if isinstance(target, QtCore.QObject) else []
    return next((wrap(one) for one in children if one.objectName() == name), MISSING)


LOOK_UPS = (_findProperty, _findSpecialMethod, _findMember, _findDynamicProperty, _findChild)


def _setProperty(target, found: QtCore.QMetaProperty, value) -> None:
    name, typeName = found.name(), found.typeName()
    if not found.isWritable():
        raise AttributeError(f"Property '{name}' of {_className(target)} object is not writable")
    value = unwrap(value)
    if typeName == "bool":
        value = bool(value)
    elif typeName == "int" and isinstance(value, float):
        value = int(value)
    elif typeName == "QStringList":
        value = list(value)
    fits = isinstance(value, str) if typeName == "QString" else True
    if not fits or not target.setProperty(name, value):
        given = f"{type(value).__name__} ({value!r})"
        raise AttributeError(f"Property '{name}' of type '{typeName}' does not accept an object of type {given}")


# The proxies themselves ----------------------------------------------------------------------------------------------


class ProxyType(type):
    """A class of Qt: its enumerators, nested classes and static methods."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        member = getattr(cls._qtClass, name)
        if isinstance(member, enum.Enum):
            return wrap(member)
        if isEnumeration(member):
            return EnumScope(member)
        if isinstance(member, type) and issubclass(member, Shiboken.Object):
            return proxyClass(member)
        if name == "singleShot" and cls._qtClass is QtCore.QTimer:
            return lambda milliseconds, slot: member(int(milliseconds), recorded(slot, "QTimer.singleShot"))
        return functools.partial(call, member, name) if callable(member) else member


class Proxy(metaclass=ProxyType):
    """An object of Qt."""

    _qtClass: type | None = None

    def __init__(self, *arguments, **keywords):
        generated = _isGenerated(type(self))
        qtClass = self._qtClass if generated else _withVirtuals(type(self))
        target = qtClass(*[unwrap(one) for one in arguments], **{key: unwrap(one) for key, one in keywords.items()})
        object.__setattr__(self, "_target", target)
        # An object of a Python subclass lives as long as its C++ object; any other proxy can be made again.
        _remember(target, weakref.ref(self) if generated else self)

    def __getattr__(self, name):
        if name.startswith("__") or name == "_target":
            raise AttributeError(name)
        target = self._target
        if not Shiboken.isValid(target):
            raise ValueError(f"Trying to read '{name}' from a destroyed {type(self).__name__} object")
        for lookUp in LOOK_UPS:
            found = lookUp(target, name)
            if found is not MISSING:
                return found
        raise AttributeError(f"{_className(target)} has no attribute named '{name}'")

    def __setattr__(self, name, value):
        target = self._target
        found = _metaProperty(target, name)
        if found is not None:
            _setProperty(target, found, value)
        elif not _isGenerated(type(self)) or not isinstance(target, QtCore.QObject):
            object.__setattr__(self, name, value)
        elif name in _dynamicNames(target):
            target.setProperty(name, unwrap(value))
        elif callable(getattr(target, name, None)):
            raise AttributeError(f"Slot '{name}' can not be overwritten on {_className(target)} object")
        else:
            raise AttributeError(f"'{name}' is not a property of {_className(target)}, and it takes no attributes")

    def __eq__(self, other):
        return self._target == other._target if isinstance(other, Proxy) else NotImplemented

    def __hash__(self):
        return hash(id(self._target))

    def __bool__(self):
        return True

    def __repr__(self):
        name = _className(self._target)
        return f"{name} ({name}, at: {hex(id(self._target))})"


def proxyClass(qtClass: type) -> ProxyType:
    """The proxy class of a class of PySide6."""
    if qtClass not in _proxyClasses:
        above = (one for one in qtClass.__bases__ if issubclass(one, Shiboken.Object) and one is not Shiboken.Object)
        bases = tuple(proxyClass(one) for one in above) or (Proxy,)
        _proxyClasses[qtClass] = ProxyType(qtClass.__name__, bases, {"_qtClass": qtClass})
    return _proxyClasses[qtClass]


def _isGenerated(class_: ProxyType) -> bool:
    return class_ is _proxyClasses.get(class_._qtClass)


@functools.cache
def _withVirtuals(class_: ProxyType) -> type:
    """The PySide6 class whose virtual methods call those of `class_`, a Python subclass of a proxy class."""
    written = (one for one in class_.__mro__ if isinstance(one, ProxyType) and one is not Proxy)
    names = {
        name
        for one in written
        if not _isGenerated(one)
        for name, member in vars(one).items()
        if isinstance(member, types.FunctionType) and not name.startswith("__")
    }
    virtuals = {name: _virtual(name, getattr(class_._qtClass, name, None)) for name in names}
    members = {name: one for name, one in virtuals.items() if one is not None}
    return type(class_.__name__, (class_._qtClass,), members)


def _virtual(name: str, inherited):
    """A method that hands a call by Qt on to the Python subclass, None when Qt's class has no such method."""
    if not callable(inherited):
        return None

    def handOn(self, *arguments):
        proxy = getattr(self, "_proxy", None)
        if proxy is None:  # called by Qt's constructor, before there is a proxy
            return inherited(self, *arguments)
        try:
            return unwrap(getattr(proxy, name)(*[wrap(one) for one in arguments]))
        except Exception as error:
            slotErrors.append((name, error))
            raise

    return handOn
