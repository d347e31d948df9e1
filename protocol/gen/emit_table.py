"""Part "table": all functions of all types in a table, for tests that go over every type. Needs the other parts."""

from cwriter import header, source
from emit_native import structs
from emit_types import view_room
from model import is_flat

# member of struct gen_type: (function suffix, result, parameters before/after v, arguments, is v const)
BASIC = (('random', 'random', 'void', 'uint64_t *r, TALLOC_CTX *mem, void *v', 'r, mem, v'),
         ('equal', 'equal', 'bool', 'const void *a, const void *b', 'a, b'),
         ('xdr_size', 'size', 'size_t', 'const void *v', 'v'),
         ('encode', 'encode', 'int', 'TALLOC_CTX *mem, const void *v, struct ctdb_blob *out', 'mem, v, out'),
         ('encode_to', 'encode_to', 'int', 'TALLOC_CTX *mem, struct xdr_buf *buf, const void *v, struct ctdb_blob *out', 'mem, buf, v, out'),
         ('decode', 'decode', 'int', 'TALLOC_CTX *mem, const uint8_t *buf, size_t len, void *v', 'mem, buf, len, v'),
         ('validate', 'validate', 'int', 'const void *v', 'v'),
         ('to_json', 'to_json', 'json_t *', 'const void *v', 'v'),
         ('print', 'print', 'void', 'FILE *f, const void *v', 'f, v'))
VIEW = (('view', 'view', 'int', 'const uint8_t *buf, size_t len, void *v', 'buf, len, v'),)
VIEW_AT = (('view_at', 'view_at', 'int', 'const uint8_t *buf, size_t len, void *v, char *room', 'buf, len, v, room'),)
NATIVE = (('nsize', 'nsize', 'size_t', 'const void *v', 'v'),
          ('nencode', 'nencode', 'int', 'TALLOC_CTX *mem, const void *v, struct ctdb_blob *out', 'mem, v, out'),
          ('nput', 'nput', 'int', 'uint8_t *buf, size_t size, const void *v', 'buf, size, v'),
          ('ndecode', 'ndecode', 'int', 'TALLOC_CTX *mem, const uint8_t *buf, size_t len, void *v, size_t *used', 'mem, buf, len, v, used'))
NVIEW = (('nview', 'nview', 'int', 'const uint8_t *buf, size_t len, void *v, size_t *used', 'buf, len, v, used'),)


def emit(model):
    return {f'{model.base}_table.h': emit_header(model), f'{model.base}_table.c': emit_source(model)}


def emit_header(model):
    return header(model, '_table', 'table of types', ['"protocol/gen_table.h"'],
                  lambda w: w.w(f'extern const struct gen_type {model.base}_types[];\n'))


def emit_source(model):
    includes = [f'"protocol/{model.base}_table.h"', f'"protocol/{model.base}_json.h"', f'"protocol/{model.base}_test.h"']
    if structs(model):
        includes += [f'"protocol/{model.base}_native.h"', f'"protocol/{model.base}_turn.h"']
    return source(model, 'table of types', includes, lambda w: source_body(w, model))


def members(model, d):
    native = d in structs(model)
    return BASIC + (VIEW if is_flat(d) else VIEW_AT if view_room(d) else ()) + (NATIVE if native else ()) + (NVIEW if native and is_flat(d) else ())


def source_body(w, model):
    for d in model.composites():
        for member, suffix, result, params, args in members(model, d):
            call = f'{d.name}_{suffix}({args});'
            with w.function(f'static {result}{"" if result.endswith("*") else " "}any_{d.name}_{member}({params})'):
                w.w(call if result == 'void' else f'return {call}')
    w.w(f'const struct gen_type {model.base}_types[] = {{')
    w.indent += 1
    for d in model.composites():
        with w.block('', ','):
            w.w(f'.name = "{d.name}",\n.size = sizeof(struct {d.name}),')
            fields = getattr(d, 'fields', [])
            if any(f.since for f in fields):
                w.w('.since = true,')
            if any({'nolength', 'tail'} & set(f.native) for f in fields):
                w.w('.native_open = true,')
            if d in structs(model):
                w.w(f'.turn = {d.name}_turn,')
            for member, _, _, _, _ in members(model, d):
                w.w(f'.{member} = any_{d.name}_{member},')
    w.w('{0},')
    w.indent -= 1
    w.w('};')
