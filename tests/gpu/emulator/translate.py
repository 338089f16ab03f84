#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Translates the device code of a program into C, for the emulator to run: translate.py ZSTD PROGRAM OUT.c

nvcc leaves PTX in the program beside machine code, compressed by zstd. A kernel becomes a function that runs one thread; registers become variables, addresses stay addresses.
What waits for other threads of the block is a call (kernel.h). An instruction that this does not know ends it, with status 1 and its name."""

import math
import re
import subprocess
import sys

SIZES = {"u8": 1, "s8": 1, "u16": 2, "s16": 2, "u32": 4, "s32": 4, "u64": 8, "s64": 8, "f32": 4, "f64": 8}
C_TYPES = {**{t: t for t in SIZES}, "b8": "u8", "b16": "u16", "b32": "u32", "b64": "u64", "pred": "u8"}
FLOATS = ("f32", "f64")
SPECIAL = {f"%{name}.{axis}": f"t->{name}[{i}]" for name in ("tid", "ctaid", "ntid", "nctaid") for i, axis in enumerate("xyz")} | {
    "%laneid": "gpu_lane(t)",
    "%lanemask_lt": "((1U << gpu_lane(t)) - 1)",
    "%lanemask_le": "((2U << gpu_lane(t)) - 1)",
    "%lanemask_ge": "~((1U << gpu_lane(t)) - 1)",
}
# What may stand behind an instruction's name beside types; anything else may mean something that is not done here.
MODIFIERS = set("add all and any approx ballot cg clamp cta down ftz gl global gpu idx lo local nc nan neu num leu ltu geu gtu eq ne lt le gt ge".split())
MODIFIERS |= set("L2 or param pred red relaxed release rmi rn rzi shared sync to uni up v2 v4 volatile warp wide xor".split())
PRODUCT = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"
COMPARED = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
UNORDERED = {"neu": "==", "ltu": ">=", "leu": ">", "gtu": "<=", "geu": "<"}  # the opposite, not fulfilled
JOINED = {"and": "&", "or": "|", "xor": "^"}


class Unknown(Exception):
    pass


def identifier(name):
    return re.sub(r"\W", "_", name)


def operands(text):
    """At commas outside brackets."""
    found, depth, start = [], 0, 0
    for i, c in enumerate(text + ","):
        depth += (c in "{[(") - (c in "}])")
        if c == "," and depth == 0:
            found.append(text[start:i].strip())
            start = i + 1
    return [o for o in found if o]


def variable(text):
    """Name, type, bytes and alignment of a declaration; bytes None for an array without end."""
    m = re.match(r"\.(?:param|local|shared|global|const)\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+([\w$]+)\s*(\[(\d*)\])?", text)
    if not m:
        raise Unknown(f"declaration {text}")
    c_type = C_TYPES[m[2]]
    size = None if m[4] and not m[5] else SIZES[c_type] * int(m[5] or 1)
    return m[3], c_type, size, int(m[1] or SIZES[c_type])


class Function:
    """One kernel or function."""

    def __init__(self, header, body, globals_):
        m = re.match(r"(?:\.\w+\s+)*?\.(entry|func)\s*(?:\(([^)]*)\))?\s*([\w$]+)\s*(?:\(([^)]*)\))?", header)
        self.kernel, self.name, self.body, self.globals = m[1] == "entry", m[3], body, globals_
        self.parameters = [variable(p)[::2][:2] for text in (m[2], m[4]) for p in operands(text or "")]  # what it returns comes first
        self.scopes = [{name: ("memory", f"(u64){identifier(name)}") for name, _ in self.parameters}]
        self.lines, self.calls = [], set()
        self.shared, self.blocks, self.meets, self.products = 0, 0, False, 0
        most = re.search(r"\.maxntid\s+([\d,\s]+)", header)
        self.most_threads = math.prod(int(n) for n in most[1].split(",")) if most else 1024

    def signature(self):
        return f"static void f_{identifier(self.name)}(gpu_thread* t" + "".join(f", char* {identifier(n)}" for n, _ in self.parameters) + ")"

    # Operands

    def find(self, name):
        return next((s[name] for s in reversed(self.scopes) if name in s), None)

    def read(self, o, t):
        """An operand as a value of C type `t`."""
        if m := re.fullmatch(r"0[fF]([0-9a-fA-F]{8})", o):
            return f"f32_of_bits(0x{m[1]}U)" if t == "f32" else f"0x{m[1]}U"
        if m := re.fullmatch(r"0[dD]([0-9a-fA-F]{16})", o):
            return f"f64_of_bits(0x{m[1]}ULL)" if t == "f64" else f"0x{m[1]}ULL"
        if re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)", o):
            return f"({t}){int(o, 0) % 2**64:#x}ULL"
        if o in SPECIAL:
            return f"({t}){SPECIAL[o]}"
        known = self.find(o) or self.globals.get(o)
        if known is None:
            raise Unknown(f"operand {o}")
        if known[0] == "memory":
            return f"({t})({known[1]})"
        _, name, r = known
        if r == t:
            return name
        if t in FLOATS:
            return f"{t}_of_bits({name})"
        return f"({t})bits_of_{r}({name})" if r in FLOATS else f"({t}){name}"

    def write(self, o, value, t):
        """Puts a value of C type `t` into a register."""
        known = self.find(o)
        if known is None or known[0] != "register":
            raise Unknown(f"destination {o}")
        _, name, r = known
        if r != t and r in FLOATS:
            value = f"{r}_of_bits({value})"
        elif r != t and t in FLOATS:
            value = f"bits_of_{t}({value})"
        self.lines.append(f"{name} = {value};")

    def address(self, o):
        m = re.fullmatch(r"\[\s*([\w$%]+)\s*(?:\+\s*(-?\w+))?\s*\]", o)
        if not m:
            raise Unknown(f"address {o}")
        return f"({self.read(m[1], 'u64')} + {int(m[2] or '0', 0)})"

    # Statements

    def declare(self, s):
        m = re.match(r"\.reg\s+\.(\w+)\s+(.*)", s, re.S)
        c_type, names = C_TYPES[m[1]], []
        for item in operands(m[2]):
            r = re.fullmatch(r"(%?[\w$]+)<(\d+)>", item)
            names += [f"{r[1]}{i}" for i in range(int(r[2]))] if r else [item]
        for n in names:
            self.scopes[-1][n] = ("register", f"{identifier(n)}_{self.blocks}", c_type)
        if names:
            self.lines.append(f"{c_type} {', '.join(self.scopes[-1][n][1] for n in names)};")

    def statement(self, s):
        if s.startswith(".reg"):
            return self.declare(s)
        if s.startswith(".pragma"):
            return None
        if s.startswith("."):
            name, _, size, alignment = variable(s.removeprefix(".extern").strip())
            if size is None:
                self.scopes[0][name] = ("memory", "t->dynamic_shared")
            elif s.startswith(".shared"):
                at = -(-self.shared // alignment) * alignment
                self.scopes[0][name] = ("memory", f"t->shared + {at}")
                self.shared = at + size
            else:
                self.scopes[-1][name] = ("memory", f"(u64){identifier(name)}_{self.blocks}")
                self.lines.append(f"char {identifier(name)}_{self.blocks}[{size}] __attribute__((aligned({max(alignment, 8)})));")
            return None
        m = re.fullmatch(r"(?:@(!?)(%?[\w$]+)\s+)?([\w.:]+)\s*(.*)", s, re.S)
        if not m:
            raise Unknown(f"statement {s}")
        if m[2]:
            self.lines.append(f"if ({m[1]}{self.read(m[2], 'u8')}) {{")
        self.instruction(m[3].split("."), m[4])
        if m[2]:
            self.lines.append("}")
        return None

    def instruction(self, words, rest):
        name, kinds, o = words[0], set(words[1:]), operands(rest)
        t = C_TYPES.get(words[-1])
        floating = t in FLOATS
        read, write = self.read, self.write
        suffix = "f" if t == "f32" else ""

        if name in ("mma", "cp") or "bf16x2" in kinds:
            return self.of_tensor_cores(".".join(words), o)
        if unknown := kinds - MODIFIERS - C_TYPES.keys():
            raise Unknown(f"{'.'.join(words)} ({', '.join(unknown)})")
        if "ftz" in kinds and (name, t) != ("rcp", "f64"):  # which is refined by what comes behind it
            raise Unknown(".".join(words))

        def values(*types):
            return [read(x, y) for x, y in zip(o[1:], types)]

        def result(value, c_type=t):
            write(o[0], value, c_type)

        if name == "bra":
            self.lines.append(f"goto {identifier(o[0])};")
        elif name in ("ret", "exit"):
            self.lines.append("return;")
        elif name in ("membar", "prefetch"):
            self.lines.append("__sync_synchronize();")
        elif name == "nanosleep":
            self.meets = True
            self.lines.append("gpu_let_others_run(t);")
        elif name == "call":
            self.call(rest)
        elif name in ("bar", "shfl", "vote"):
            self.meets = True
            self.together(name, kinds, o)
        elif name in ("ld", "st"):
            self.access(name, kinds, o, t)
        elif name == "atom" and "add" in kinds and not floating:
            result(f"__atomic_fetch_add(({t}*){self.address(o[1])}, {read(o[2], t)}, 5)")
        elif name == "mov" and o[0].startswith("{"):
            parts = operands(o[0][1:-1])
            whole, part = f"u{8 * SIZES[t]}", f"u{8 * SIZES[t] // len(parts)}"
            self.lines.append(f"{{ {whole} all = {read(o[1], whole)};")
            for i, p in enumerate(parts):
                write(p, f"({part})(all >> {8 * SIZES[part] * i})", part)
            self.lines.append("}")
        elif name == "mov" and o[1].startswith("{"):
            parts = operands(o[1][1:-1])
            whole, part = f"u{8 * SIZES[t]}", f"u{8 * SIZES[t] // len(parts)}"
            result(" | ".join(f"({whole}){read(p, part)} << {8 * SIZES[part] * i}" for i, p in enumerate(parts)), whole)
        elif name in ("mov", "cvta"):
            result(*values(t))
        elif name in ("add", "sub", "mul") and floating:
            result("({} {} {})".format(values(t)[0], {"add": "+", "sub": "-", "mul": "*"}[name], read(o[2], t)))
        elif name in ("add", "sub"):
            u = t.replace("s", "u")
            result("({})({} {} {})".format(u, read(o[1], u), "+" if name == "add" else "-", read(o[2], u)), u)
        elif name == "mul" and "wide" in kinds:
            wide = f"{t[0]}{2 * int(t[1:])}"
            result("({0}){1} * ({0}){2}".format(wide, *values(t, t)), wide)
        elif name in ("mul", "mad") and "lo" in kinds:
            u = t.replace("s", "u")
            product = "(u64){} * (u64){}".format(*values(u, u))
            result(f"({u})({product}{' + ' + read(o[3], u) if name == 'mad' else ''})", u)
        elif name == "fma":
            result("__builtin_fma{}({}, {}, {})".format(suffix, *values(t, t, t)))
        elif name in ("div", "rem") and not floating:
            result("({1} == 0 ? ({2})-1 : ({2})({0} {3} {1}))".format(*values(t, t), t, "/" if name == "div" else "%"))
        elif name == "div":
            result("{} / {}".format(*values(t, t)))
        elif name in ("min", "max"):
            a, b = values(t, t)
            result(f"{name}_{t}({a}, {b})" if floating else f"({a} {'<' if name == 'min' else '>'} {b} ? {a} : {b})")
        elif name in JOINED:
            result("({} {} {})".format(values(t)[0], JOINED[name], read(o[2], t)))
        elif name == "not":
            result(f"!{read(o[1], t)}" if "pred" in kinds else f"({t})~{read(o[1], t)}")
        elif name == "neg":
            result(f"-{read(o[1], t)}" if floating else f"({t})(0 - {read(o[1], t)})")
        elif name in ("shl", "shr"):
            result("{}_{}({}, {})".format(name, t, *values(t, "u32")))
        elif name == "setp":
            self.compare(words, o, t)
        elif name == "selp":
            result("({2} ? {0} : {1})".format(*values(t, t, "u8")))
        elif name == "cvt":
            to, source = C_TYPES[words[-2]], read(o[1], t)
            if floating and to in FLOATS:
                source = {"rzi": f"trunc({source})", "rmi": f"floor({source})"}.get(words[1], source)  # else rn, or exact
            elif floating and (words[1], to) == ("rzi", "s64"):
                source = f"whole_s64({source})"
            elif floating or "sat" in kinds:
                raise Unknown(".".join(words))
            result(f"({to}){source}", to)
        elif name in ("abs", "sqrt") and floating:
            result(f"{'fabs' if name == 'abs' else 'sqrt'}{suffix}({read(o[1], t)})")
        elif name == "rcp":
            result(f"1 / {read(o[1], t)}")
        elif name == "popc":
            result(f"(u32)__builtin_popcountll({read(o[1], t)})", "u32")
        elif name == "clz" and t == "u32":
            result("({0} ? (u32)__builtin_clz({0}) : 32)".format(*values(t)))
        elif name == "brev" and t == "u32":
            result(f"reversed_bits({read(o[1], t)})")
        elif name == "prmt":
            result("permuted_bytes({}, {}, {})".format(*values("u32", "u32", "u32")))
        elif name == "bfi" and t == "u32":
            result("inserted_bits({}, {}, {}, {})".format(*values("u32", "u32", "u32", "u32")))
        elif name == "bmsk":
            result("bit_mask({}, {})".format(*values("u32", "u32")))
        else:
            raise Unknown(".".join(words))
        return None

    def of_tensor_cores(self, words, o):
        """Products of a warp, what their operands are made by, and copies beside the thread."""
        if words == PRODUCT:
            self.meets = True
            c, a, b, before = (operands(x[1:-1]) for x in o)
            self.lines.append("{ f32 c[4] = {%s};" % ", ".join(self.read(x, "f32") for x in before))
            self.products += 1
            self.lines.append("gpu_multiply_add(t, %d, c, %s);" % (self.products, ", ".join(self.read(x, "u32") for x in a + b)))
            for i, x in enumerate(c):
                self.write(x, f"c[{i}]", "f32")
            self.lines.append("}")
        elif words in ("cvt.rn.bf16x2.f32", "cvt.rn.relu.bf16x2.f32"):
            upper, lower = (f"bf16_of_f32({self.read(x, 'f32')}, {int('relu' in words)})" for x in o[1:])
            self.write(o[0], f"({upper} << 16 | {lower})", "u32")
        elif words == "cp.async.cg.shared.global" and o[2] == "16":
            self.lines.append(f"gpu_begin_copy(t, aligned({self.address(o[0])}, 16), aligned({self.address(o[1])}, 16));")
        elif words == "cp.async.wait_all":
            self.lines.append("gpu_finish_copies(t);")
        else:
            raise Unknown(words)

    def together(self, name, kinds, o):
        """What the threads of a warp or a block do at once."""
        if name == "bar":
            if "warp" in kinds:
                self.lines.append(f"gpu_warp_barrier(t, {self.read(o[0], 'u32')});")
            elif {"red", "or"} <= kinds and len(o) == 3:
                self.write(o[0], f"gpu_barrier_or(t, {self.read(o[1], 'u32')}, {self.read(o[-1], 'u8')})", "u8")
            elif len(o) == 1:
                self.lines.append(f"gpu_barrier(t, {self.read(o[0], 'u32')});")
            else:
                raise Unknown("bar for a part of the block")
        elif name == "vote":
            ballot = f"gpu_ballot(t, {self.read(o[1], 'u8')}, {self.read(o[2], 'u32')})"
            if "ballot" in kinds:
                self.write(o[0], ballot, "u32")
            elif "any" in kinds:
                self.write(o[0], f"{ballot} != 0", "u8")
            else:  # all: none votes against
                self.write(o[0], f"gpu_ballot(t, !{self.read(o[1], 'u8')}, {self.read(o[2], 'u32')}) == 0", "u8")
        else:
            kind = {"up": 0, "down": 1, "idx": 3}[next(k for k in ("up", "down", "idx") if k in kinds)]
            value, inside = (o[0].split("|") + [None])[:2]
            self.lines.append("{ u8 inside; u32 got = gpu_shuffle(t, %d, %s, &inside);" % (kind, ", ".join(self.read(x, "u32") for x in o[1:5])))
            self.write(value, "got", "u32")
            if inside:
                self.write(inside, "inside", "u8")
            self.lines.append("}")

    def access(self, name, kinds, o, t):
        """Loads and stores of one, two or four numbers."""
        register, at = (o[0], self.address(o[1])) if name == "ld" else (o[1], self.address(o[0]))
        names = operands(register[1:-1]) if register.startswith("{") else [register]
        self.lines.append(f"{{ {t} volatile* at = ({t} volatile*)aligned({at}, {SIZES[t] * len(names)});")
        if name == "ld":
            self.lines.append(" ".join(f"{t} value{i} = at[{i}];" for i in range(len(names))))
            for i, n in enumerate(names):
                self.write(n, f"value{i}", t)
        else:
            self.lines.append(" ".join(f"at[{i}] = {self.read(n, t)};" for i, n in enumerate(names)))
        self.lines.append("}")

    def compare(self, words, o, t):
        """setp: two numbers, and perhaps a predicate."""
        a, b = self.read(o[1], t), self.read(o[2], t)
        how = words[1]
        if t not in FLOATS:
            value = f"({a} {COMPARED[how]} {b})"
        elif how in ("num", "nan"):
            value = f"({a} == {a} && {b} == {b})" if how == "num" else f"({a} != {a} || {b} != {b})"
        elif how == "ne":  # of numbers
            value = f"({a} < {b} || {a} > {b})"
        else:
            value = f"({a} {COMPARED[how]} {b})" if how in COMPARED else f"(!({a} {UNORDERED[how]} {b}))"
        if words[2] in JOINED:
            value = f"({value} {JOINED[words[2]]} {self.read(o[3], 'u8')})"
        self.write(o[0], value, "u8")

    def call(self, rest):
        m = re.fullmatch(r"\(([^)]*)\)\s*,\s*([\w$]+)\s*,\s*\(([^)]*)\)", rest, re.S)
        if not m:
            raise Unknown(f"call {rest}")
        self.calls.add(m[2])
        self.lines.append(f"f_{identifier(m[2])}(t" + "".join(f", (char*){self.read(a, 'u64')}" for a in operands(m[1]) + operands(m[3])) + ");")

    def translate(self):
        at = 0
        label = re.compile(r"([A-Za-z_$][\w$]*)\s*:")
        while at < len(self.body):
            c = self.body[at]
            if c == "{":
                self.blocks += 1
                self.scopes.append({})
                self.lines.append("{")
            elif c == "}":
                self.scopes.pop()
                self.lines.append("}")
            elif m := label.match(self.body, at):
                self.lines.append(f"{identifier(m[1])}:;")
                at = m.end() - 1
            elif not c.isspace() and c != ";":
                end = self.body.index(";", at)
                self.statement(self.body[at:end].strip())
                at = end
            at += 1


def ptx_of(zstd, program):
    """The texts of PTX in a program."""
    with open(program, "rb") as file:
        content = file.read()
    texts = []
    for m in re.finditer(re.escape(b"\x28\xb5\x2f\xfd"), content):  # where zstd's frames begin
        text = subprocess.run([zstd, "-dc"], input=content[m.start() :], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
        if b".address_size" in text[:1000]:
            texts.append(re.sub(r"//[^\n]*", "", text.decode()))
    return texts


def functions_of(text, globals_, declared):
    """The functions of one text of PTX. Its variables go to `globals_`, and in C to `declared`."""
    at = 0
    while m := re.compile(r"\s*(\.(?:version|target|address_size)[^\n]*\n|(?:\.(?:visible|weak|extern)\s+)*\.(?:entry|func)\b[^{;]*|[^;]+;)").match(text, at):
        at = m.end()
        s = m[1]
        if s.startswith((".version", ".target", ".address_size")):
            continue
        if re.match(r"(\.\w+\s+)*\.(entry|func)\b", s):
            if text[at] == ";":
                at += 1
                continue
            end, depth = at, 0
            while True:
                depth += (text[end] == "{") - (text[end] == "}")
                end += 1
                if depth == 0:
                    break
            yield Function(s, text[at + 1 : end - 1], globals_)
            at = end
            continue
        s = re.sub(r"^(\.(visible|weak|extern)\s+)*", "", s[:-1])
        name, c_type, size, alignment = variable(s)
        if size is None:
            globals_[name] = ("memory", "t->dynamic_shared")
            continue
        initial = s.partition("=")[2].strip()
        globals_[name] = ("memory", f"(u64){identifier(name)}")
        text_of = f"static {c_type} {identifier(name)}[{size // SIZES[c_type]}] __attribute__((aligned({alignment})))" + (f" = {initial};" if initial else ";")
        if declared.setdefault(name, text_of) != text_of:
            raise Unknown(f"variable {name}, which has two contents")


def main():
    zstd, program, out = sys.argv[1:]
    texts = ptx_of(zstd, program)
    if not texts:
        sys.exit(f"translate.py: {program}: no PTX")
    found, declared = {}, {}
    now = ""
    try:
        for text in texts:
            for f in functions_of(text, {}, declared):
                now = f.name
                if f.name not in found:  # else an instance of a template in another unit
                    f.translate()
                    found[f.name] = f
    except Unknown as unknown:
        sys.exit(f"translate.py: {program}: {now}: what is {unknown}?")
    all_ = list(found.values())
    while more := [f for f in all_ if not f.meets and any(found[c].meets for c in f.calls)]:
        for f in more:
            f.meets = True
    with open(out, "w", encoding="utf-8") as file:
        file.write('#include "kernel.h"\n' + "\n".join(declared.values()) + "\n")
        file.writelines(f.signature() + ";\n" for f in all_ if not f.kernel)
        for f in all_:
            if f.kernel:
                file.write(f"static void f_{identifier(f.name)}(gpu_thread* t, char** parameters) {{\n")
                file.writelines(f"char* {identifier(n)} = parameters[{i}];\n" for i, (n, _) in enumerate(f.parameters))
            else:
                file.write(f.signature() + " {\n")
            file.write("\n".join(f.lines) + "\nreturn; }\n")
            if f.kernel:
                file.write(f"static u32 const sizes_{identifier(f.name)}[] = {{{', '.join(str(s) for _, s in f.parameters) or '0'}}};\n")
                file.write(f'gpu_kernel const {identifier(f.name)} = {{"{f.name}", f_{identifier(f.name)}, {f.shared}, {int(f.meets)}, {f.most_threads}, {len(f.parameters)}, sizes_{identifier(f.name)}}};\n')
    print(f"{program}: {len(all_)} kernels and functions")


main()
