# Writes random messages for the property test: frames of (name length, name, size, bytes), numbers as 4 bytes big-endian.
# Python's protobuf, with classes made from our own schemas, decides the bytes. Arguments: folder of the .proto files, seed, count.
import glob
import os
import random
import struct
import sys
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor as F
from grpc_tools import protoc

folder, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
names = sorted(os.path.relpath(p, folder) for p in glob.glob(folder + "/**/*.proto", recursive=True))
with tempfile.NamedTemporaryFile() as out:
    if protoc.main(["protoc", "-I" + folder, "--include_imports", "--descriptor_set_out=" + out.name] + names) != 0:
        sys.exit("protoc failed")
    files = descriptor_pb2.FileDescriptorSet.FromString(out.read())
pool = descriptor_pool.DescriptorPool()
for file in files.file:
    pool.Add(file)
types = [pool.FindMessageTypeByName(f.package + "." + m.name) for f in files.file for m in f.message_type]
rng = random.Random(seed)

INTS = {
    F.TYPE_INT64: (-(2**63), 2**63 - 1), F.TYPE_UINT64: (0, 2**64 - 1),
    F.TYPE_INT32: (-(2**31), 2**31 - 1), F.TYPE_UINT32: (0, 2**32 - 1),
}

def integer(low, high):
    kind = rng.random()
    if kind < 0.3:
        return rng.choice([low, high, 0, max(low, -1), 1, 127, 128, 16383, 16384])
    return max(low, min(high, rng.getrandbits(rng.randrange(1, 65)) - (0 if low == 0 else 1 << rng.randrange(0, 63))))

def text():
    return "".join(chr(rng.choice([rng.randrange(32, 127), rng.randrange(0x80, 0x800), 0x10FFFF, 0xE000, 0])) for _ in range(rng.randrange(0, 12)))

def data():
    size = rng.choice([0, 1, rng.randrange(0, 20), rng.randrange(0, 300)])
    return rng.randbytes(size)

def scalar(field):
    if field.type in INTS:
        return integer(*INTS[field.type])
    if field.type == F.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type == F.TYPE_STRING:
        return text()
    if field.type == F.TYPE_BYTES:
        return data()
    if field.type == F.TYPE_ENUM:
        # Closed enums (proto2) refuse numbers they do not know.
        if not field.enum_type.is_closed and rng.random() < 0.1:
            return integer(-(2**31), 2**31 - 1)
        return rng.choice(field.enum_type.values).number
    raise Exception(field.full_name)

def fill(message, depth):
    chosen = {}
    for oneof in message.DESCRIPTOR.oneofs:
        chosen[oneof.name] = rng.choice(list(oneof.fields) + [None])
    for field in message.DESCRIPTOR.fields:
        required = field.is_required
        if field.containing_oneof is not None:
            if chosen[field.containing_oneof.name] is not field:
                continue
        elif not required and rng.random() < 0.3:
            continue
        if field.is_repeated:
            for _ in range(rng.choice([0, 1, 2, 3]) if depth < 5 else 0):
                if field.type == F.TYPE_MESSAGE:
                    fill(getattr(message, field.name).add(), depth + 1)
                else:
                    getattr(message, field.name).append(scalar(field))
        elif field.type == F.TYPE_MESSAGE:
            if required or depth < 5:
                sub = getattr(message, field.name)
                sub.SetInParent()
                fill(sub, depth + 1)
        else:
            setattr(message, field.name, scalar(field))

out = sys.stdout.buffer
classes = [message_factory.GetMessageClass(d) for d in types]
for i in range(count):
    descriptor = types[i % len(types)]
    message = classes[i % len(types)]()
    fill(message, 0)
    encoded = message.SerializeToString(deterministic=True)
    name = descriptor.full_name.encode()
    out.write(struct.pack(">I", len(name)) + name + struct.pack(">I", len(encoded)) + encoded)
