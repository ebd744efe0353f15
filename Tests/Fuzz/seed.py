# Turns the recorded messages into a starting corpus: seed.py DATA AllMessages.swift CORPUS
import hashlib
import os
import re
import sys

data, listing, corpus = sys.argv[1:]
namespaces = {"RaftPB": "raftpb", "WALPB": "walpb", "SnapPB": "snappb", "LeasePB": "leasepb", "MembershipPB": "membershippb", "HealthPB": "grpc.health.v1"}
types = re.findall(r"^\s+([\w.]+)\.self,$", open(listing).read(), re.M)

def matches(swift, proto):
    package, name = proto.rsplit(".", 1)
    parts = swift.split(".")
    return parts[-1] == name and (len(parts) == 1) == (package not in namespaces.values()) and (
        len(parts) == 1 or namespaces[parts[0]] == package)

def write(content):
    with open(os.path.join(corpus, hashlib.sha1(content).hexdigest()), "wb") as file:
        file.write(content)

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
