"""The JSON gateway through a WebSocket, with a client written for it: requests, streams, what breaks the protocol, and
random frames, after which the server still serves and has not grown.

    websocket.py --server "PATH server" [--protos FOLDER] [--seed N] [--rounds N]

Prints "N checks hold"; the first that does not ends it.
"""

import argparse
import base64
import hashlib
import json
import os
import random
import signal
import socket
import struct

from peers import Checks, Server

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
check = Checks()


def frame(opcode, payload, final=True, mask=True):
    if isinstance(payload, str):
        payload = payload.encode()
    n, bit = len(payload), 0x80 if mask else 0
    head = bytes([(0x80 if final else 0) | opcode])
    head += bytes([bit | n]) if n < 126 else bytes([bit | 126]) + struct.pack(">H", n) if n < 65536 else (
        bytes([bit | 127]) + struct.pack(">Q", n))
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(b ^ key[i & 3] for i, b in enumerate(payload))


class Socket:
    """A client's end."""

    def __init__(self, port, path, *headers, version="13", method="GET", key=None, early=b""):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        key = key if key is not None else base64.b64encode(os.urandom(16)).decode()
        lines = ["%s %s HTTP/1.1" % (method, path), "Host: localhost", "Upgrade: websocket", "Connection: keep-alive, Upgrade",
                 "Sec-WebSocket-Key: " + key, "Sec-WebSocket-Version: " + version] + list(headers)
        # Frames may come in the packet of the handshake.
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + early)
        self.bytes = b""
        while b"\r\n\r\n" not in self.bytes:
            data = self.socket.recv(65536)
            if not data:
                break
            self.bytes += data
        head, _, self.bytes = self.bytes.partition(b"\r\n\r\n")
        self.head = head.decode()
        self.status = int(self.head.split(" ")[1])
        if self.status == 101:
            wanted = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
            check("Sec-WebSocket-Accept: " + wanted in self.head, "the server proves itself", self.head)

    def send(self, opcode, payload, **more):
        self.socket.sendall(frame(opcode, payload, **more))

    def take(self, count):
        while len(self.bytes) < count:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self.bytes += data
        taken, self.bytes = self.bytes[:count], self.bytes[count:]
        return taken

    def receive(self):
        first, second = self.take(2)
        check(first & 0xf0 == 0x80 and second < 128, "the server's frames are whole and not masked")
        length = struct.unpack(">H", self.take(2))[0] if second == 126 else (
            struct.unpack(">Q", self.take(8))[0] if second == 127 else second)
        return first & 15, self.take(length)

    def expect_json(self):
        opcode, payload = self.receive()
        check(opcode == TEXT, "an answer is text", (opcode, payload))
        return json.loads(payload)

    def expect_close(self, code):
        opcode, payload = self.receive()
        check(opcode == CLOSE and struct.unpack(">H", payload[:2])[0] == code, "closed with %d" % code, (opcode, payload))
        payload[2:].decode()
        try:
            check(self.socket.recv(1) == b"", "nothing follows a close")
        except ConnectionResetError:
            check(True, "nothing follows a close")

    def expect_end(self):
        """Closed by the server, whatever it says before."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass

    def close(self):
        self.socket.close()


def b64(text):
    return base64.b64encode(text.encode()).decode()


def handshakes(port):
    for what, status, socket in (
        ("another version", 400, Socket(port, "/v3/watch", version="12")), ("no key", 400, Socket(port, "/v3/watch", key="")),
        ("a short key", 400, Socket(port, "/v3/watch", key="AAAA")), ("a POST", 405, Socket(port, "/v3/watch", method="POST")),
        ("no gateway path", 200, Socket(port, "/health")),
    ):
        check(socket.status == status, what, socket.head)
        if status >= 400:
            check("Sec-WebSocket-Version: 13" in socket.head, "with the version", socket.head)
        socket.close()
    nowhere = Socket(port, "/v3/nothing")
    check(nowhere.receive() == (TEXT, b"Not Found"), "a path that leads nowhere says so through the socket")
    nowhere.expect_close(1000)


def unary(port):
    def ask(path, *frames):
        socket = Socket(port, path)
        for one in frames:
            socket.socket.sendall(one)
        answer = socket.expect_json()
        socket.expect_close(1000)
        return answer

    answer = ask("/v3/kv/put", frame(TEXT, json.dumps({"key": b64("a"), "value": b64("1")})))
    check(answer["header"]["revision"] == "2", "a put", answer)
    answer = ask("/v3/kv/range", frame(TEXT, '{"key":', final=False), frame(PING, "x")[:0], frame(0, '"YQ=="}'))
    check(answer["kvs"][0]["value"] == b64("1"), "a request in two frames", answer)
    answer = ask("/v3/kv/range", frame(BINARY, '{"key":"YQ=="}'))
    check(answer["count"] == "1", "a binary request", answer)
    check(ask("/v3/kv/range", frame(TEXT, '{"key":""}'))["code"] == 3, "an error")
    check(ask("/v3/kv/range", frame(TEXT, '{"key":'))["code"] == 3, "what is no JSON")
    large = b64("x" * 1_000_000)
    check("header" in ask("/v3/kv/put", frame(TEXT, json.dumps({"key": b64("large"), "value": large}))), "a large value")
    answer = ask("/v3/kv/range", frame(TEXT, json.dumps({"key": b64("large")})))
    check(answer["kvs"][0]["value"] == large, "comes back")
    early = Socket(port, "/v3beta/kv/range", early=frame(TEXT, '{"key":"YQ=="}'))
    check(early.expect_json()["count"] == "1", "a request in the packet of the handshake")
    early.expect_close(1000)


def streams(port):
    watch = Socket(port, "/v3/watch")
    watch.send(TEXT, json.dumps({"create_request": {"key": b64("w")}}))
    check(watch.expect_json()["result"]["created"], "a watch")
    watch.send(PING, b"are you there")
    check(watch.receive() == (PONG, b"are you there"), "a ping is answered")
    watch.send(PONG, b"")
    watch.send(TEXT, json.dumps({"create_request": {"key": b64("v"), "watch_id": "7"}}) + json.dumps({"progress_request": {}}))
    check(watch.expect_json()["result"]["watch_id"] == "7", "a second one")
    check("header" in watch.expect_json()["result"], "and progress, asked in one message")
    for i in range(3):
        put = Socket(port, "/v3/kv/put")
        put.send(TEXT, json.dumps({"key": b64("w"), "value": b64(str(i))}))
        put.expect_json()
        event = watch.expect_json()["result"]["events"][0]
        check(event["kv"]["value"] == b64(str(i)), "an event", event)
        put.close()
    watch.send(CLOSE, struct.pack(">H", 1000) + b"bye")
    watch.expect_close(1000)

    wrong = Socket(port, "/v3/watch")
    wrong.send(TEXT, "nonsense")
    check(wrong.expect_json()["code"] == 2, "a first message that is no JSON")
    wrong.expect_close(1000)
    wrong = Socket(port, "/v3/watch")
    wrong.send(TEXT, json.dumps({"create_request": {"key": b64("w")}}))
    wrong.expect_json()
    wrong.send(TEXT, "nonsense")
    check(wrong.expect_json()["error"]["grpc_code"] == 3, "a later one")
    wrong.expect_close(1000)

    alive = Socket(port, "/v3/lease/keepalive")
    for lease in ("7", "8"):
        alive.send(TEXT, json.dumps({"ID": lease}))
        check(alive.expect_json()["result"]["ID"] == lease, "keepalives one after the other")
    alive.close()

    snapshot = Socket(port, "/v3/maintenance/snapshot")
    snapshot.send(TEXT, "{}")
    size = 0
    while True:
        opcode, payload = snapshot.receive()
        if opcode == CLOSE:
            break
        size += len(base64.b64decode(json.loads(payload)["result"]["blob"]))
    check(size > 1_000_000 and size % 4096 == 32, "a snapshot, to its digest", size)

    observe = Socket(port, "/v3/election/observe")
    observe.send(TEXT, json.dumps({"name": b64("e")}))
    observe.send(TEXT, json.dumps({"name": b64("ignored")}))
    observe.send(PING, b"")
    check(observe.receive() == (PONG, b""), "a stream in one direction stays open")
    observe.close()


def violations(port):
    for what, code, data in (
        ("no mask", 1002, frame(TEXT, "{}", mask=False)), ("reserved bits", 1002, bytes([0xc1, 0x80, 0, 0, 0, 0])),
        ("an opcode", 1002, frame(3, "")), ("a continuation of nothing", 1002, frame(0, "x")),
        ("a message in a message", 1002, frame(TEXT, "{", final=False) + frame(TEXT, "}")),
        ("a ping in fragments", 1002, frame(PING, "", final=False)), ("a long ping", 1002, frame(PING, "x" * 126)),
        ("a length too long", 1002, bytes([0x81, 0xfe, 0, 1, 0, 0, 0, 0, 65])),
        ("a bad close code", 1002, frame(CLOSE, struct.pack(">H", 1005))), ("no UTF-8", 1007, frame(TEXT, b"\xff")),
        ("too much", 1009, bytes([0x81, 0xff]) + struct.pack(">Q", 1 << 40) + b"mask"),
        ("too much in pieces", 1009, frame(TEXT, " " * (5 << 20), final=False) + frame(0, " " * (5 << 20), final=False)),
    ):
        socket = Socket(port, "/v3/watch")
        try:
            socket.socket.sendall(data)
        except ConnectionError:
            pass  # cut while it was still being sent
        try:
            socket.expect_close(code)
        except ConnectionResetError:
            check(what == "too much in pieces", what + " is refused")
        socket.close()


def noise(port, seed, rounds):
    """Frames that are good, cut, flipped or made up; the server may answer or close, and goes on serving others."""
    rng = random.Random(seed)
    good = [frame(TEXT, json.dumps({"create_request": {"key": b64("n")}})), frame(PING, "p"), frame(TEXT, "{}"), frame(PONG, ""),
            frame(TEXT, '{"progress_request":{}}'), frame(TEXT, "[1,", final=False), frame(0, "2]"), frame(CLOSE, b"")]
    paths = ["/v3/watch", "/v3/kv/range", "/v3/lease/keepalive", "/v3/maintenance/snapshot", "/v3/election/observe"]
    for _ in range(rounds):
        data = bytearray(b"".join(rng.choice(good) for _ in range(rng.randint(1, 6))))
        for _ in range(rng.randint(0, 4)):
            at = rng.randrange(len(data))
            kind = rng.randrange(4)
            if kind == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                data[at:at + rng.randint(1, 8)] = b""
            elif kind == 2:
                data[at:at] = rng.randbytes(rng.randint(1, 16))
            else:
                data = data[:at]
            if not data:
                break
        socket = Socket(port, rng.choice(paths), early=bytes(data[:rng.randrange(3)]))
        try:
            socket.socket.sendall(bytes(data))
            if rng.random() < 0.3:
                socket.socket.shutdown(1)
            elif rng.random() < 0.3:
                socket.socket.settimeout(0.02)
                while socket.socket.recv(65536):
                    pass
        except OSError:
            pass
        socket.close()
    check(True, "noise")


def resident(pid):
    with open("/proc/%d/statm" % pid) as file:
        return int(file.read().split()[1]) * 4096


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--protos")
    parser.add_argument("--seed", default="20261")
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    server = Server(options.server, [])
    port = server.client
    try:
        handshakes(port)
        unary(port)
        streams(port)
        violations(port)
        before = resident(server.process.pid)
        print("seed %s" % options.seed)
        noise(port, int(options.seed), options.rounds)
        unary_after = Socket(port, "/v3/kv/range")
        unary_after.send(TEXT, '{"key":"YQ=="}')
        check(unary_after.expect_json()["count"] == "1", "and the server serves")
        check(resident(server.process.pid) < before + (64 << 20), "and has not grown", (before, resident(server.process.pid)))
        # A stop says goodbye.
        watch = Socket(port, "/v3/watch")
        watch.send(TEXT, json.dumps({"create_request": {"key": b64("w")}}))
        watch.expect_json()
        server.process.send_signal(signal.SIGTERM)
        watch.expect_close(1001)
        check(server.process.wait(30) in (0, -signal.SIGTERM), "the server stops")
    finally:
        server.stop()
        server.remove()
    print("%d checks hold" % check.held)


if __name__ == "__main__":
    main()
