# Turns what was recorded into a starting corpus: seed.py wire|peers ROOT CORPUS
import glob
import hashlib
import os
import re
import sys

target, root, corpus = sys.argv[1:]
data = os.path.join(root, "Tests/WireTests/Data")
listing = os.path.join(root, "Sources/Core/Wire/Generated/AllMessages.swift")


def write(content):
    with open(os.path.join(corpus, hashlib.sha1(content).hexdigest()), "wb") as file:
        file.write(content)


def peers():
    tests = os.path.join(root, "Tests")
    for kind, name in ((0, "message"), (1, "append")):
        for path in glob.glob(os.path.join(tests, "PeerWireTests/Data/%s-stream-*.txt" % name)):
            frames = [bytes.fromhex(line.split()[0]) for line in open(path) if not line.startswith("#")]
            for i in range(0, len(frames), 4):
                write(bytes([kind]) + b"".join(frames[i:i + 4])[:4000])
    for text in (b"GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n",
                 b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nabGET / HTTP/1.0\r\n\r\n"):
        write(bytes([2]) + text)
    for text in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
                 b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", b"HTTP/1.0 500 x\r\n\r\nabc"):
        write(bytes([3]) + text)
    for frames in (b"\x81\x83abcd012", b"\x01\x81abcdx\x80\x81abcdy\x89\x80abcd\x88\x82abcd\x62\x8a", b"\x82\xfe\x00\x80abcd" + bytes(128)):
        write(bytes([4]) + frames)
    for path in glob.glob(os.path.join(tests, "FileFormatsTests/Data/*.wal")):
        segment = open(path, "rb").read()
        write(bytes([5]) + segment)
        records = b""
        at = 0
        while at + 8 <= len(segment):
            word = int.from_bytes(segment[at:at + 8], "little")
            size = word & ((1 << 56) - 1)
            if word == 0:
                break
            padding = (word >> 56) & 7 if word >> 63 else 0
            kind, body = segment[at + 9], segment[at + 8:at + 8 + size]
            content = body[body.rfind(b"\x1a", 0, 12) + 2:] if b"\x1a" in body[:12] else b""
            records += bytes([kind, len(content) & 0xff]) + content[:255]
            at += 8 + size + padding
        write(bytes([6]) + records[:4000])
    for path in glob.glob(os.path.join(tests, "FileFormatsTests/Data/*.snap")):
        write(bytes([7]) + open(path, "rb").read()[:4000])
    page = lambda number, flags, elements: (
        number.to_bytes(8, "little") + flags.to_bytes(2, "little") + len(elements).to_bytes(2, "little") + bytes(4) + b"".join(elements))
    pad = lambda content: content + bytes(512 - len(content))
    meta = lambda number: pad(page(number, 4, []) + bytes(16) + (3).to_bytes(8, "little") + bytes(8) + b"\xff" * 8 + (4).to_bytes(8, "little"))
    leaf = (0).to_bytes(4, "little") + (16).to_bytes(4, "little") + (3).to_bytes(4, "little") + (5).to_bytes(4, "little")
    root_leaf = (1).to_bytes(4, "little") + (16).to_bytes(4, "little") + (3).to_bytes(4, "little") + (16).to_bytes(4, "little")
    image = meta(0) + meta(1) + pad(page(2, 2, [leaf]) + b"keyvalue") + pad(
        page(3, 2, [root_leaf]) + b"key" + (2).to_bytes(8, "little") + bytes(8))
    for kind in (8, 9):
        write(bytes([kind]) + image)


if target == "peers":
    peers()
    sys.exit()

namespaces = {"RaftPB": "raftpb", "WALPB": "walpb", "SnapPB": "snappb", "LeasePB": "leasepb", "MembershipPB": "membershippb", "HealthPB": "grpc.health.v1"}
types = re.findall(r"^\s+([\w.]+)\.self,$", open(listing).read(), re.M)

def matches(swift, proto):
    package, name = proto.rsplit(".", 1)
    parts = swift.split(".")
    return parts[-1] == name and (len(parts) == 1) == (package not in namespaces.values()) and (
        len(parts) == 1 or namespaces[parts[0]] == package)

for line in open(os.path.join(data, "messages.txt")):
    columns = line.rstrip("\n").split("\t")
    raw = bytes.fromhex(columns[1])
    if len(raw) > 4000:
        continue
    index = next(i for i, swift in enumerate(types) if matches(swift, columns[0]))
    write(bytes([index]) + raw)
    write(bytes([240]) + raw)
    write(bytes([243, 0]) + len(raw).to_bytes(4, "big") + raw)
for line in open(os.path.join(data, "gateway.txt")):
    body = line.rstrip("\n").split("\t")[3].encode()
    for kind in (241, 242, 250):
        write(bytes([kind]) + body[:4000])
def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

def literal(name, value):
    return b"\x40" + bytes([len(name)]) + name + bytes([len(value)]) + value

fields = bytes([0x83, 0x86]) + literal(b":path", b"/x") + literal(b"content-type", b"application/grpc")
block = fields + bytes.fromhex("418cf1e3c2e5f23a6ba0ab90f4ff")
calls = b"".join(
    frame(1, 4, stream, block if stream == 1 else bytes([0x83, 0x86, 0xc0, 0xbf, 0xbe])) + frame(0, 9, stream, b"\x02abc\0\0") for stream in (1, 3, 5))
control = frame(6, 0, 0, bytes(8)) + frame(8, 0, 0, b"\0\0\1\0") + frame(4, 0, 0, b"\0\4\0\0\0\0") + frame(3, 0, 1, bytes(4))
write(bytes([246]) + calls + control)
write(bytes([246]) + frame(1, 0, 7, block[:9]) + frame(9, 4, 7, block[9:]) + control + calls)
write(bytes([247]) + block * 3)
for text in (b"50%25 of %C3%A9", b"100m", b"14"):
    write(bytes([244]) + text)
for line in open(os.path.join(data, "gzip.txt")):
    write(bytes([245]) + bytes.fromhex(line.split("\t")[2])[:4000])
