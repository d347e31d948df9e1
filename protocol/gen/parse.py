"""Lexer and parser of the ONC RPC language (RFC 4506 section 6, RFC 5531 section 12): text in, syntax tree out."""

import re
from dataclasses import dataclass, field


class GenError(Exception):
    """An error in the input: message for people, line it stands on."""

    def __init__(self, line, message):
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass
class Doc:
    """A doc comment: its text without annotations, and the annotations as {name: (argument, line)}."""
    text: str = ''
    notes: dict = field(default_factory=dict)
    line: int = 0


@dataclass
class Declaration:
    """One declarator. form: one, fixed, list, optional, void. bound: token of the number or name between the brackets, None if absent."""
    base: str
    name: str
    form: str
    bound: object
    line: int
    doc: Doc
    remark: str = ''


@dataclass
class Const:
    name: str
    value: object
    line: int
    doc: Doc
    remark: str = ''


@dataclass
class Enum:
    name: str
    members: list  # Const
    line: int
    doc: Doc


@dataclass
class Struct:
    name: str
    fields: list  # Declaration
    line: int
    doc: Doc


@dataclass
class Case:
    labels: list  # tokens; empty: default
    arm: Declaration
    line: int


@dataclass
class Union:
    name: str
    disc: Declaration
    cases: list
    line: int
    doc: Doc


@dataclass
class Typedef:
    decl: Declaration
    line: int
    doc: Doc

    @property
    def name(self):
        return self.decl.name


@dataclass
class Procedure:
    name: str
    number: object
    result: str
    args: list
    line: int
    doc: Doc
    remark: str = ''


@dataclass
class Program:
    name: str
    number: object
    version_name: str
    version: object
    procedures: list
    line: int
    doc: Doc


@dataclass
class Token:
    kind: str  # word, number, punct, end
    text: str
    line: int
    doc: Doc = None  # doc comment that stands before it


KEYWORDS = {'bool', 'case', 'const', 'default', 'double', 'quadruple', 'enum', 'float', 'hyper', 'int', 'opaque', 'string', 'struct',
            'switch', 'typedef', 'union', 'unsigned', 'void', 'program', 'version'}

TOKEN = re.compile(r'(?P<space>[ \t\r]+)|(?P<nl>\n)|(?P<comment>/\*.*?\*/)|(?P<open>/\*)|(?P<word>[A-Za-z_]\w*)'
                   r'|(?P<number>-?(?:0[xX][0-9a-fA-F]+|\d+)\b)|(?P<punct>[;,=<>\[\]{}()*:])|(?P<bad>.)', re.S)


def parse_doc(comment, line):
    """The inside of a doc comment: leading stars are stripped, lines that begin with @ are annotations."""
    doc = Doc(line=line)
    text = []
    for i, raw in enumerate(comment[3:-2].split('\n')):
        s = re.sub(r'^\s*\*+ ?', '', raw).strip() if i > 0 else raw.strip()
        if s.startswith('@'):
            m = re.match(r'@(\w+)\s*(.*)$', s)
            if m is None:
                raise GenError(line + i, 'annotation without a name')
            if m.group(1) in doc.notes:
                raise GenError(line + i, f'annotation @{m.group(1)} twice')
            if re.search(r'(^|\s)@', m.group(2)):
                raise GenError(line + i, f'one annotation per line: {s}')
            doc.notes[m.group(1)] = (m.group(2), line + i)
        else:
            text.append(s)
    doc.text = '\n'.join(text).strip()
    return doc


class Lexer:
    def __init__(self, text):
        self.tokens = []
        self.remarks = {}  # line -> text of a plain comment that ends that line
        self.file_doc = Doc()
        self.line = 1
        self.pending = None
        # Lines for rpcgen's preprocessor. Blanked, not removed: line numbers stay.
        text = '\n'.join('' if s.startswith('%') else s for s in text.split('\n'))
        for m in TOKEN.finditer(text):
            self.take(m.lastgroup, m.group())
        self.tokens.append(Token('end', 'end of file', self.line))

    def take(self, kind, s):
        if kind == 'nl':
            self.line += 1
        elif kind == 'comment':
            self.comment(s)
            self.line += s.count('\n')
        elif kind == 'open':
            raise GenError(self.line, 'comment without end')
        elif kind == 'bad':
            raise GenError(self.line, f'unexpected character {s!r}')
        elif kind != 'space':
            self.tokens.append(Token(kind, s, self.line, self.pending))
            self.pending = None

    def comment(self, s):
        if s.startswith('/**') and len(s) > 4:
            doc = parse_doc(s, self.line)
            if not self.tokens and 'prefix' in doc.notes:
                self.file_doc = doc
            else:
                self.pending = doc
        elif self.tokens and self.tokens[-1].line == self.line and '\n' not in s:
            self.remarks[self.line] = s[2:-2].strip()


class Parser:
    def __init__(self, text):
        lexer = Lexer(text)
        self.tokens = lexer.tokens
        self.remarks = lexer.remarks
        self.file_doc = lexer.file_doc
        self.pos = 0

    # ---- tokens ----

    @property
    def tok(self):
        return self.tokens[self.pos]

    def next(self):
        t = self.tok
        if t.kind != 'end':
            self.pos += 1
        return t

    def expect(self, text, where):
        if self.tok.text != text or self.tok.kind == 'end':
            # A missing ';' is best reported where it should stand, not at the next line's word.
            line = self.tokens[self.pos - 1].line if text == ';' and self.pos > 0 else self.tok.line
            raise GenError(line, f"expected '{text}' {where}, found '{self.tok.text}'")
        return self.next()

    def name(self, what):
        t = self.tok
        if t.kind != 'word':
            raise GenError(t.line, f"expected {what}, found '{t.text}'")
        if t.text in KEYWORDS:
            raise GenError(t.line, f"'{t.text}' is a keyword and cannot be {what}")
        return self.next()

    def value(self, what):
        t = self.tok
        if t.kind == 'number' or (t.kind == 'word' and t.text not in KEYWORDS):
            return self.next()
        raise GenError(t.line, f"expected a number or the name of a constant as {what}, found '{t.text}'")

    def doc(self):
        return self.tok.doc or Doc()

    # ---- definitions ----

    def parse(self):
        defs = []
        while self.tok.kind != 'end':
            defs.append(self.definition())
        return defs

    def definition(self):
        t = self.tok
        handlers = {'const': self.const, 'enum': self.enum, 'struct': self.struct, 'union': self.union, 'typedef': self.typedef,
                    'program': self.program}
        if t.kind != 'word' or t.text not in handlers:
            raise GenError(t.line, f"expected a definition (const, enum, struct, union, typedef, program), found '{t.text}'")
        doc = self.doc()
        self.next()
        d = handlers[t.text](t.line, doc)
        self.expect(';', f'after this {t.text}')
        return d

    def const(self, line, doc):
        name = self.name('the name of a constant').text
        self.expect('=', f'after const {name}')
        value = self.value(f'value of const {name}')
        return Const(name, value, line, doc, self.remarks.get(value.line, ''))

    def enum(self, line, doc):
        name = self.name('the name of an enum').text
        self.expect('{', f'after enum {name}')
        members = []
        while True:
            mdoc = self.doc()
            m = self.name('the name of an enum value')
            value = None
            if self.tok.text == '=':
                self.next()
                value = self.value(f'value of {m.text}')
            members.append(Const(m.text, value, m.line, mdoc, self.remarks.get(m.line, '')))
            if self.tok.text != ',':
                break
            self.next()
        self.expect('}', f'at the end of enum {name} (or \',\' before the next value)')
        return Enum(name, members, line, doc)

    def struct(self, line, doc):
        name = self.name('the name of a struct').text
        self.expect('{', f'after struct {name}')
        fields = []
        while self.tok.text != '}':
            f = self.declaration(f'struct {name}')
            if f.form == 'void':
                raise GenError(f.line, f'a field of struct {name} cannot be void')
            self.expect(';', f'after field {f.name}')
            fields.append(f)
        self.next()
        if not fields:
            raise GenError(line, f'struct {name} has no fields')
        return Struct(name, fields, line, doc)

    def union(self, line, doc):
        name = self.name('the name of a union').text
        self.expect('switch', f'after union {name}')
        self.expect('(', 'after switch')
        disc = self.declaration(f'union {name}')
        self.expect(')', 'after the discriminant')
        self.expect('{', f'after the discriminant of union {name}')
        cases = []
        while self.tok.text != '}':
            cases.append(self.case(name, cases))
        self.next()
        if not cases:
            raise GenError(line, f'union {name} has no cases')
        return Union(name, disc, cases, line, doc)

    def case(self, name, before):
        line = self.tok.line
        labels = []
        if before and not before[-1].labels:
            raise GenError(line, f"default must be the last case of union {name}")
        if self.tok.text == 'default':
            self.next()
            self.expect(':', 'after default')
        else:
            while self.tok.text == 'case':
                self.next()
                labels.append(self.value('case label'))
                self.expect(':', 'after the case label')
            if not labels:
                raise GenError(line, f"expected case, default or '}}' in union {name}, found '{self.tok.text}'")
        arm = self.declaration(f'union {name}')
        self.expect(';', 'after the arm of a union')
        return Case(labels, arm, line)

    def typedef(self, line, doc):
        decl = self.declaration('typedef')
        if decl.form == 'void':
            raise GenError(line, 'void cannot have a typedef')
        return Typedef(decl, line, doc)

    # ---- declarations ----

    def type_name(self, where):
        t = self.tok
        if t.kind != 'word':
            raise GenError(t.line, f"expected a type in {where}, found '{t.text}'")
        self.next()
        if t.text == 'unsigned':
            if self.tok.text in ('int', 'hyper'):
                return 'unsigned ' + self.next().text
            return 'unsigned int'
        if t.text in ('struct', 'enum', 'union'):
            if self.tok.text == '{':
                raise GenError(t.line, f'a {t.text} inside {where}: define it with a name of its own and use that')
            return t.text + ' ' + self.name(f'the name of a {t.text}').text
        if t.text in ('float', 'quadruple'):
            raise GenError(t.line, f'type {t.text} is not supported: use double')
        if t.text in KEYWORDS - {'int', 'hyper', 'bool', 'double', 'opaque', 'string', 'void'}:
            raise GenError(t.line, f"'{t.text}' is a keyword and cannot be a type")
        return t.text

    def declaration(self, where):
        doc = self.doc()
        line = self.tok.line
        base = self.type_name(where)
        if base == 'void':
            return Declaration('void', '', 'void', None, line, doc)
        form, bound = 'one', None
        if self.tok.text == '*':
            self.next()
            form = 'optional'
        name = self.name('the name of a field').text
        closing = {'[': ']', '<': '>'}.get(self.tok.text)
        if closing is not None:
            if form == 'optional':
                raise GenError(line, f"{name}: a pointer to an array needs a typedef")
            form = 'fixed' if self.next().text == '[' else 'list'
            if self.tok.text != closing:
                bound = self.value(f'bound of {name}')
            self.expect(closing, f'after the bound of {name}')
        return Declaration(base, name, form, bound, line, doc, self.remarks.get(line, ''))

    # ---- programs ----

    def program(self, line, doc):
        name = self.name('the name of a program').text
        self.expect('{', f'after program {name}')
        self.expect('version', f'in program {name}')
        version_name = self.name('the name of a version').text
        self.expect('{', f'after version {version_name}')
        procedures = []
        while self.tok.text != '}':
            procedures.append(self.procedure())
        self.next()
        self.expect('=', f'after version {version_name}')
        version = self.value('version number')
        self.expect(';', f'after version {version_name}')
        if self.tok.text == 'version':
            raise GenError(self.tok.line, f'program {name} has a second version: one per program, newer procedures carry @since')
        self.expect('}', f'at the end of program {name}')
        self.expect('=', f'after program {name}')
        return Program(name, self.value('program number'), version_name, version, procedures, line, doc)

    def procedure(self):
        doc = self.doc()
        line = self.tok.line
        result = self.type_name('a procedure')
        name = self.name('the name of a procedure').text
        self.expect('(', f'after procedure {name}')
        args = [self.type_name(f'the argument of {name}')]
        while self.tok.text == ',':
            self.next()
            args.append(self.type_name(f'the arguments of {name}'))
        self.expect(')', f'after the argument of {name}')
        self.expect('=', f'after procedure {name}')
        number = self.value(f'number of procedure {name}')
        self.expect(';', f'after procedure {name}')
        return Procedure(name, number, result, args, line, doc, self.remarks.get(line, ''))
