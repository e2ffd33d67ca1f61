#!/usr/bin/env python3
"""Verify a bundle of `ringfence evidence export` without Ringfence: Python 3.9 and its standard library alone.

    verify.py bundle.zip [--key FILE] [--checkpoint FILE]

Exit code 0: verified. 1: not; the first bad thing is named. 2: unreadable. docs/evidence.md says what is proved."""
import base64, hashlib, json, sys, zipfile

# Ed25519, RFC 8032 section 5.1: the curve -x^2 + y^2 = 1 + d x^2 y^2 modulo p, points as (X, Y, Z, T) with x = X/Z.
P, Q = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P

def add(a, b):
    s, t = (a[1] - a[0]) * (b[1] - b[0]), (a[1] + a[0]) * (b[1] + b[0])
    u, v = 2 * a[3] * b[3] * D, 2 * a[2] * b[2]
    e, f, g, h = t - s, v - u, v + u, t + s
    return e * f % P, g * h % P, f * g % P, e * h % P

def times(n, a):
    out = (0, 1, 1, 0)
    while n:
        if n & 1: out = add(out, a)
        a, n = add(a, a), n >> 1
    return out

def point(raw):
    number = int.from_bytes(raw, "little")
    y, sign = number & (2**255 - 1), number >> 255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P: x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - square) % P or (x == 0 and sign): raise ValueError("no point of the curve")
    if x & 1 != sign: x = P - x
    return x, y, 1, x * y % P

BASE = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))

def ed25519(key, message, signature):
    try: a, r = point(key), point(signature[:32])
    except ValueError: return False
    s = int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % Q
    left, right = times(s, BASE), add(r, times(k, a))
    return len(signature) == 64 and s < Q and all((left[i] * right[2] - right[i] * left[2]) % P == 0 for i in (0, 1))

class Bad(Exception): pass

def want(true, what):
    if not true: raise Bad(what)

def keyof(line):  # C2SP signed-note: name+hash+base64(1, key)
    name, number, data = line.split("+", 2)
    raw = base64.b64decode(data, validate=True)
    want(raw[:1] == b"\1" and len(raw) == 33, "a key is not Ed25519")
    want(hashlib.sha256(name.encode() + b"\n" + raw).hexdigest()[:8] == number, "a key has another hash")
    return name, bytes.fromhex(number), raw[1:]

def opened(note, keys):  # the text of a note that one of the keys signed
    text, _, signatures = note.partition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        dash, name, data = line.split(" ")
        raw = base64.b64decode(data, validate=True)
        for key in map(keyof, keys):
            if dash == "\u2014" and (name, raw[:4]) == key[:2]:
                want(base64.b64encode(raw).decode() == data and ed25519(key[2], text.encode(), raw[4:]), "the signature is wrong")
                return text
    raise Bad("none of the keys signed it")

def checkpoint(note, keys):  # C2SP tlog-checkpoint: origin, size, root
    lines = opened(note, keys).split("\n")
    want(lines[0] == keyof(keys[0])[0] and lines[1] == str(int(lines[1])), "it is no checkpoint of this ledger")
    return int(lines[1]), base64.b64decode(lines[2], validate=True)

node = lambda a, b: hashlib.sha256(b"\1" + a + b).digest()  # RFC 6962

def root(stack):
    out = stack[-1][1] if stack else hashlib.sha256(b"").digest()
    for _, left in stack[-2::-1]: out = node(left, out)
    return out

def walk(lines, entries, keys, stop, earlier):  # the roots over all entries and over the first stop, and the keys of the end
    stack, at, seen = [], 0, None
    for line in lines:
        if at == stop: seen = root(stack)
        try: word, index, *count, text = line.decode().rstrip("\n").split(" ")
        except ValueError: raise Bad(f"tree: entry {at}: {line[:80]!r}")
        size = int(count[0]) if count else 1
        want(word == ("skip" if count else "entry") and int(index) == at and size & (size - 1) == 0 < size and at % size == 0, f"tree: entry {at}: {line[:80]!r}")
        top = bytes.fromhex(text)
        if word == "entry":
            raw = entries.readline(1 << 16)
            want(raw[-1:] == b"\n" and hashlib.sha256(b"\0" + raw[:-1]).digest() == top, f"entries.jsonl: entry {at} is not what was signed at this place: {raw[:160]!r}")
            statement = json.loads(raw)
            identity, record = statement["subject"][0]["name"], statement["predicate"]
            body = raw[raw.index(b'"predicate":') + 12:raw.rindex(b',"predicateType":')]
            want(hashlib.sha256(body).hexdigest() == statement["subject"][0]["digest"]["sha256"] and identity == record["id"], f"entry {at} (id {identity}): its digest is another")
            old, new = (record["body"][w] if record["kind"] == "key-rotation.v1" else None for w in ("old", "new"))
            if new and earlier: want(new == earlier.pop(0), f"entry {at} (id {identity}): the rotation is to another key than the keyring names")
            elif new:
                want(keys[-1] == old and opened(record["body"]["proof"], [old]) == f"ringfence.dev/key-rotation/v1\nold {old}\nnew {new}\n", f"entry {at} (id {identity}): the rotation is not signed")
                keys = keys + [new]
        at += size
        while stack and stack[-1][0] == size: size, top = 2 * size, node(stack.pop()[1], top)
        stack.append((size, top))
    want(not entries.read(1), "entries.jsonl holds more than the tree counts")
    return at, root(stack), root(stack) if at == stop else seen, keys

def main(name, key=None, outside=None):
    bundle = zipfile.ZipFile(name)
    files = ["entries.jsonl", "tree", "checkpoint", "keyring", "bundle.json", "index.html", "SHA256SUMS"]
    want(bundle.namelist() == files and sum(i.file_size for i in bundle.infolist()) < 500 * sum(i.compress_size + 4096 for i in bundle.infolist()), "other files than a bundle has")
    ring = bundle.read("keyring").decode().splitlines()
    keys = [open(key).readline().strip()] if key else ring[:1]
    want(keys[0] in ring, "another key than the one you gave signed it")
    past = open(outside).read() if outside else ""
    size, top = checkpoint(bundle.read("checkpoint").decode(), ring)
    stop = int(past.split("\n")[1]) if outside else -1
    with bundle.open("tree") as lines, bundle.open("entries.jsonl") as entries:
        count, found, seen, keys = walk(lines, entries, keys, stop, ring[1:ring.index(keys[0]) + 1])
    want((count, found) == (size, top), "tree: the checkpoint signs other entries")
    want(ring[-len(keys):] == keys, "keyring: these keys do not follow from the trusted one")
    checkpoint(bundle.read("checkpoint").decode(), keys[-1:])
    if outside:
        old = checkpoint(past, ring)
        want(old[0] <= size, "the checkpoint from outside counts more: entries were cut off, or the bundle is older")
        want(seen is not None, "the bundle leaves out what this checkpoint must be held to; export it with --checkpoint")
        want(seen == old[1], f"the first {old[0]} entries are not those of the checkpoint from outside: history was rewritten")
    for number, line in enumerate(bundle.read("SHA256SUMS").decode().splitlines()):
        digest = hashlib.sha256()
        with bundle.open(files[number]) as f:
            for block in iter(lambda: f.read(1 << 20), b""): digest.update(block)
        want(line == f"{digest.hexdigest()}  {files[number]}", f"SHA256SUMS: {files[number]} is not what was exported")
    want(number == 5, "SHA256SUMS: a line is missing")
    print(f"verified: the entries of {name} stand at their places among {size}; read entries.jsonl, index.html is not proved")
    print("key: yours" if key else "key: the bundle's own", "anchored" if outside else "not independently anchored", sep="; ")

if __name__ == "__main__":
    try:
        options = dict(zip((o.lstrip("-").replace("checkpoint", "outside") for o in sys.argv[2::2]), sys.argv[3::2]))
        main(sys.argv[1], **options)
    except (OSError, zipfile.BadZipFile, IndexError, TypeError) as e:
        sys.exit(print("unreadable:", e, file=sys.stderr) or 2)
    except Exception as e:  # whatever a hostile file makes go wrong: it is not verified
        sys.exit(print("NOT VERIFIED:", e or type(e).__name__, file=sys.stderr) or 1)
