"""Part "turn": native structures from the byte order of the host to the other one and back, in place."""

import re

import layout
from cwriter import Writer, for_loop, header, index, source
from emit_native import stride, structs
from model import Array, Bytes, EnumType, GenError, List, Opaque, Prim, String, StructType, strip


def emit(model):
    if not structs(model):
        raise GenError(1, 'no @native struct in this file: there is nothing for part turn')
    for d in structs(model):
        layout.of(d)
    return {f'{model.base}_turn.h': emit_header(model), f'{model.base}_turn.c': emit_source(model)}


def emit_header(model):
    return header(model, '_turn', 'byte order of the native encoding', ['<stddef.h>', '<stdint.h>', '', '"base/turn.h"', f'"protocol/{model.base}.h"'],
                  lambda w: header_body(w, model))


def header_body(w, model):
    w.w('/* Contract: turn_fn in base/turn.h. Bytes and strings stay as they are. */')
    for d in structs(model):
        w.w(f'int {d.name}_turn(uint8_t *buf, size_t len, enum turn_dir dir, size_t *used);')
    w.w()


def emit_source(model):
    return source(model, 'byte order of the native encoding', [f'"protocol/{model.base}_turn.h"'], lambda w: source_body(w, model))


def source_body(w, model):
    for d in structs(model):
        if not layout.of(d).variable and turns(d):
            at_function(w, d)
        next_function(w, d)
        public_function(w, d)


def number_size(t, f):
    """Bytes of a number or enum; 1: nothing to turn."""
    return 4 if isinstance(t, EnumType) and 'width' not in f.native else f.native.get('width', getattr(t, 'nsize', 1))


def turns(t, f=None):
    """Is there anything to turn in what has the same size always?"""
    t = strip(t)
    if isinstance(t, StructType):
        return any(turns(g.type, g) for g, _ in layout.of(t).fixed)
    if isinstance(t, Array):
        return turns(t.elem, f)
    return 'sockaddr' in f.native if isinstance(t, Opaque) else isinstance(t, (Prim, EnumType)) and number_size(t, f) > 1


def turn_one(w, t, where, f, level=0):
    """Turns what stands at the offset where."""
    t = strip(t)
    if not turns(t, f):
        return
    if isinstance(t, (Prim, EnumType)):
        w.w(f'turn_number(t, {where}, {number_size(t, f)});')
    elif isinstance(t, Opaque):
        w.w(f'turn_sockaddr(t, {where});')
    elif isinstance(t, Array):
        with for_loop(w, level, t.text):
            turn_one(w, t.elem, f'{where} + (size_t){index(level)} * {stride(t.elem, f)}', f, level + 1)
    else:
        w.w(f'{t.name}_turn_at(t, {where});')


def offset(n):
    return f'at + {n}' if n else 'at'


def at_function(w, d):
    with w.function(f'static void {d.name}_turn_at(struct turn *t, size_t at)'):
        for f, n in layout.of(d).fixed:
            turn_one(w, f.type, offset(n), f)


def next_function(w, d):
    """Turns the structure that comes next, and moves on behind it."""
    lay = layout.of(d)
    lengths = [(f, n) for f, n in lay.lengths.items()] + [(f, n) for f, n in lay.fixed if 'size' in f.native and lay.variable]
    body = Writer()
    if lay.variable:
        variable_body(body, lay)
    elif turns(d):
        body.w(f'{d.name}_turn_at(t, at);')
    with w.function(f'static void {d.name}_turn_next(struct turn *t)'):
        if lengths or re.search(r'\bat\b', body.text()):
            w.w(f'size_t at = turn_take(t, {lay.size});')
            for f, n in lengths:
                w.w(f'uint32_t {f.name}_n = turn_length(t, {offset(n)});')
            w.w()
        elif lay.size > 0:
            w.w(f'turn_take(t, {lay.size});')
        for line in body.lines:
            w.w(line)


def variable_body(w, lay):
    for f, n in lay.fixed:
        if 'size' not in f.native:
            turn_one(w, f.type, offset(n), f)
    for f in lay.tail:
        turn_tail(w, f)
    check_size(w, lay)


def check_size(w, lay):
    for f, n in lay.fixed:
        if 'size' in f.native:
            with w.block(f'if (t->err == 0 && t->at - at != {f.name}_n)'):
                w.w('t->err = EBADMSG;')


def turn_tail(w, f):
    t = strip(f.type)
    if isinstance(t, (Bytes, String)):
        turn_bytes(w, f)
    elif isinstance(t, List):
        turn_list(w, f, t)
    else:
        size = stride(t, f)
        with w.block(f'if (turn_left(t) >= {size})'):
            w.w(f'turn_number(t, turn_take(t, {size}), {size});')


def length(f):
    """Expression: bytes of a field behind the fixed part, elements of a list with a number."""
    if 'nolength' in f.native:
        return 'turn_left(t)'
    return 'turn_length(t, turn_take(t, 4))' if 'inline' in f.native else f'{f.name}_n'


def turn_bytes(w, f):
    if 'starts' not in f.native:
        w.w(f'turn_take(t, {length(f)});')
        return
    head = f.native['starts']
    with w.block(''):
        w.w(f'size_t n = {length(f)}, start = turn_take(t, n);\n')
        with w.block(f'if (t->err == 0 && n >= {layout.of(head).size})'):
            w.w(f'{head.name}_turn_at(t, start);')


def turn_list(w, f, t):
    elem = strip(t.elem)
    _, align, _ = layout.element(f)
    if 'aligned' in f.native:
        w.w(f'turn_align(t, {align});')
    open_end = 'nolength' in f.native
    with w.block('while (t->err == 0 && turn_left(t) > 0)') if open_end else for_loop(w, 0, f'{length(f)} && t->err == 0'):
        if isinstance(elem, StructType):
            w.w(f'{elem.name}_turn_next(t);')
        else:
            size = stride(elem, f)
            w.w(f'size_t start = turn_take(t, {size});\n')
            turn_one(w, elem, 'start', f, 1)
            if not turns(elem, f):
                w.w('(void)start;')


def public_function(w, d):
    with w.function(f'int {d.name}_turn(uint8_t *buf, size_t len, enum turn_dir dir, size_t *used)'):
        w.w('struct turn t = {.buf = buf, .len = len, .dir = dir};\n')
        w.w(f'{d.name}_turn_next(&t);')
        with w.block('if (used != NULL)'):
            w.w('*used = t.at;')
        w.w('return t.err;')
