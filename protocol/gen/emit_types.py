"""Part "types": C structures, enum names, XDR codec, validators."""

from cwriter import Writer, case_labels, comment, declare, for_loop, header, index, is_composite, source
from model import (U32_MAX, Alias, Array, Bytes, ConstDef, EnumType, List, Opaque, Optional, Prim, String, StructType, UnionType, contains, fixed_size,
                   is_flat, min_size, parts, strip)


def emit(model):
    return {f'{model.base}.h': emit_header(model), f'{model.base}.c': emit_source(model)}


# ---- header ----


def const_text(d):
    text = d.text if d.text[:1].isdigit() else str(d.value)
    if d.value > 0xFFFFFFFF:
        return f'UINT64_C({text})'
    if d.value > 0x7FFFFFFF:
        return text + 'U'
    if d.value < -(1 << 31):
        return f'INT64_C({text})'
    return text if d.value >= 0 else f'({text})'


def emit_header(model):
    includes = ['<stdbool.h>', '<stddef.h>', '<stdint.h>', '<talloc.h>', '', '"base/xdr.h"']
    return header(model, '', 'types and XDR codec', includes, lambda w: header_body(w, model))


def header_body(w, model):
    comment(w, model.file_doc)
    forwards(w, model)
    for i, d in enumerate(model.defs):
        if i and isinstance(model.defs[i - 1], ConstDef) and (d.doc.text or not isinstance(d, ConstDef)):
            w.w()
        {ConstDef: const, EnumType: enum, StructType: struct, UnionType: union, Alias: typedef}[type(d)](w, d)
    for d in model.defs:
        if isinstance(d, (StructType, UnionType)):
            prototypes(w, d)
        elif isinstance(d, EnumType):
            w.w(f'/* "unknown" for unknown values; false: no such name, *v unchanged. */')
            w.w(f'const char *{d.name}_name(enum {d.name} v);\nbool {d.name}_parse(const char *s, enum {d.name} *v);\n')
    if model.interface:
        procedures(w, model)


def proc_enum(model, p):
    return f'{model.prefix.upper()}_PROC_{p.name.upper()}'


def procedures(w, model):
    """Procedure numbers: with the types, for code that names messages without calling anybody."""
    with w.block(f'enum {model.prefix}_proc', ';'):
        for p in model.interface.procs:
            w.w(f'{proc_enum(model, p)} = {p.number},')
    w.w()


def forwards(w, model):
    """Types that pointers use before their definition."""
    done, early = set(), []
    for d in model.defs:
        if isinstance(d, (StructType, UnionType)):
            done.add(d)
        todo = [d.target] if isinstance(d, Alias) else [] if isinstance(d, (ConstDef, EnumType)) else list(parts(d))
        while todo:
            t = todo.pop()
            if isinstance(t, (Array, List, Optional)):
                todo.append(t.elem)
            elif isinstance(t, (StructType, UnionType)) and t not in done and t not in early:
                early.append(t)
    for t in early:
        w.w(f'struct {t.name};')
    if early:
        w.w()


def const(w, d):
    comment(w, d.doc, d.remark)
    w.w(f'#define {d.name} {const_text(d)}')


def enum(w, d):
    comment(w, d.doc)
    with w.block(f'enum {d.name}', ';'):
        for name, value, doc, remark in d.members:
            comment(w, doc, remark)
            w.w(f'{name} = {value},')
    w.w()


def field(w, f):
    comment(w, f.doc, f.remark)
    w.w(declare(f.type, f.name) + ';')


def struct(w, d):
    comment(w, d.doc)
    with w.block(f'struct {d.name}', ';'):
        for f in d.fields:
            field(w, f)
    w.w()


def union(w, d):
    comment(w, d.doc)
    with w.block(f'struct {d.name}', ';'):
        field(w, d.disc)
        arms = [a for a in d.arms if a.field]
        if arms:
            with w.block('union', ' u;'):
                for a in arms:
                    w.w('/* ' + (', '.join(label for label, _ in a.labels) or 'default') + ' */')
                    field(w, a.field)
    w.w()


def typedef(w, d):
    comment(w, d.doc)
    w.w(f'typedef {declare(d.target, d.name)};\n')


def prototypes(w, d):
    n = d.name
    w.w(f'size_t {n}_size(const struct {n} *v);')
    w.w(f'void {n}_put(struct xdr_out *out, const struct {n} *v);')
    w.w(f'void {n}_get(struct xdr_in *in, TALLOC_CTX *mem, struct {n} *v);')
    w.w(f'int {n}_encode(TALLOC_CTX *mem, const struct {n} *v, struct ctdb_blob *out);')
    w.w(f'int {n}_encode_to(TALLOC_CTX *mem, struct xdr_buf *buf, const struct {n} *v, struct ctdb_blob *out);')
    w.w(f'int {n}_decode(TALLOC_CTX *mem, const uint8_t *buf, size_t len, struct {n} *v);')
    if is_flat(d):
        w.w(f'int {n}_view(const uint8_t *buf, size_t len, struct {n} *v);')
    elif view_room(d):
        w.w(f'#define {n.upper()}_VIEW_ROOM {view_room(d)}')
        w.w(f'int {n}_view_at(const uint8_t *buf, size_t len, struct {n} *v, char room[{n.upper()}_VIEW_ROOM]);')
    w.w(f'int {n}_validate(const struct {n} *v);\n')


# Bytes on a stack are enough for the strings of a view.
VIEW_ROOM_MAX = 4096


def strings_room(t):
    """Bytes that all strings of a value take, with their NULs; a type that no view_at is made for: None."""
    t = strip(t)
    if isinstance(t, String):
        return t.max + 1
    if isinstance(t, (List, Optional, UnionType)) or (isinstance(t, StructType) and t.recursive):
        return None
    if isinstance(t, Array):
        room = strings_room(t.elem)
        return None if room is None else room * t.n
    rooms = [strings_room(p) for p in parts(t)]
    return None if None in rooms else sum(rooms)


def view_room(d):
    """Room for view_at; 0: there is none, because the type is flat or not of a kind that has it."""
    room = strings_room(d)
    return room if room and room <= VIEW_ROOM_MAX else 0


# ---- source ----


def emit_source(model):
    includes = [f'"protocol/{model.base}.h"', '"base/xdr_talloc.h"']
    return source(model, 'types and XDR codec', includes, lambda w: source_body(w, model))


def source_body(w, model):
    used = enums_in_use(model)
    nested = structs_in_runs(model)
    for d in model.defs:
        if isinstance(d, EnumType):
            enum_functions(w, d, d in used)
    for d in (d for d in model.composites() if d.recursive):
        w.w(f'static void {d.name}_put_at(struct xdr_out *out, const struct {d.name} *v, unsigned depth);')
        w.w(f'static void {d.name}_get_at(struct xdr_in *in, TALLOC_CTX *mem, struct {d.name} *v, unsigned depth);\n')
    for d in model.composites():
        if d in nested:
            store_function(w, d)
            load_function(w, d)
        size_function(w, d)
        put_function(w, d)
        get_function(w, d)
        encode_function(w, d)
        decode_function(w, d)
        if is_flat(d):
            view_function(w, d)
        elif view_room(d):
            view_at_function(w, d)
        validate_function(w, d)


def enums_in_use(model):
    used = set()
    for t in model.composites():
        todo = list(parts(t))
        while todo:
            p = strip(todo.pop())
            if isinstance(p, EnumType):
                used.add(p)
            elif isinstance(p, (Array, List, Optional)):
                todo.append(p.elem)
    return used


def structs_in_runs(model):
    """Structs that are read and written as part of a run of another one's fields."""
    found = set()
    for d in model.composites():
        for f in d.fields if isinstance(d, StructType) else []:
            t = strip(f.type)
            while isinstance(t, Array):
                t = strip(t.elem)
            if in_run(f.type) and isinstance(t, StructType):
                found.add(t)
    return found


def enum_functions(w, d, used):
    with w.function(f'const char *{d.name}_name(enum {d.name} v)'):
        with w.switch('(int)v'):
            for name, _, _, _ in d.members:
                with w.case(f'case {name}', f'return "{name}";'):
                    pass
        w.w('return "unknown";')
    with w.function(f'bool {d.name}_parse(const char *s, enum {d.name} *v)'):
        with w.block('static const struct', ' names[] = {'):
            w.w(f'const char *name;\nenum {d.name} value;')
        w.indent += 1
        for name, _, _, _ in d.members:
            w.w(f'{{"{name}", {name}}},')
        w.indent -= 1
        w.w('};\n')
        with w.block('for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)'):
            with w.block('if (strcmp(names[i].name, s) == 0)'):
                w.w('*v = names[i].value;\nreturn true;')
        w.w('return false;')
    if used:
        enum_codec(w, d)


def enum_valid(w, d):
    with w.function(f'static bool {d.name}_valid(int v)'):
        with w.switch('v'):
            for name, _, _, _ in d.members:
                w.indent -= 1
                w.w(f'case {name}:')
                w.indent += 1
            w.w('return true;')
        w.w('return false;')


def enum_codec(w, d):
    enum_valid(w, d)
    with w.function(f'static inline void {d.name}_store(struct xdr_out *out, uint8_t *p, enum {d.name} v)'):
        with w.block(f'if (!{d.name}_valid((int)v))'):
            w.w('xdr_out_fail(out, EINVAL);')
        w.w('xdr_store_u32(p, (uint32_t)v);')
    with w.function(f'static inline enum {d.name} {d.name}_load(struct xdr_in *in, const uint8_t *p)'):
        w.w('int v = (int)xdr_load_u32(p);\n')
        with w.block(f'if (in->err == 0 && !{d.name}_valid(v))'):
            w.w('in->err = EBADMSG;')
        w.w(f'return in->err == 0 ? (enum {d.name})v : {d.members[0][0]};')


def arms(w, d, visit, bad):
    """switch over a union's discriminant; visit(arm's field) writes one arm, bad is the statement for a value without a case, or empty."""
    disc = strip(d.disc.type)
    expr = f'v->{d.disc.name}' if isinstance(disc, Prim) and disc.short in ('u32', 'i32') else f'(int)v->{d.disc.name}'
    with w.switch(expr):
        for a in d.arms:
            with w.case(case_labels(w, a, disc)):
                if a.field:
                    visit(a.field)
        if all(a.labels for a in d.arms):
            with w.case('default', None if bad.startswith('return') else 'break;'):
                if bad:
                    w.w(bad)


# runs: fields of fixed size that follow each other are checked once


RUN_MAX = 256  # XDR_RUN_MAX


def in_run(t):
    size = fixed_size(t)
    return size is not None and size <= RUN_MAX


def runs(fields):
    """Lists of fields: those of a list with more than one, or of a kind that can be in a run, are of fixed size."""
    found, size = [], RUN_MAX + 1
    for i, f in enumerate(fields):
        s = fixed_size(f.type) if in_run(f.type) else RUN_MAX + 1
        since = f.since and f.since != fields[i - 1].since
        if since or size + s > RUN_MAX:
            found.append([])
            size = 0
        found[-1].append(f)
        size += s
    return found


def at(offset):
    return f'p + {offset}' if offset else 'p'


def offsets(fields):
    offset = 0
    for f in fields:
        yield f, offset
        offset += fixed_size(f.type)


def store_one(w, t, e, where, level=0):
    """Writes e, of fixed size, to the address where."""
    t = strip(t)
    if isinstance(t, Prim):
        cast = {'i32': '(uint32_t)', 'i64': '(uint64_t)'}.get(t.short, '')
        fn = {'i32': 'u32', 'i64': 'u64', 'bool': 'u32'}.get(t.short, t.short)
        w.w(f'xdr_store_{fn}({where}, {cast}{e}{" ? 1 : 0" if t.short == "bool" else ""});')
    elif isinstance(t, Opaque):
        if t.n % 4:
            w.w(f'xdr_store_u32({where} + {((t.n + 3) & ~3) - 4}, 0);')
        w.w(f'memcpy({where}, {e}, {t.text});')
    elif isinstance(t, Array):
        with for_loop(w, level, t.text):
            store_one(w, t.elem, f'{e}[{index(level)}]', f'{where} + (size_t){index(level)} * {fixed_size(t.elem)}', level + 1)
    elif isinstance(t, EnumType):
        w.w(f'{t.name}_store(out, {where}, {e});')
    else:
        w.w(f'{t.name}_store(out, {where}, &{e});')


def load_one(w, t, e, where, level=0):
    t = strip(t)
    if isinstance(t, Prim):
        cast = {'i32': '(int32_t)', 'i64': '(int64_t)'}.get(t.short, '')
        fn = {'i32': 'u32', 'i64': 'u64'}.get(t.short, t.short)
        w.w(f'{e} = {cast}xdr_load_{fn}({"in, " if t.short == "bool" else ""}{where});')
    elif isinstance(t, Opaque):
        w.w(f'memcpy({e}, {where}, {t.text});')
        if t.n % 4:
            w.w(f'xdr_check_padding(in, {where}, {t.text});')
    elif isinstance(t, Array):
        with for_loop(w, level, t.text):
            load_one(w, t.elem, f'{e}[{index(level)}]', f'{where} + (size_t){index(level)} * {fixed_size(t.elem)}', level + 1)
    elif isinstance(t, EnumType):
        w.w(f'{e} = {t.name}_load(in, {where});')
    else:
        w.w(f'{t.name}_load(in, {where}, &{e});')


def store_function(w, d):
    with w.function(f'static inline void {d.name}_store(struct xdr_out *out, uint8_t *p, const struct {d.name} *v)'):
        for f, offset in offsets(d.fields):
            store_one(w, f.type, f'v->{f.name}', at(offset))


def load_function(w, d):
    with w.function(f'static inline void {d.name}_load(struct xdr_in *in, const uint8_t *p, struct {d.name} *v)'):
        for f, offset in offsets(d.fields):
            load_one(w, f.type, f'v->{f.name}', at(offset))


def put_run(w, fields, owner):
    if not in_run(fields[0].type):
        put_one(w, fields[0].type, f'v->{fields[0].name}', 0, owner)
        return
    with w.block(''):
        w.w(f'uint8_t *p = xdr_reserve(out, {sum(fixed_size(f.type) for f in fields)});\n')
        with w.block('if (p != NULL)'):
            for f, offset in offsets(fields):
                store_one(w, f.type, f'v->{f.name}', at(offset))


def get_run(w, fields, owner):
    if not in_run(fields[0].type):
        get_one(w, fields[0].type, f'v->{fields[0].name}', 0, owner)
        return
    with w.block(''):
        w.w(f'const uint8_t *p = xdr_take(in, {sum(fixed_size(f.type) for f in fields)});\n')
        for f, offset in offsets(fields):
            load_one(w, f.type, f'v->{f.name}', at(offset))


# size


def size_function(w, d):
    total = fixed_size(d)
    body = Writer()
    const = size_members(body, d)
    with w.function(f'size_t {d.name}_size(const struct {d.name} *v)'):
        if total is not None:
            w.w(f'return {total};')
        else:
            w.w(f'size_t n = {const};\n')
            w.w(body.text().rstrip('\n'))
            w.w('return n;')


def size_members(w, d):
    """Statements that add to n; returns the constant part."""
    if isinstance(d, UnionType):
        arms(w, d, lambda f: size_one(w, f.type, f'v->u.{f.name}', 0), '')
        return 4
    const = 0
    for f in d.fields:
        s = fixed_size(f.type)
        if s is not None:
            const += s
        else:
            size_one(w, f.type, f'v->{f.name}', 0)
    return const


def size_one(w, t, e, level):
    s = fixed_size(t)
    t = strip(t)
    if s is not None:
        w.w(f'n += {s};')
    elif isinstance(t, Bytes):
        w.w(f'n += 4 + xdr_pad({e}.len);')
    elif isinstance(t, String):
        w.w(f'n += xdr_string_size({e});')
    elif isinstance(t, Array):
        with for_loop(w, level, t.text):
            size_one(w, t.elem, f'{e}[{index(level)}]', level + 1)
    elif isinstance(t, List):
        es = fixed_size(t.elem)
        if es is not None:
            w.w(f'n += 4 + (size_t){e}.n * {es};')
        else:
            w.w('n += 4;')
            with for_loop(w, level, f'{e}.n'):
                size_one(w, t.elem, f'{e}.v[{index(level)}]', level + 1)
    elif isinstance(t, Optional):
        w.w('n += 4;')
        with w.block(f'if ({e} != NULL)'):
            size_one(w, t.elem, f'(*{e})', level)
    else:
        w.w(f'n += {t.name}_size(&{e});')


# put


def put_function(w, d):
    n = d.name
    if d.recursive:
        with w.function(f'void {n}_put(struct xdr_out *out, const struct {n} *v)'):
            w.w(f'{n}_put_at(out, v, 0);')
        sig = f'static void {n}_put_at(struct xdr_out *out, const struct {n} *v, unsigned depth)'
    else:
        sig = f'void {n}_put(struct xdr_out *out, const struct {n} *v)'
    with w.function(sig):
        if d.recursive:
            with w.block('if (depth >= XDR_DEPTH_MAX)'):
                w.w('xdr_out_fail(out, EMSGSIZE);\nreturn;')
        if isinstance(d, UnionType):
            put_one(w, d.disc.type, f'v->{d.disc.name}', 0, d)
            arms(w, d, lambda f: put_one(w, f.type, f'v->u.{f.name}', 0, d), 'xdr_out_fail(out, EINVAL);')
        else:
            for run in runs(d.fields):
                put_run(w, run, d)


def address(e):
    return e[2:-1] if e.startswith('(*') and e.endswith(')') else f'&{e}'


def put_one(w, t, e, level, owner):
    t = strip(t)
    if isinstance(t, Prim):
        cast = {'i32': '(uint32_t)', 'i64': '(uint64_t)'}.get(t.short, '')
        fn = {'i32': 'u32', 'i64': 'u64'}.get(t.short, t.short)
        w.w(f'xdr_put_{fn}(out, {cast}{e});')
    elif isinstance(t, EnumType):
        with w.block(''):
            w.w('uint8_t *p = xdr_reserve(out, 4);\n')
            with w.block('if (p != NULL)'):
                w.w(f'{t.name}_store(out, p, {e});')
    elif isinstance(t, Opaque):
        w.w(f'xdr_put_bytes(out, {e}, {t.text});')
    elif isinstance(t, Bytes):
        w.w(f'xdr_put_blob(out, {address(e)}, {t.text});')
    elif isinstance(t, String):
        w.w(f'xdr_put_string(out, {e}, {t.text});')
    elif isinstance(t, Array):
        with for_loop(w, level, t.text):
            put_one(w, t.elem, f'{e}[{index(level)}]', level + 1, owner)
    elif isinstance(t, List):
        w.w(f'xdr_put_count(out, {e}.n, {t.text});')
        with for_loop(w, level, f'{e}.n && out->err == 0'):
            put_one(w, t.elem, f'{e}.v[{index(level)}]', level + 1, owner)
    elif isinstance(t, Optional):
        w.w(f'xdr_put_bool(out, {e} != NULL);')
        with w.block(f'if ({e} != NULL)'):
            put_one(w, t.elem, f'(*{e})', level, owner)
    elif t.recursive:
        w.w(f'{t.name}_put_at(out, {address(e)}, {"depth + 1" if owner.recursive else "0"});')
    else:
        w.w(f'{t.name}_put(out, {address(e)});')


# get


def get_function(w, d):
    n = d.name
    public = f'void {n}_get(struct xdr_in *in, TALLOC_CTX *mem, struct {n} *v)'
    if d.recursive:
        with w.function(f'static void {n}_get_at(struct xdr_in *in, TALLOC_CTX *mem, struct {n} *v, unsigned depth)'):
            get_body(w, d)
        with w.function(public):
            w.w(f'{n}_get_at(in, mem, v, 0);')
        return
    with w.function(public):
        get_body(w, d)


def get_body(w, d):
    if d.recursive:
        with w.block('if (depth >= XDR_DEPTH_MAX)'):
            w.w('xdr_in_fail(in, EBADMSG);\nmemset(v, 0, sizeof(*v));\nreturn;')
    if isinstance(d, UnionType):
        w.w('memset(v, 0, sizeof(*v));')
        get_one(w, d.disc.type, f'v->{d.disc.name}', 0, d)
        arms(w, d, lambda f: get_one(w, f.type, f'v->u.{f.name}', 0, d), 'xdr_in_fail(in, EBADMSG);')
        return
    previous = None
    for run in runs(d.fields):
        f = run[0]
        if f.since and f.since != previous:
            # Sent by an older version: what follows is not there.
            with w.block('if (in->err == 0 && xdr_left(in) == 0)'):
                for g in d.fields[d.fields.index(f):]:
                    default(w, g.type, f'v->{g.name}', 0)
                w.w('return;')
        get_run(w, run, d)
        previous = run[-1].since


def get_one(w, t, e, level, owner, mem='mem'):
    """Reads e. What is allocated belongs to mem; elements of a list belong to the list."""
    t = strip(t)
    if isinstance(t, Prim):
        cast = {'i32': '(int32_t)', 'i64': '(int64_t)'}.get(t.short, '')
        fn = {'i32': 'u32', 'i64': 'u64'}.get(t.short, t.short)
        w.w(f'{e} = {cast}xdr_get_{fn}(in);')
    elif isinstance(t, EnumType):
        w.w(f'{e} = {t.name}_load(in, xdr_take(in, 4));')
    elif isinstance(t, Opaque):
        w.w(f'xdr_get_fixed(in, {e}, {t.text});')
    elif isinstance(t, Bytes):
        w.w(f'xdr_get_blob(in, {mem}, {t.text}, {address(e)});')
    elif isinstance(t, String):
        w.w(f'{e} = xdr_get_string(in, {mem}, {t.text});')
    elif isinstance(t, Array):
        with for_loop(w, level, t.text):
            get_one(w, t.elem, f'{e}[{index(level)}]', level + 1, owner, mem)
    elif isinstance(t, List):
        w.w(f'{e}.n = xdr_get_count(in, {t.text}, {min_size(t.elem)});')
        w.w(f'{e}.v = xdr_get_array(in, {mem}, sizeof({e}.v[0]), {e}.n);')
        with for_loop(w, level, f'{e}.n && in->err == 0'):
            get_one(w, t.elem, f'{e}.v[{index(level)}]', level + 1, owner, f'{e}.v')
    elif isinstance(t, Optional):
        w.w(f'{e} = xdr_get_bool(in) ? xdr_get_array(in, {mem}, sizeof(*{e}), 1) : NULL;')
        with w.block(f'if ({e} != NULL)'):
            get_one(w, t.elem, f'(*{e})', level, owner, e)
    elif t.recursive:
        w.w(f'{t.name}_get_at(in, {mem}, {address(e)}, {"depth + 1" if owner.recursive else "0"});')
    else:
        w.w(f'{t.name}_get(in, {mem}, {address(e)});')


def default(w, t, e, level):
    """The value of a field that an older sender did not know."""
    t = strip(t)
    if isinstance(t, String):
        w.w(f'{e} = xdr_empty_string(in, mem);')
    elif isinstance(t, EnumType):
        w.w(f'{e} = {t.members[0][0]};')
    elif isinstance(t, Prim):
        w.w(f'{e} = 0;' if t.short != 'bool' else f'{e} = false;')
    elif isinstance(t, Optional):
        w.w(f'{e} = NULL;')
    elif isinstance(t, Array) and contains(t, (String, EnumType)):
        with for_loop(w, level, t.text):
            default(w, t.elem, f'{e}[{index(level)}]', level + 1)
    elif isinstance(t, StructType) and contains(t, (String, EnumType)):
        for f in t.fields:
            default(w, f.type, f'{e}.{f.name}', level)
    else:
        w.w(f'memset(&{e}, 0, sizeof({e}));')


# encode, decode, view


def encode_function(w, d):
    n = d.name
    with w.function(f'int {n}_encode(TALLOC_CTX *mem, const struct {n} *v, struct ctdb_blob *out)'):
        w.w(f'size_t size = {n}_size(v);\nstruct xdr_out x = {{0}};\nuint8_t *buf;\n')
        w.leave_if('size > UINT32_MAX', 'return EMSGSIZE;')
        w.w('buf = talloc_size(mem, size);')
        w.leave_if('buf == NULL', 'return ENOMEM;')
        w.w(f'x.p = buf;\nx.end = buf + size;\n{n}_put(&x, v);')
        w.leave_if('x.err != 0', 'talloc_free(buf);\nreturn x.err;')
        w.w('out->len = (uint32_t)size;\nout->data = buf;\nreturn 0;')
    with w.function(f'int {n}_encode_to(TALLOC_CTX *mem, struct xdr_buf *buf, const struct {n} *v, struct ctdb_blob *out)'):
        w.w(f'size_t size = {n}_size(v);\nstruct xdr_out x = {{0}};\n')
        w.leave_if('size > UINT32_MAX', 'return EMSGSIZE;')
        w.w('x.p = xdr_buf_room(mem, buf, size);')
        w.leave_if('x.p == NULL', 'return ENOMEM;')
        w.w(f'x.end = x.p + size;\n{n}_put(&x, v);')
        with w.block('if (x.err == 0)'):
            w.w('out->len = (uint32_t)size;\nout->data = buf->data;')
        w.w('return x.err;')


def decode_function(w, d):
    n = d.name
    alloc = contains(d, (Bytes, String, List, Optional))
    with w.function(f'int {n}_decode(TALLOC_CTX *mem, const uint8_t *buf, size_t len, struct {n} *v)'):
        w.w('struct xdr_in in = xdr_in_over(buf, len);')
        if alloc:
            # One parent for all: what a malformed input made us allocate goes at once. It is also the room for all copies: each is preceded by
            # 4 bytes of length in the input, so that it fits with its NUL.
            room = contains(d, (Bytes, String))
            w.w('TALLOC_CTX *all = ' + (f'talloc_named_const(mem, len, "struct {n}");' if room else f'talloc_named_const(mem, 0, "struct {n}");'))
            w.w('\nmemset(v, 0, sizeof(*v));')
            with w.block('if (all == NULL)'):
                w.w('return ENOMEM;')
            if room:
                w.w('in.room = all;\nin.room_end = in.room + len;')
            w.w(f'{n}_get(&in, all, v);')
            with w.block('if (in.err != 0)'):
                w.w('talloc_free(all);\nmemset(v, 0, sizeof(*v));')
        else:
            w.w('\nmemset(v, 0, sizeof(*v));')
            w.w(f'{n}_get(&in, mem, v);')
            with w.block('if (in.err != 0)'):
                w.w('memset(v, 0, sizeof(*v));')
        w.w('return in.err;')


def view_end(w):
    with w.block('if (in.err != 0)'):
        w.w('memset(v, 0, sizeof(*v));')
    w.w('return in.err;')


def view_function(w, d):
    n = d.name
    with w.function(f'int {n}_view(const uint8_t *buf, size_t len, struct {n} *v)'):
        w.w(f'struct xdr_in in = xdr_in_over(buf, len);\n\nin.view = true;\n{n}_get(&in, NULL, v);')
        view_end(w)


def view_at_function(w, d):
    n = d.name
    with w.function(f'int {n}_view_at(const uint8_t *buf, size_t len, struct {n} *v, char room[{n.upper()}_VIEW_ROOM])'):
        w.w('struct xdr_in in = xdr_in_over(buf, len);\n\nin.view = true;')
        w.w(f'in.room = (uint8_t *)room;\nin.room_end = in.room + {n.upper()}_VIEW_ROOM;\n{n}_get(&in, NULL, v);')
        view_end(w)


# validate


def validate_function(w, d):
    body = Writer()
    if isinstance(d, UnionType):
        validate_one(body, d.disc.type, f'v->{d.disc.name}', 0)
        arms(body, d, lambda f: validate_one(body, f.type, f'v->u.{f.name}', 0), 'return EINVAL;')
    else:
        for f in d.fields:
            validate_one(body, f.type, f'v->{f.name}', 0)
    with w.function(f'int {d.name}_validate(const struct {d.name} *v)'):
        if body.lines:
            w.w(body.text().rstrip('\n'))
        w.w('return 0;')


def over(n, t):
    """Condition that n exceeds the bound of t; a bound that 32 bits cannot exceed is none."""
    return f'{n} > {t.text} || ' if t.max < U32_MAX else ''


def invalid_if(w, cond):
    with w.block(f'if ({cond})'):
        w.w('return EINVAL;')


def validate_one(w, t, e, level):
    t = strip(t)
    if isinstance(t, EnumType):
        invalid_if(w, f'!{t.name}_valid((int){e})')
    elif isinstance(t, Bytes):
        invalid_if(w, f'{over(e + ".len", t)}({e}.len > 0 && {e}.data == NULL)')
    elif isinstance(t, String):
        invalid_if(w, f'{e} != NULL && strlen({e}) > {t.text}')
    elif isinstance(t, (Array, List)):
        if isinstance(t, List):
            invalid_if(w, f'{over(e + ".n", t)}({e}.n > 0 && {e}.v == NULL)')
        inner = Writer()
        v = e if isinstance(t, Array) else f'{e}.v'
        validate_one(inner, t.elem, f'{v}[{index(level)}]', level + 1)
        if inner.lines:
            with for_loop(w, level, t.text if isinstance(t, Array) else f'{e}.n'):
                w.w(inner.text().rstrip('\n'))
    elif isinstance(t, Optional):
        inner = Writer()
        validate_one(inner, t.elem, f'(*{e})', level)
        if inner.lines:
            with w.block(f'if ({e} != NULL)'):
                w.w(inner.text().rstrip('\n'))
    elif is_composite(t):
        invalid_if(w, f'{t.name}_validate({address(e)}) != 0')
