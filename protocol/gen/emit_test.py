"""Part "test": random values and comparison."""

from cwriter import case_labels, for_loop, header, index, source
from emit_types import address
from model import Array, Bytes, EnumType, List, Opaque, Optional, Prim, String, UnionType, strip


def emit(model):
    return {f'{model.base}_test.h': emit_header(model), f'{model.base}_test.c': emit_source(model)}


def emit_header(model):
    includes = ['<stdbool.h>', '<stdint.h>', '<talloc.h>', '', f'"protocol/{model.base}.h"']
    return header(model, '_test', 'random values and comparison', includes, lambda w: header_body(w, model))


def header_body(w, model):
    w.w('/* random: always valid; what it allocates is below mem. equal: by value, NULL strings equal empty ones. */\n')
    for d in model.composites():
        w.w(f'void {d.name}_random(uint64_t *rnd_state, TALLOC_CTX *mem, struct {d.name} *v);')
        w.w(f'bool {d.name}_equal(const struct {d.name} *a, const struct {d.name} *b);\n')


def emit_source(model):
    includes = [f'"protocol/{model.base}_test.h"', '"protocol/gen_test.h"']
    return source(model, 'random values and comparison', includes, lambda w: source_body(w, model))


def source_body(w, model):
    for d in model.composites():
        w.w(f'static void {d.name}_random_at(uint64_t *r, TALLOC_CTX *mem, unsigned depth, struct {d.name} *v);')
    w.w()
    for d in model.composites():
        random_function(w, d)
        equal_function(w, d)


# ---- random ----


def random_function(w, d):
    with w.function(f'static void {d.name}_random_at(uint64_t *r, TALLOC_CTX *mem, unsigned depth, struct {d.name} *v)'):
        w.w('memset(v, 0, sizeof(*v));')
        if isinstance(d, UnionType):
            random_union(w, d)
        else:
            for f in d.fields:
                random_one(w, f.type, f'v->{f.name}', 0, f)
    with w.function(f'void {d.name}_random(uint64_t *rnd_state, TALLOC_CTX *mem, struct {d.name} *v)'):
        w.w(f'{d.name}_random_at(rnd_state, mem, 0, v);')


def random_union(w, d):
    """Picks a label, so that every arm is tried; a default arm gets a number that no case has."""
    disc = strip(d.disc.type)
    picks = [label for a in d.arms for label, _ in a.labels]
    if any(not a.labels for a in d.arms):
        picks += unused(d, disc)
    cast = f'(enum {disc.name})' if isinstance(disc, EnumType) else ''
    with w.switch(f'gen_random_below(r, {len(picks)})'):
        for i, label in enumerate(picks):
            with w.case('default' if i == 0 else f'case {i}'):
                w.w(f'v->{d.disc.name} = {cast}{label};')
    expr = f'v->{d.disc.name}' if getattr(disc, 'short', '') in ('u32', 'i32') else f'(int)v->{d.disc.name}'
    with w.switch(expr):
        for a in d.arms:
            with w.case(case_labels(w, a, disc)):
                if a.field:
                    random_one(w, a.field.type, f'v->u.{a.field.name}', 0, a.field)
        if all(a.labels for a in d.arms):
            with w.case('default'):
                pass


def unused(d, disc):
    used = {v for a in d.arms for _, v in a.labels}
    if isinstance(disc, EnumType):
        return [name for name, v, _, _ in disc.members if v not in used]
    top = 2 if disc.short == 'bool' else 1000
    return [str(v) for v in range(top) if v not in used][:1]


def random_one(w, t, e, level, f, mem='mem'):
    t = strip(t)
    if isinstance(t, Prim) and t.short == 'double':
        w.w(f'{e} = gen_random_double(r);')
    elif isinstance(t, Prim) and t.short == 'bool':
        w.w(f'{e} = gen_random_below(r, 2) != 0;')
    elif isinstance(t, Prim):
        # A native field that is narrower gets what fits, also when it is signed.
        bits = 8 * t.size if 'width' not in f.native else 8 * f.native['width'] - (t.short == 'i32')
        w.w(f'{e} = ({t.c})gen_random_number(r, {bits});')
    elif isinstance(t, EnumType):
        random_enum(w, t, e)
    elif isinstance(t, Opaque):
        w.w(f'gen_random_fill(r, {e}, {t.text});')
    elif isinstance(t, Bytes):
        w.w(f'{e} = gen_random_blob(r, {mem}, {t.text});')
    elif isinstance(t, String):
        w.w(f'{e} = gen_random_string(r, {mem}, {t.text});')
    elif isinstance(t, Array):
        with for_loop(w, level, t.text):
            random_one(w, t.elem, f'{e}[{index(level)}]', level + 1, f, mem)
    elif isinstance(t, List):
        w.w(f'{e}.n = depth < GEN_RANDOM_DEPTH ? gen_random_count(r, {t.text}, 3, depth == 0 ? GEN_RANDOM_ELEMENTS : 3) : 0;')
        w.w(f'{e}.v = {e}.n > 0 ? gen_random_alloc({mem}, {e}.n * sizeof({e}.v[0])) : NULL;')
        with for_loop(w, level, f'{e}.n'):
            random_one(w, t.elem, f'{e}.v[{index(level)}]', level + 1, f, f'{e}.v')
    elif isinstance(t, Optional):
        with w.block('if (depth < GEN_RANDOM_DEPTH && gen_random_below(r, 2) != 0)'):
            w.w(f'{e} = gen_random_alloc({mem}, sizeof(*{e}));')
            random_one(w, t.elem, f'(*{e})', level, f, e)
    else:
        w.w(f'{t.name}_random_at(r, {mem}, depth + 1, {address(e)});')


def random_enum(w, t, e):
    with w.switch(f'gen_random_below(r, {len(t.members)})'):
        for i, (name, _, _, _) in enumerate(t.members):
            with w.case('default' if i == 0 else f'case {i}'):
                w.w(f'{e} = {name};')


# ---- equal ----


def equal_function(w, d):
    with w.function(f'bool {d.name}_equal(const struct {d.name} *a, const struct {d.name} *b)'):
        if isinstance(d, UnionType):
            differ(w, f'a->{d.disc.name} != b->{d.disc.name}')
            disc = strip(d.disc.type)
            expr = f'a->{d.disc.name}' if getattr(disc, 'short', '') in ('u32', 'i32') else f'(int)a->{d.disc.name}'
            with w.switch(expr):
                for arm in d.arms:
                    with w.case(case_labels(w, arm, disc)):
                        if arm.field:
                            equal_one(w, arm.field.type, f'a->u.{arm.field.name}', f'b->u.{arm.field.name}', 0)
                if all(arm.labels for arm in d.arms):
                    with w.case('default'):
                        pass
        else:
            for f in d.fields:
                if 'size' not in f.native:
                    equal_one(w, f.type, f'a->{f.name}', f'b->{f.name}', 0)
        w.w('return true;')


def differ(w, condition):
    with w.block(f'if ({condition})'):
        w.w('return false;')


def equal_one(w, t, a, b, level):
    t = strip(t)
    if isinstance(t, Prim) and t.short == 'double':
        differ(w, f'!gen_equal_double({a}, {b})')
    elif isinstance(t, (Prim, EnumType)):
        differ(w, f'{a} != {b}')
    elif isinstance(t, Opaque):
        differ(w, f'memcmp({a}, {b}, {t.text}) != 0')
    elif isinstance(t, Bytes):
        differ(w, f'!gen_equal_blob({address(a)}, {address(b)})')
    elif isinstance(t, String):
        differ(w, f'!gen_equal_string({a}, {b})')
    elif isinstance(t, Array):
        i = index(level)
        with for_loop(w, level, t.text):
            equal_one(w, t.elem, f'{a}[{i}]', f'{b}[{i}]', level + 1)
    elif isinstance(t, List):
        i = index(level)
        differ(w, f'{a}.n != {b}.n')
        with for_loop(w, level, f'{a}.n'):
            equal_one(w, t.elem, f'{a}.v[{i}]', f'{b}.v[{i}]', level + 1)
    elif isinstance(t, Optional):
        differ(w, f'({a} == NULL) != ({b} == NULL)')
        with w.block(f'if ({a} != NULL)'):
            equal_one(w, t.elem, f'(*{a})', f'(*{b})', level)
    else:
        differ(w, f'!{t.name}_equal({address(a)}, {address(b)})')
