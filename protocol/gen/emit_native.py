"""Part "native": codec of the layout of C structures on x86-64 (the classic protocol)."""

import layout
from cwriter import for_loop, header, index, source
from emit_types import enum_valid
from model import PRIMS, Array, Bytes, EnumType, GenError, List, Opaque, Prim, String, StructType, contains, is_flat, strip


def structs(model):
    return [d for d in model.defs if isinstance(d, StructType) and d.native]


def emit(model):
    if not structs(model):
        raise GenError(1, 'no @native struct in this file: there is nothing for part native')
    for d in structs(model):
        layout.of(d)
    return {f'{model.base}_native.h': emit_header(model), f'{model.base}_native.c': emit_source(model)}


# ---- header ----


def emit_header(model):
    includes = ['<stddef.h>', '<stdint.h>', '<talloc.h>', '', f'"protocol/{model.base}.h"']
    return header(model, '_native', 'native encoding', includes, lambda w: header_body(w, model))


def header_body(w, model):
    w.w('/*\n * NAME_NSIZE: encoded size of a structure of fixed size. NAME_NFIXED: size of the part before the first variable-length field.\n'
        ' * nput: into a buffer of nsize() bytes; what is left of a larger one is zeroed. 0, ENOSPC, EMSGSIZE, EINVAL. ndecode, nview: 0, EBADMSG, ENOMEM; used (may be NULL): bytes consumed. nview: blobs point into buf, which need not be aligned.\n */\n')
    for d in structs(model):
        lay, n = layout.of(d), d.name
        w.w(f'#define {n.upper()}_{"NFIXED" if lay.variable else "NSIZE"} {lay.size}')
        w.w(f'size_t {n}_nsize(const struct {n} *v);')
        w.w(f'int {n}_nencode(TALLOC_CTX *mem, const struct {n} *v, struct ctdb_blob *out);')
        w.w(f'int {n}_nput(uint8_t *buf, size_t size, const struct {n} *v);')
        w.w(f'int {n}_ndecode(TALLOC_CTX *mem, const uint8_t *buf, size_t len, struct {n} *v, size_t *used);')
        if is_flat(d):
            w.w(f'int {n}_nview(const uint8_t *buf, size_t len, struct {n} *v, size_t *used);')
        w.w()


# ---- source ----


def emit_source(model):
    includes = [f'"protocol/{model.base}_native.h"', '"base/native.h"']
    return source(model, 'native encoding', includes, lambda w: source_body(w, model))


def source_body(w, model):
    for e in native_enums(model):
        enum_valid(w, e)
    for d in structs(model):
        if not layout.of(d).variable:
            load_function(w, d)
            store_function(w, d)
        read_function(w, d)
        write_function(w, d)
        size_function(w, d)
        encode_function(w, d)
        decode_function(w, d)
        if is_flat(d):
            view_function(w, d)


def native_enums(model):
    found = []
    for d in structs(model):
        for f in d.fields:
            t = strip(f.type)
            while isinstance(t, (Array, List)):
                t = strip(t.elem)
            if isinstance(t, EnumType) and t not in found:
                found.append(t)
    return found


def at(offset):
    return f'p + {offset}' if offset else 'p'


def stride(t, f):
    return layout.fixed_layout(t, f)[0]


# reading


def load_one(w, t, e, where, f, level=0):
    """Reads e, of fixed size, from the address where."""
    t = strip(t)
    if isinstance(t, Prim):
        w.w(f'{e} = {load_expr(t, where, f.native.get("width"))};')
    elif isinstance(t, EnumType):
        width = f.native.get('width')
        w.w(f'{e} = (enum {t.name}){load_expr(PRIMS["unsigned int" if width else "int"], where, width)};')
        with w.block(f'if (!{t.name}_valid((int){e}))'):
            w.w('native_in_fail(in, EBADMSG);')
    elif isinstance(t, Opaque):
        w.w(f'memcpy({e}, {where}, {t.text});')
    elif isinstance(t, String):
        w.w(f'{e} = native_get_chars(in, mem, {where}, {f.native["fixed"]}, {t.text});')
    elif isinstance(t, Array):
        i = index(level)
        with for_loop(w, level, t.text):
            load_one(w, t.elem, f'{e}[{i}]', f'{where} + (size_t){i} * {stride(t.elem, f)}', f, level + 1)
    else:
        w.w(f'{t.name}_nload(in, mem, {where}, &{e});')


def load_expr(t, where, width):
    short = t.short
    if short == 'bool':
        return f'*({where}) != 0' if ' ' in where else f'*{where} != 0'
    if short == 'double':
        return f'native_load_double({where})'
    if width == 1:
        return f'{"(int8_t)" if short == "i32" else ""}*({where})'
    bits = {2: 16}.get(width, 64 if short in ('u64', 'i64') else 32)
    cast = {'i32': f'(int{bits}_t)', 'i64': '(int64_t)'}.get(short, '')
    return f'{cast}native_load{bits}({where})'


def load_function(w, d):
    n = d.name
    with w.function(f'static void {n}_nload(struct native_in *in, TALLOC_CTX *mem, const uint8_t *p, struct {n} *v)'):
        for f, offset in layout.of(d).fixed:
            load_one(w, f.type, f'v->{f.name}', at(offset), f)


def take_fixed(w, statement, lay):
    """The fixed part; none if all fields are behind it."""
    if lay.size == 0:
        return
    w.w(statement + '\n')
    with w.block('if (p == NULL)'):
        w.w('return;')


def read_function(w, d):
    n, lay = d.name, layout.of(d)
    with w.function(f'static void {n}_nread(struct native_in *in, TALLOC_CTX *mem, struct {n} *v)'):
        take_fixed(w, f'const uint8_t *p = native_take(in, {lay.size});', lay)
        if not lay.variable:
            w.w(f'{n}_nload(in, mem, p, v);')
        else:
            for f, offset in lay.fixed:
                load_one(w, f.type, f'v->{f.name}', at(offset), f)
            for f in lay.tail:
                read_tail(w, f, lay)
        for f, _ in lay.fixed:
            if 'size' in f.native:
                with w.block(f'if (in->err == 0 && (size_t)(in->p - p) != v->{f.name})'):
                    w.w('in->err = EBADMSG;')


def length_expr(f, lay):
    if 'nolength' in f.native:
        return 'native_left(in)'
    if 'inline' in f.native:
        return 'native_get_length(in)'
    return f'native_load32({at(lay.lengths[f])})'


def read_tail(w, f, lay):
    t, e = strip(f.type), f'v->{f.name}'
    if isinstance(t, Bytes):
        w.w(f'native_get_blob(in, mem, {length_expr(f, lay)}, {t.text}, &{e});')
    elif isinstance(t, String):
        w.w(f'{e} = native_get_string(in, mem, {length_expr(f, lay)}, {t.text}, {"true" if "nonul" in f.native else "false"});')
    elif isinstance(t, List):
        read_list(w, f, t, e, lay)
    else:
        size = stride(t, f)
        w.w(f'{e} = 0;')
        with w.block(f'if (in->err == 0 && native_left(in) >= {size})'):
            w.w(f'const uint8_t *q = native_take(in, {size});\n')
            load_one(w, t, e, 'q', f)


def read_list(w, f, t, e, lay):
    size, align, variable = layout.element(f)
    if 'aligned' in f.native:
        w.w(f'native_skip_align(in, {align});')
    if 'nolength' in f.native and variable:
        w.w(f'{e}.n = 0;\n{e}.v = NULL;')
        with w.block('while (in->err == 0 && native_left(in) > 0)'):
            w.w(f'void *grown = native_grow_array(in, mem, {e}.v, sizeof({e}.v[0]), {e}.n, {t.text});\n')
            with w.block('if (grown == NULL)'):
                w.w('break;')
            w.w(f'{e}.v = grown;')
            read_element(w, f, t, f'{e}.v[{e}.n]', e)
            w.w(f'{e}.n++;')
        return
    if 'nolength' in f.native:
        with w.block(f'if (native_left(in) % {size} != 0)'):
            w.w('native_in_fail(in, EBADMSG);')
        w.w(f'{e}.n = native_left(in) / {size} > UINT32_MAX ? UINT32_MAX : (uint32_t)(native_left(in) / {size});')
    else:
        w.w(f'{e}.n = native_load32({at(lay.lengths[f])});')
    w.w(f'{e}.v = native_get_array(in, mem, sizeof({e}.v[0]), {e}.n, {t.text}, {size});')
    with for_loop(w, 0, f'{e}.n && in->err == 0'):
        read_element(w, f, t, f'{e}.v[i]', e)


def read_element(w, f, t, e, owner):
    elem = strip(t.elem)
    if isinstance(elem, StructType):
        w.w(f'{elem.name}_nread(in, {owner}.v, &{e});')
        return
    w.w(f'const uint8_t *q = native_take(in, {stride(elem, f)});\n')
    with w.block('if (q != NULL)'):
        load_one(w, elem, e, 'q', f, 1)


# writing


def store_one(w, t, e, where, f, level=0):
    t = strip(t)
    width = f.native.get('width')
    if isinstance(t, EnumType):
        with w.block(f'if (!{t.name}_valid((int){e}))'):
            w.w('native_out_fail(out, EINVAL);')
    if isinstance(t, (Prim, EnumType)):
        store_number(w, t, e, where, width)
    elif isinstance(t, Opaque):
        w.w(f'memcpy({where}, {e}, {t.text});')
    elif isinstance(t, String):
        w.w(f'native_put_chars(out, {where}, {f.native["fixed"]}, {e}, {t.text});')
    elif isinstance(t, Array):
        i = index(level)
        with for_loop(w, level, t.text):
            store_one(w, t.elem, f'{e}[{i}]', f'{where} + (size_t){i} * {stride(t.elem, f)}', f, level + 1)
    else:
        w.w(f'{t.name}_nstore(out, {where}, &{e});')


def store_number(w, t, e, where, width):
    short = getattr(t, 'short', 'i32')
    if width:
        bits = width * 8
        low, high = (f'-{1 << (bits - 1)}', (1 << (bits - 1)) - 1) if short == 'i32' else (None, (1 << bits) - 1)
        cast = ''
        if isinstance(t, EnumType):
            low, high, cast = '0', (1 << bits) - 1, '(int)'
        with w.block(f'if ({cast}{e} > {high}' + (f' || {cast}{e} < {low})' if low else ')')):
            w.w('native_out_fail(out, EMSGSIZE);')
        w.w(f'*({where}) = (uint8_t){e};' if width == 1 else f'native_store16({where}, (uint16_t){e});')
    elif short == 'bool':
        w.w(f'*({where}) = {e} ? 1 : 0;')
    elif short == 'double':
        w.w(f'native_store_double({where}, {e});')
    else:
        bits = 64 if short in ('u64', 'i64') else 32
        cast = f'(uint{bits}_t)' if short in ('i32', 'i64') else ''
        w.w(f'native_store{bits}({where}, {cast}{e});')


def store_function(w, d):
    n = d.name
    with w.function(f'static void {n}_nstore(struct native_out *out, uint8_t *p, const struct {n} *v)'):
        for f, offset in layout.of(d).fixed:
            store_one(w, f.type, f'v->{f.name}', at(offset), f)


def write_function(w, d):
    n, lay = d.name, layout.of(d)
    with w.function(f'static void {n}_nwrite(struct native_out *out, const struct {n} *v)'):
        take_fixed(w, f'uint8_t *p = native_room(out, {lay.size});', lay)
        if not lay.variable:
            w.w(f'{n}_nstore(out, p, v);')
        else:
            for f, offset in lay.fixed:
                if 'size' not in f.native:
                    store_one(w, f.type, f'v->{f.name}', at(offset), f)
            for f in lay.tail:
                write_tail(w, f, lay)
        for f, offset in lay.fixed:
            if 'size' in f.native:
                w.w(f'native_store32({at(offset)}, (uint32_t)(out->p - p));')


def byte_count(f, t, e):
    """Expression: bytes of a blob or string behind the fixed part."""
    if isinstance(t, Bytes):
        return f'{e}.len'
    return f'native_string_size({e})' + (' - 1' if 'nonul' in f.native else '')


def write_tail(w, f, lay):
    t, e = strip(f.type), f'v->{f.name}'
    if isinstance(t, List):
        write_list(w, f, t, e, lay)
        return
    if not isinstance(t, (Bytes, String)):
        size = stride(t, f)
        with w.block(''):
            w.w(f'uint8_t *q = native_room(out, {size});\n')
            with w.block('if (q != NULL)'):
                store_one(w, t, e, 'q', f)
        return
    count = byte_count(f, t, e)
    if 'inline' in f.native:
        w.w(f'native_put_length(out, {count});')
    elif f in lay.lengths:
        w.w(f'native_store32({at(lay.lengths[f])}, (uint32_t){paren(count)});')
    if isinstance(t, Bytes):
        w.w(f'native_put_bytes(out, {e}.data, {count}, {t.text});')
    else:
        room = '' if 'nonul' in f.native else ' + 1'
        w.w(f'native_put_bytes(out, {e} != NULL ? {e} : "", {count}, (size_t){t.text}{room});')


def paren(s):
    return f'({s})' if ' ' in s else s


def write_list(w, f, t, e, lay):
    _, align, _ = layout.element(f)
    w.w(f'native_out_bound(out, {e}.n, {t.text});')
    if f in lay.lengths:
        w.w(f'native_store32({at(lay.lengths[f])}, {e}.n);')
    if 'aligned' in f.native:
        w.w(f'native_room_align(out, {align});')
    with for_loop(w, 0, f'{e}.n && out->err == 0'):
        elem = strip(t.elem)
        if isinstance(elem, StructType):
            w.w(f'{elem.name}_nwrite(out, &{e}.v[i]);')
        else:
            w.w(f'uint8_t *q = native_room(out, {stride(elem, f)});\n')
            with w.block('if (q != NULL)'):
                store_one(w, elem, f'{e}.v[i]', 'q', f, 1)


# public functions


def size_function(w, d):
    lay = layout.of(d)
    with w.function(f'size_t {d.name}_nsize(const struct {d.name} *v)'):
        if not lay.variable:
            w.w(f'return {lay.size};')
            return
        w.w(f'size_t n = {lay.size};\n')
        for f in lay.tail:
            t, e = strip(f.type), f'v->{f.name}'
            if isinstance(t, List):
                size_list(w, f, t, e)
            elif isinstance(t, (Bytes, String)):
                w.w(f'n += {"4 + " if "inline" in f.native else ""}{byte_count(f, t, e)};')
            else:
                w.w(f'n += {stride(t, f)};')
        w.w('return n;')


def size_list(w, f, t, e):
    size, align, variable = layout.element(f)
    if 'aligned' in f.native:
        w.w(f'n = (n + {align - 1}) & ~(size_t){align - 1};')
    if not variable:
        w.w(f'n += (size_t){e}.n * {size};')
    else:
        with for_loop(w, 0, f'{e}.n'):
            w.w(f'n += {strip(t.elem).name}_nsize(&{e}.v[i]);')


def encode_function(w, d):
    n = d.name
    with w.function(f'int {n}_nput(uint8_t *buf, size_t size, const struct {n} *v)'):
        w.w('struct native_out x = {.start = buf, .p = buf, .end = buf + size};\n')
        w.w(f'memset(buf, 0, size);\n{n}_nwrite(&x, v);\nreturn x.err;')
    with w.function(f'int {n}_nencode(TALLOC_CTX *mem, const struct {n} *v, struct ctdb_blob *out)'):
        w.w(f'size_t size = {n}_nsize(v);\nuint8_t *buf;\nint err;\n')
        w.leave_if('size > UINT32_MAX', 'return EMSGSIZE;')
        w.w('buf = talloc_size(mem, size);')
        w.leave_if('buf == NULL', 'return ENOMEM;')
        w.w(f'err = {n}_nput(buf, size, v);')
        w.leave_if('err != 0', 'talloc_free(buf);\nreturn err;')
        w.w('out->len = (uint32_t)size;\nout->data = buf;\nreturn 0;')


def finish(w, free):
    with w.block('if (in.err != 0)'):
        if free:
            w.w('talloc_free(all);')
        w.w('memset(v, 0, sizeof(*v));\nreturn in.err;')
    with w.block('if (used != NULL)'):
        w.w('*used = (size_t)(in.p - in.start);')
    w.w('return 0;')


def decode_function(w, d):
    n = d.name
    alloc = contains(d, (Bytes, String, List))
    with w.function(f'int {n}_ndecode(TALLOC_CTX *mem, const uint8_t *buf, size_t len, struct {n} *v, size_t *used)'):
        w.w('struct native_in in = native_in_over(buf, len, false);')
        if alloc:
            # Also the room for all copies; what has no NUL in the input may not fit and is allocated.
            room = contains(d, (Bytes, String))
            w.w(f'TALLOC_CTX *all = talloc_named_const(mem, {"len" if room else 0}, "struct {n}");\n')
            w.w('memset(v, 0, sizeof(*v));')
            with w.block('if (all == NULL)'):
                w.w('return ENOMEM;')
            if room:
                w.w('in.room = all;\nin.room_end = in.room + len;')
            w.w(f'{n}_nread(&in, all, v);')
        else:
            w.w(f'\n{n}_nread(&in, mem, v);')
        finish(w, alloc)


def view_function(w, d):
    n = d.name
    with w.function(f'int {n}_nview(const uint8_t *buf, size_t len, struct {n} *v, size_t *used)'):
        w.w('struct native_in in = native_in_over(buf, len, true);\n')
        w.w(f'{n}_nread(&in, NULL, v);')
        finish(w, False)
