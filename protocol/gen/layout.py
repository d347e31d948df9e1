"""Native encoding: where each field of a structure stands, and what of the language it can express."""

from model import Array, Bytes, EnumType, GenError, List, Opaque, Prim, String, StructType, strip


SOCKADDR_SIZE = 28  # of a sockaddr_in6


class Layout:
    """fixed: [(field, offset)], lengths: {field: offset of its length}, tail: fields behind the fixed part in order."""

    def __init__(self, struct):
        self.struct = struct
        self.fixed = []
        self.lengths = {}
        self.tail = []
        self.size = 0
        self.align = 1
        for f in struct.fields:
            self.add(f)
        self.variable = bool(self.tail)
        if not self.variable:
            self.size = round_up(self.size, self.align)

    def place(self, size, align):
        align = 1 if self.struct.packed else align
        self.align = max(self.align, align)
        offset = round_up(self.size, align)
        self.size = offset + size
        return offset

    def add(self, f):
        t, notes = strip(f.type), f.native
        check_notes(self.struct, f, t)
        if self.tail and 'nolength' in self.tail[-1].native:
            raise GenError(f.line, f"field '{f.name}' stands behind '{self.tail[-1].name}', which takes all that is left (@nolength)")
        if isinstance(t, (Bytes, List)) or (isinstance(t, String) and 'fixed' not in notes):
            if 'nolength' not in notes and 'inline' not in notes:
                self.lengths[f] = self.place(4, 4)
            self.tail.append(f)
        elif 'tail' in notes:
            self.tail.append(f)
        elif self.tail:
            raise GenError(f.line, f"field '{f.name}' of fixed size stands behind '{self.tail[0].name}' of variable length: put it before, or mark it @tail")
        else:
            self.fixed.append((f, self.place(*fixed_layout(f.type, f))))


def round_up(n, align):
    return (n + align - 1) // align * align


def check_notes(struct, f, t):
    allowed = {'nolength', 'inline', 'nonul', 'fixed'} if isinstance(t, String) else \
        {'nolength', 'inline', 'starts'} if isinstance(t, Bytes) else {'sockaddr'} if isinstance(t, Opaque) else {'nolength', 'aligned', 'width'} if isinstance(t, List) else \
        {'width'} if isinstance(t, Array) else {'tail', 'width', 'size'} if isinstance(t, (Prim, EnumType)) else set()
    for note in f.native:
        if note not in allowed:
            raise GenError(f.line, f"@{note} means nothing on field '{f.name}' of struct {struct.name}")
    inner = t
    while isinstance(inner, (Array, List)):
        inner = strip(inner.elem)
    number = isinstance(inner, EnumType) or getattr(inner, 'short', '') in ('u32', 'i32')
    if 'width' in f.native and (f.native['width'] not in (1, 2) or not number):
        raise GenError(f.line, f"@width of field '{f.name}': 1 or 2, on int, unsigned int or an enum")
    if 'size' in f.native and getattr(t, 'short', '') != 'u32':
        raise GenError(f.line, f"@size needs an unsigned int, field '{f.name}' is none")
    if 'fixed' in f.native and f.native['fixed'] <= t.max:
        raise GenError(f.line, f"@fixed {f.native['fixed']} of field '{f.name}' has no room for {t.max} characters and a NUL")
    if 'sockaddr' in f.native and t.n != SOCKADDR_SIZE:
        raise GenError(f.line, f"@sockaddr of field '{f.name}': that is opaque {f.name}[{SOCKADDR_SIZE}]")
    if 'starts' in f.native and of(f.native['starts'], f).variable:
        raise GenError(f.line, f"@starts of field '{f.name}': struct {f.native['starts'].name} has variable length")
    if len({'nolength', 'inline', 'fixed'} & set(f.native)) > 1:
        raise GenError(f.line, f"field '{f.name}' has annotations that exclude each other")


def fixed_layout(t, f):
    """(size, alignment) of what has the same size always."""
    t = strip(t)
    if isinstance(t, Prim):
        n = f.native.get('width', t.nsize)
        return n, n
    if isinstance(t, EnumType):
        n = f.native.get('width', 4)
        return n, n
    if isinstance(t, Opaque):
        return t.n, 1
    if isinstance(t, String) and 'fixed' in f.native:
        return f.native['fixed'], 1
    if isinstance(t, Array):
        size, align = fixed_layout(t.elem, f)
        return size * t.n, align
    if isinstance(t, StructType):
        inner = of(t, f)
        if not inner.variable:
            return inner.size, inner.align
        raise GenError(f.line, f"field '{f.name}': struct {t.name} has variable length and can only be an element of a list in the native encoding")
    raise GenError(f.line, f"field '{f.name}': the native encoding has no {type(t).__name__.lower()}s of this kind")


def of(t, f=None):
    """The layout of a struct, computed once."""
    if not t.native and f is not None:
        raise GenError(f.line, f"field '{f.name}': struct {t.name} is not @native")
    if not hasattr(t, 'layout'):
        if t.recursive:
            raise GenError(t.line, f'struct {t.name} is recursive: the native encoding cannot express it')
        t.layout = Layout(t)
        for g in t.layout.tail:
            if isinstance(strip(g.type), List):
                element(g)
    return t.layout


def element(f):
    """(minimal size, alignment, variable) of the elements of a list."""
    t = strip(strip(f.type).elem)
    if not isinstance(t, StructType):
        size, align = fixed_layout(t, f)
        return size, align, False
    inner = of(t, f)
    for g in inner.tail:
        if {'nolength', 'tail', 'aligned'} & set(g.native):
            raise GenError(f.line, f"field '{f.name}': struct {t.name} cannot be an element, its end is not known ('{g.name}')")
    return inner.size + 4 * sum('inline' in g.native for g in inner.tail), inner.align, inner.variable
