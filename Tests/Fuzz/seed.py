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
for text in (b"50%25 of %C3%A9", b"100m", b"14"):
    write(bytes([244]) + text)
for line in open(os.path.join(data, "gzip.txt")):
    write(bytes([245]) + bytes.fromhex(line.split("\t")[2])[:4000])
