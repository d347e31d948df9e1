"""From the syntax tree to checked, resolved types: everything that is wrong with an input beyond its grammar is found here."""

from dataclasses import dataclass, field

import parse
from parse import GenError

U32_MAX = 0xFFFFFFFF
C_KEYWORDS = set('''auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm typeof true false
    bool errno stdin stdout stderr'''.split())

# ---- types ----


@dataclass(eq=False)
class Type:
    pass


@dataclass(eq=False)
class Prim(Type):
    xdr: str  # spelling in the language
    c: str
    size: int  # in XDR
    short: str  # u32, i32, u64, i64, bool, double
    nsize: int  # native
    fmt: str = ''


PRIMS = {p.xdr: p for p in (
    Prim('unsigned int', 'uint32_t', 4, 'u32', 4, 'PRIu32'), Prim('int', 'int32_t', 4, 'i32', 4, 'PRId32'),
    Prim('unsigned hyper', 'uint64_t', 8, 'u64', 8, 'PRIu64'), Prim('hyper', 'int64_t', 8, 'i64', 8, 'PRId64'),
    Prim('bool', 'bool', 4, 'bool', 1), Prim('double', 'double', 8, 'double', 8))}


@dataclass(eq=False)
class EnumType(Type):
    name: str
    members: list  # (name, value, doc, remark)
    line: int
    doc: parse.Doc


@dataclass(eq=False)
class Field:
    name: str  # in C
    xname: str  # in the .x file
    type: Type
    line: int
    doc: parse.Doc
    remark: str = ''
    native: dict = field(default_factory=dict)  # annotations of the native encoding
    since: int = 0


@dataclass(eq=False)
class StructType(Type):
    name: str
    line: int
    doc: parse.Doc
    fields: list = field(default_factory=list)
    native: bool = False
    packed: bool = False
    complete: bool = False
    recursive: bool = False


@dataclass(eq=False)
class Arm:
    labels: list  # (C text, value); empty: default
    field: object  # Field or None (void)


@dataclass(eq=False)
class UnionType(Type):
    name: str
    line: int
    doc: parse.Doc
    disc: Field = None
    arms: list = field(default_factory=list)
    complete: bool = False
    recursive: bool = False
    native: bool = False


@dataclass(eq=False)
class Opaque(Type):  # opaque f[n]
    n: int
    text: str


@dataclass(eq=False)
class Bytes(Type):  # opaque f<n>
    max: int
    text: str


@dataclass(eq=False)
class String(Type):
    max: int
    text: str


@dataclass(eq=False)
class Array(Type):  # T f[n]
    elem: Type
    n: int
    text: str


@dataclass(eq=False)
class List(Type):  # T f<n>
    elem: Type
    max: int
    text: str


@dataclass(eq=False)
class Optional(Type):  # T *f
    elem: Type


@dataclass(eq=False)
class Alias(Type):
    name: str
    target: Type
    line: int
    doc: parse.Doc


@dataclass(eq=False)
class ConstDef:
    name: str
    value: int
    text: str
    line: int
    doc: parse.Doc
    remark: str


@dataclass(eq=False)
class Proc:
    name: str
    cname: str
    number: int
    arg: Type  # None: void
    result: Type
    oneway: bool
    since: int
    line: int
    doc: parse.Doc
    remark: str


@dataclass(eq=False)
class Interface:
    name: str
    number: int
    version: int
    procs: list
    line: int
    doc: parse.Doc


def strip(t):
    while isinstance(t, Alias):
        t = t.target
    return t


def parts(t):
    """The types that t is directly made of."""
    t = strip(t)
    if isinstance(t, StructType):
        return [f.type for f in t.fields]
    if isinstance(t, UnionType):
        return [t.disc.type] + [a.field.type for a in t.arms if a.field]
    if isinstance(t, (Array, List, Optional)):
        return [t.elem]
    return []


def is_flat(t, seen=()):
    """Can be decoded without allocation, blobs pointing into the input."""
    t = strip(t)
    if isinstance(t, (String, List, Optional)):
        return False
    return all(is_flat(p) for p in parts(t))


def contains(t, kinds, seen=None):
    """t or something that it is made of is of one of the kinds."""
    t = strip(t)
    seen = seen if seen is not None else set()
    if isinstance(t, kinds):
        return True
    if id(t) in seen:
        return False
    seen.add(id(t))
    return any(contains(p, kinds, seen) for p in parts(t))


def fixed_size(t, stack=()):
    """XDR size if every value has the same, else None."""
    t = strip(t)
    if isinstance(t, Prim):
        return t.size
    if isinstance(t, EnumType):
        return 4
    if isinstance(t, Opaque):
        return (t.n + 3) & ~3
    if isinstance(t, Array):
        s = fixed_size(t.elem, stack)
        return None if s is None else s * t.n
    if isinstance(t, StructType) and t not in stack and not any(f.since for f in t.fields):
        sizes = [fixed_size(f.type, stack + (t,)) for f in t.fields]
        return None if None in sizes else sum(sizes)
    return None


def min_size(t):
    """The fewest bytes of XDR that a value can take."""
    t = strip(t)
    if isinstance(t, (Bytes, String, List, Optional)):
        return 4
    if isinstance(t, Array):
        return min_size(t.elem) * t.n
    if isinstance(t, StructType):
        return sum(min_size(f.type) for f in t.fields if not f.since)
    if isinstance(t, UnionType):
        return 4 + min(min_size(a.field.type) if a.field else 0 for a in t.arms)
    return fixed_size(t)


class Model:
    """All definitions of one file, resolved and checked."""

    def __init__(self, file, parser):
        self.file = file
        self.defs = []  # in order of the file
        self.consts = {}  # name -> value, enum values included
        self.enum_of = {}  # name of an enum value -> EnumType
        self.types = {}  # name -> Type
        self.symbols = {}  # ordinary C identifiers of the file -> line
        self.interface = None
        self.file_doc = parser.file_doc
        self.file_notes()
        self.tree = parser.parse()
        for d in self.tree:
            self.declare(d)
        for d in self.tree:
            self.define(d)
        self.check_nesting()
        self.mark_recursive()
        self.claim_functions()

    def file_notes(self):
        notes = self.check_notes(self.file_doc, {'prefix', 'native'}, 'a file')
        name = self.file.rsplit('/', 1)[-1]
        self.base = name[:-2] if name.endswith('.x') else name
        self.prefix = notes['prefix'] if 'prefix' in notes else self.base
        if not self.base.isidentifier():
            raise GenError(1, f"the file name '{name}' cannot become part of C names: letters, digits and _ only")
        if not self.prefix.isidentifier():
            raise GenError(self.file_doc.notes['prefix'][1], f"'{self.prefix}' cannot be a prefix of C names")
        self.native_file = 'native' in notes

    # ---- names ----

    def check_notes(self, doc, allowed, what):
        for note, (_, line) in doc.notes.items():
            if note not in allowed:
                raise GenError(line, f'annotation @{note} means nothing on {what}')
        return {note: arg for note, (arg, _) in doc.notes.items()}

    def number_note(self, doc, note, low, high):
        arg, line = doc.notes[note]
        word = arg.split()[0] if arg.split() else ''
        if not word.isdigit() or not low <= int(word) <= high:
            raise GenError(line, f"@{note} needs a number from {low} to {high}, found '{word}'")
        return int(word)

    def struct_note(self, doc, note):
        name, line = doc.notes[note]
        t = self.types.get(name)
        if not isinstance(t, StructType) or not t.complete:
            raise GenError(line, f"@{note} needs a struct that is defined before, found '{name}'")
        return t

    def claim(self, name, line, what):
        if name in C_KEYWORDS:
            raise GenError(line, f"'{name}' is reserved in C and cannot be {what}")
        if name in self.symbols:
            raise GenError(line, f"'{name}' ({what}) is already defined on line {self.symbols[name]}")
        self.symbols[name] = line

    def declare(self, d):
        """First pass: names of types, so that pointers may refer to what comes later."""
        if isinstance(d, (parse.Struct, parse.Union, parse.Enum, parse.Typedef)):
            kind = type(d).__name__.lower()
            name = d.name
            if name in self.types:
                raise GenError(d.line, f"type '{name}' is already defined on line {self.types[name].line}")
            if name in C_KEYWORDS:
                raise GenError(d.line, f"'{name}' is reserved in C and cannot be the name of a {kind}")
            if isinstance(d, parse.Typedef):
                self.claim(name, d.line, 'a typedef')
                self.types[name] = Alias(name, None, d.line, d.doc)
            else:
                cls = {'struct': StructType, 'union': UnionType}.get(kind)
                self.types[name] = cls(name, d.line, d.doc) if cls else EnumType(name, [], d.line, d.doc)

    def resolve_value(self, token):
        if token.kind == 'number':
            s = token.text
            neg, digits = s.startswith('-'), s.lstrip('-')
            base = 16 if digits[:2] in ('0x', '0X') else 8 if len(digits) > 1 and digits[0] == '0' else 10
            try:
                v = int(digits, base)
            except ValueError:
                raise GenError(token.line, f"'{s}' is not a number") from None
            if v > (1 << 64) - 1 or (neg and v > 1 << 63):
                raise GenError(token.line, f'{s} does not fit 64 bits')
            return -v if neg else v
        if token.text not in self.consts:
            raise GenError(token.line, f"unknown constant '{token.text}'")
        return self.consts[token.text]

    # ---- definitions ----

    def define(self, d):
        getattr(self, 'define_' + type(d).__name__.lower())(d)

    def define_const(self, d):
        self.check_notes(d.doc, set(), 'a const')
        value = self.resolve_value(d.value)
        self.claim(d.name, d.line, 'a const')
        self.consts[d.name] = value
        self.defs.append(ConstDef(d.name, value, d.value.text, d.line, d.doc, d.remark))

    def define_enum(self, d):
        self.check_notes(d.doc, set(), 'an enum')
        t = self.types[d.name]
        before, seen = -1, {}
        for m in d.members:
            self.check_notes(m.doc, set(), 'an enum value')
            value = before + 1 if m.value is None else self.resolve_value(m.value)
            if not -(1 << 31) <= value < 1 << 31:
                raise GenError(m.line, f'value of {m.name} does not fit 32 bits, signed')
            if value in seen:
                raise GenError(m.line, f'{m.name} has the same value ({value}) as {seen[value]}')
            self.claim(m.name, m.line, 'an enum value')
            seen[value] = m.name
            self.consts[m.name] = value
            self.enum_of[m.name] = t
            t.members.append((m.name, value, m.doc, m.remark))
            before = value
        self.defs.append(t)

    def define_typedef(self, d):
        self.check_notes(d.doc, set(), 'a typedef')
        t = self.types[d.name]
        t.target = self.declared_type(d.decl, f'typedef {d.name}')
        self.defs.append(t)

    def define_struct(self, d):
        t = self.types[d.name]
        notes = self.check_notes(d.doc, {'native', 'packed'}, 'a struct')
        t.native = self.native_file or 'native' in notes
        t.packed = 'packed' in notes
        for f in d.fields:
            self.add_field(t, f)
        t.complete = True
        self.defs.append(t)

    def add_field(self, t, decl):
        f = self.field(decl, f'struct {t.name}')
        if any(g.name == f.name for g in t.fields):
            raise GenError(f.line, f"struct {t.name} already has a field '{f.name}'")
        last = t.fields[-1].since if t.fields else 0
        if f.since < last:
            raise GenError(f.line, f"field '{f.name}' stands after one that is newer (@since {last}): new fields come last")
        if f.since and not t.fields:
            raise GenError(f.line, 'the first field of a struct cannot have @since')
        t.fields.append(f)

    def field(self, decl, where):
        allowed = {'name', 'since', 'nolength', 'nonul', 'inline', 'tail', 'size', 'aligned', 'fixed', 'width', 'sockaddr', 'starts'}
        notes = self.check_notes(decl.doc, allowed, 'a field')
        name = notes.get('name', decl.name)
        if not name.isidentifier() or name in C_KEYWORDS:
            raise GenError(decl.line, f"'{name}' cannot be the name of a field in C")
        if name in self.consts:
            raise GenError(decl.line, f"field '{name}' has the name of a constant")
        f = Field(name, decl.name, self.declared_type(decl, where), decl.line, decl.doc, decl.remark)
        f.since = self.number_note(decl.doc, 'since', 1, 10000) if 'since' in notes else 0
        for note in allowed - {'name', 'since'} & set(notes):
            if note in notes:
                f.native[note] = self.number_note(decl.doc, note, 1, 65536) if note in ('fixed', 'width') else \
                    self.struct_note(decl.doc, note) if note == 'starts' else True
        return f

    def define_union(self, d):
        self.check_notes(d.doc, set(), 'a union')
        t = self.types[d.name]
        t.disc = self.field(d.disc, f'union {d.name}')
        disc = strip(t.disc.type)
        if not isinstance(disc, EnumType) and getattr(disc, 'short', '') not in ('u32', 'i32', 'bool'):
            raise GenError(d.disc.line, f'the discriminant of union {d.name} must be an int, unsigned int, bool or enum')
        seen = {}
        for c in d.cases:
            labels = [self.label(t, disc, tok, seen) for tok in c.labels]
            arm = None if c.arm.form == 'void' else self.field(c.arm, f'union {d.name}')
            if arm is not None and any(a.field and a.field.name == arm.name for a in t.arms):
                raise GenError(arm.line, f"union {d.name} already has an arm '{arm.name}'")
            t.arms.append(Arm(labels, arm))
        t.complete = True
        self.defs.append(t)

    def label(self, t, disc, tok, seen):
        text = tok.text
        if isinstance(disc, EnumType):
            if self.enum_of.get(text) is not disc:
                raise GenError(tok.line, f"case {text}: not a value of enum {disc.name}")
            value = self.consts[text]
        elif disc.short == 'bool':
            value = {'TRUE': 1, 'FALSE': 0}.get(text)
            if value is None:
                raise GenError(tok.line, f"case {text}: the discriminant of union {t.name} is a bool: TRUE or FALSE")
            text = str(value)
        else:
            value = self.resolve_value(tok)
            if not (0 <= value <= U32_MAX if disc.short == 'u32' else -(1 << 31) <= value < 1 << 31):
                raise GenError(tok.line, f'case {text}: does not fit the discriminant')
        if value in seen:
            raise GenError(tok.line, f'case {text}: union {t.name} already has that case on line {seen[value]}')
        seen[value] = tok.line
        return text, value

    # ---- declarators ----

    def base_type(self, base, line, by_pointer, where):
        word, _, tagged = base.partition(' ')
        name = tagged if word in ('struct', 'enum', 'union') and tagged else base
        if name in PRIMS:
            return PRIMS[name]
        if name not in self.types:
            raise GenError(line, f"unknown type '{name}' in {where}")
        t = self.types[name]
        if name != base and type(t).__name__ != {'struct': 'StructType', 'enum': 'EnumType', 'union': 'UnionType'}[word]:
            raise GenError(line, f"'{name}' is not a {word}")
        complete = t.complete if isinstance(t, (StructType, UnionType)) else t.target if isinstance(t, Alias) else t.members
        if not complete and not (by_pointer and isinstance(t, (StructType, UnionType))):
            if where.split()[-1] == name:
                raise GenError(line, f"{where} contains itself: only a pointer ({name} *x) or a list ({name} x<N>) can do that")
            raise GenError(line, f"type '{name}' is used in {where} before it is defined on line {t.line}")
        return t

    def bound(self, decl, what):
        if decl.bound is None:
            if decl.form == 'fixed':
                raise GenError(decl.line, f'{what} {decl.name}[] has no size')
            raise GenError(decl.line, f'{what} {decl.name}<> has no maximum: write {decl.name}<N>')
        n = self.resolve_value(decl.bound)
        if not 0 < n <= U32_MAX:
            raise GenError(decl.line, f'{n} cannot be the bound of {decl.name}: it must be from 1 to {U32_MAX}')
        text = decl.bound.text if decl.bound.kind == 'word' else f'{n}U' if n > 0x7FFFFFFF else str(n)
        return n, text

    def declared_type(self, decl, where):
        base, form = decl.base, decl.form
        if base == 'opaque':
            if form not in ('fixed', 'list'):
                raise GenError(decl.line, f'opaque {decl.name} needs a size: {decl.name}[N] or {decl.name}<N>')
            return (Opaque if form == 'fixed' else Bytes)(*self.bound(decl, 'opaque'))
        if base == 'string':
            if form != 'list':
                raise GenError(decl.line, f'string {decl.name} needs a maximum: {decl.name}<N> (an array of strings needs a typedef)')
            return String(*self.bound(decl, 'string'))
        if base == 'void':
            raise GenError(decl.line, 'void is not a type of fields')
        t = self.base_type(base, decl.line, form in ('list', 'optional'), where)
        if form == 'one':
            return t
        if form == 'optional':
            return Optional(t)
        n, text = self.bound(decl, 'array')
        return Array(t, n, text) if form == 'fixed' else List(t, n, text)

    # ---- whole-file checks ----

    def composites(self):
        return [d for d in self.defs if isinstance(d, (StructType, UnionType))]

    def check_nesting(self):
        """Fields with @since are found missing by the end of the input, so nothing may follow their struct."""
        for t in self.composites():
            for p in parts(t):
                p = strip(p)
                while isinstance(p, (Array, List, Optional)):
                    p = strip(p.elem)
                if isinstance(p, StructType) and any(f.since for f in p.fields):
                    raise GenError(t.line, f'{t.name} contains struct {p.name}, whose @since fields are only possible at the end of a message')

    def mark_recursive(self):
        for t in self.composites():
            seen, todo = set(), list(parts(t))
            while todo:
                p = strip(todo.pop())
                if p is t:
                    t.recursive = True
                    break
                if id(p) not in seen:
                    seen.add(id(p))
                    todo.extend(parts(p))

    def claim_functions(self):
        """Names that the generated code defines must not meet."""
        for t in self.defs:
            if isinstance(t, (StructType, UnionType)):
                for f in ('size', 'put', 'get', 'encode', 'decode', 'view', 'validate', 'to_json', 'print', 'random', 'equal', 'nsize',
                          'nencode', 'ndecode', 'nview'):
                    self.claim(f'{t.name}_{f}', t.line, f'function of {t.name}')
            elif isinstance(t, EnumType):
                for f in ('name', 'parse'):
                    self.claim(f'{t.name}_{f}', t.line, f'function of enum {t.name}')

    # ---- programs ----

    def define_program(self, d):
        if self.interface is not None:
            raise GenError(d.line, f'a second program: {self.interface.name} on line {self.interface.line} is already the interface of this file')
        self.check_notes(d.doc, set(), 'a program')
        number, version = self.resolve_value(d.number), self.resolve_value(d.version)
        if not 0 < number <= U32_MAX or not 0 < version <= U32_MAX:
            raise GenError(d.line, 'program and version numbers must be from 1 to 0xFFFFFFFF')
        iface = Interface(d.name, number, version, [], d.line, d.doc)
        for p in d.procedures:
            self.add_proc(iface, p)
        self.interface = iface
        for q in iface.procs:
            self.claim(f'{self.prefix}_PROC_{q.name}'.upper(), q.line, f'number of procedure {q.name}')
        for f in ('dispatch', 'proc_name'):
            self.claim(f'{self.prefix}_{f}', d.line, f'function of {d.name}')

    def add_proc(self, iface, p):
        notes = self.check_notes(p.doc, {'oneway', 'since'}, 'a procedure')
        cname = p.name.lower()
        number = self.resolve_value(p.number)
        for q in iface.procs:
            if q.cname == cname:
                raise GenError(p.line, f"procedure '{p.name}' is already defined on line {q.line}")
            if q.number == number:
                raise GenError(p.line, f'procedure {p.name} has the number of {q.name} ({number})')
        if not 0 < number <= U32_MAX:
            raise GenError(p.line, f'number {number} of procedure {p.name} must be from 1 to 0xFFFFFFFF (0 is the null procedure)')
        if cname in C_KEYWORDS:
            raise GenError(p.line, f"procedure '{p.name}' would be '{cname}' in C, which is reserved")
        if len(p.args) > 1:
            raise GenError(p.line, f'procedure {p.name} has {len(p.args)} arguments: put them into one struct')
        arg = self.proc_type(p.args[0], p, 'argument')
        result = self.proc_type(p.result, p, 'result')
        oneway = 'oneway' in notes
        if notes.get('oneway'):  # "@oneway to subscribers": words for the reader
            p.doc.text = '\n'.join(x for x in (p.doc.text, notes['oneway']) if x)
        if oneway and result is not None:
            raise GenError(p.line, f'procedure {p.name} is @oneway, so its result must be void')
        since = self.number_note(p.doc, 'since', 1, 10000) if 'since' in notes else 0
        for suffix in [''] if oneway else ['_reply', '_send', '_recv']:
            self.claim(f'{self.prefix}_{cname}{suffix}', p.line, f'function of procedure {p.name}')
        iface.procs.append(Proc(p.name, cname, number, arg, result, oneway, since, p.line, p.doc, p.remark))

    def proc_type(self, base, p, what):
        if base == 'void':
            return None
        t = self.base_type(base, p.line, False, f'procedure {p.name}')
        if not isinstance(t, (StructType, UnionType)):
            raise GenError(p.line, f'{what} of procedure {p.name} must be void, a struct or a union')
        return t


def load(path):
    try:
        with open(path, encoding='utf-8') as f:
            text = f.read()
    except UnicodeDecodeError:
        raise GenError(1, 'not UTF-8') from None
    return Model(path, parse.Parser(text))
