# SPDX-License-Identifier: GPL-2.0-or-later
"""A D-Bus client in a page or two: what busctl does not show is the name of an error, and in which
order a reply and a signal arrived. Little-endian, file descriptors only to be sent, one thread."""

import os
import select
import socket
import struct
import time

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NUMBERS = {'y': 'B', 'n': 'h', 'q': 'H', 'i': 'i', 'u': 'I', 'h': 'I', 'x': 'q', 't': 'Q', 'd': 'd'}
ALIGN = {'y': 1, 'g': 1, 'v': 1, 'n': 2, 'q': 2, 'x': 8, 't': 8, 'd': 8, '(': 8, '{': 8}


class Variant:
    def __init__(self, signature, value):
        self.signature = signature
        self.value = value


class Error(Exception):
    def __init__(self, name, text):
        super().__init__(f'{name}: {text}')
        self.name = name
        self.text = text


def first_type(signature):
    """The first complete type of a signature, and the rest."""
    if signature[0] == 'a':
        inner, rest = first_type(signature[1:])
        return 'a' + inner, rest
    if signature[0] in '({':
        depth = 0
        for i, c in enumerate(signature):
            depth += (c in '({') - (c in ')}')
            if depth == 0:
                return signature[:i + 1], signature[i + 1:]
    return signature[0], signature[1:]


def types(signature):
    while signature:
        one, signature = first_type(signature)
        yield one


class Writer:
    def __init__(self):
        self.data = bytearray()

    def align(self, n):
        self.data += bytes(-len(self.data) % n)

    def put(self, kind, value):
        self.align(ALIGN.get(kind[0], 4))
        if kind in NUMBERS:
            self.data += struct.pack('<' + NUMBERS[kind], value)
        elif kind == 'b':
            self.data += struct.pack('<I', bool(value))
        elif kind in ('s', 'o'):
            raw = value if isinstance(value, bytes) else value.encode()
            self.data += struct.pack('<I', len(raw)) + raw + b'\0'
        elif kind == 'g':
            self.data += bytes([len(value)]) + value.encode() + b'\0'
        elif kind == 'v':
            self.put('g', value.signature)
            self.put(value.signature, value.value)
        elif kind[0] == 'a':
            self.put_array(kind[1:], value)
        else:
            for one, v in zip(types(kind[1:-1]), value, strict=True):
                self.put(one, v)

    def put_array(self, inner, value):
        at = len(self.data)
        self.data += bytes(4)
        self.align(ALIGN.get(inner[0], 4))
        start = len(self.data)
        for v in value.items() if isinstance(value, dict) else value:
            self.put(inner, v)
        self.data[at:at + 4] = struct.pack('<I', len(self.data) - start)


class Reader:
    def __init__(self, data):
        self.data = data
        self.pos = 0

    def align(self, n):
        self.pos += -self.pos % n

    def take(self, n):
        self.pos += n
        return self.data[self.pos - n:self.pos]

    def get(self, kind):
        self.align(ALIGN.get(kind[0], 4))
        if kind in NUMBERS:
            code = '<' + NUMBERS[kind]
            return struct.unpack(code, self.take(struct.calcsize(code)))[0]
        if kind == 'b':
            return bool(self.get('u'))
        if kind in ('s', 'o'):
            return self.take(self.get('u') + 1)[:-1].decode()
        if kind == 'g':
            return self.take(self.get('y') + 1)[:-1].decode()
        if kind == 'v':
            return self.get(self.get('g'))
        if kind[0] == 'a':
            return self.get_array(kind[1:])
        return tuple(self.get(one) for one in types(kind[1:-1]))

    def get_array(self, inner):
        size = self.get('u')
        self.align(ALIGN.get(inner[0], 4))
        end = self.pos + size
        found = []
        while self.pos < end:
            found.append(self.get(inner))
        return dict(found) if inner[0] == '{' else found


class Message:
    """kind, serial, body (a list), and the header fields as attributes."""
    NAMES = {1: 'path', 2: 'interface', 3: 'member', 4: 'error', 5: 'reply_to', 6: 'destination',
             7: 'sender', 8: 'signature'}

    def __init__(self, header, body):
        self.kind = header[1]
        self.serial = struct.unpack_from('<I', header, 8)[0]
        for name in self.NAMES.values():
            setattr(self, name, None)
        r = Reader(header)
        r.pos = 12
        for code, value in r.get('a(yv)'):
            setattr(self, self.NAMES.get(code, 'unknown'), value)
        r = Reader(body)
        self.body = [r.get(one) for one in types(self.signature or '')]


class Client:
    """A connection; signals that came are in .signals, oldest first, until taken."""

    def __init__(self, path, rules=()):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.serial = 0
        self.signals = []
        self.buffer = b''
        uid = str(os.getuid()).encode().hex()
        self.socket.sendall(f'\0AUTH EXTERNAL {uid}\r\n'.encode())
        answer = self.socket.recv(512)
        if not answer.startswith(b'OK'):
            raise RuntimeError(f'not authenticated: {answer}')
        self.socket.sendall(b'NEGOTIATE_UNIX_FD\r\n')
        answer = self.socket.recv(512)
        if not answer.startswith(b'AGREE_UNIX_FD'):
            raise RuntimeError(f'no file descriptors: {answer}')
        self.socket.sendall(b'BEGIN\r\n')
        self.name = self.bus('Hello')[0]
        for rule in rules:
            self.bus('AddMatch', 's', rule)

    def close(self):
        self.socket.close()

    def send(self, destination, path, interface, member, signature='', *args):
        self.serial += 1
        fields = [(1, Variant('o', path)), (2, Variant('s', interface)),
                  (3, Variant('s', member)), (6, Variant('s', destination))]
        if signature:
            fields.append((8, Variant('g', signature)))
        body = Writer()
        fds = []
        for one, value in zip(types(signature), args, strict=True):
            if one == 'h':
                fds.append(value)
                value = len(fds) - 1
            body.put(one, value)
        if fds:
            fields.append((9, Variant('u', len(fds))))
        header = Writer()
        header.data += struct.pack('<BBBBII', ord('l'), CALL, 0, 1, len(body.data), self.serial)
        header.put('a(yv)', fields)
        header.align(8)
        if fds:
            socket.send_fds(self.socket, [header.data + body.data], fds)
        else:
            self.socket.sendall(header.data + body.data)
        return self.serial

    def receive(self, timeout):
        """The next message, or None if there is none within @timeout."""
        end = time.monotonic() + timeout
        while True:
            if len(self.buffer) >= 16:
                body_size, _, fields = struct.unpack_from('<III', self.buffer, 4)
                header_size = (16 + fields + 7) & ~7
                if len(self.buffer) >= header_size + body_size:
                    header = self.buffer[:16 + fields]
                    body = self.buffer[header_size:header_size + body_size]
                    self.buffer = self.buffer[header_size + body_size:]
                    return Message(header, body)
            left = max(0, end - time.monotonic())
            if not select.select([self.socket], [], [], left)[0]:
                return None
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError('the bus closed the connection')
            self.buffer += more

    def wait_reply(self, serial, timeout=30):
        end = time.monotonic() + timeout
        while True:
            m = self.receive(max(0, end - time.monotonic()))
            if m is None:
                raise TimeoutError(f'no reply within {timeout} s')
            if m.kind == SIGNAL:
                self.signals.append(m)
            elif m.reply_to == serial and m.kind == ERROR:
                raise Error(m.error, m.body[0] if m.body else '')
            elif m.reply_to == serial:
                return m.body

    def call(self, *args, timeout=30):
        return self.wait_reply(self.send(*args), timeout)

    def bus(self, member, signature='', *args):
        return self.call('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus',
                         member, signature, *args)

    def take_signals(self, member=None, timeout=0):
        """Signals so far (after waiting up to @timeout for the first), of one member or all."""
        end = time.monotonic() + timeout
        while True:
            m = self.receive(0)
            if m is not None:
                if m.kind == SIGNAL:
                    self.signals.append(m)
                continue
            found = [s for s in self.signals if member in (None, s.member)]
            if found or time.monotonic() >= end:
                break
            select.select([self.socket], [], [], max(0, end - time.monotonic()))
        self.signals = [s for s in self.signals if s not in found]
        return found
