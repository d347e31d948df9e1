"""Part "json": values as JSON and as indented text."""

from cwriter import case_labels, for_loop, header, index, source
from emit_types import address
from model import Array, Bytes, EnumType, List, Opaque, Optional, Prim, String, UnionType, strip


def emit(model):
    return {f'{model.base}_json.h': emit_header(model), f'{model.base}_json.c': emit_source(model)}


def emit_header(model):
    includes = ['<jansson.h>', '<stdio.h>', '', f'"protocol/{model.base}.h"']
    return header(model, '_json', 'JSON and text', includes, lambda w: header_body(w, model))


def header_body(w, model):
    w.w('/*\n * to_json: new reference, NULL when out of memory. Enums are names, opaque data is hexadecimal, numbers beyond 63 bits are strings,\n'
        ' * absent optional data is null. print: one indented line a field.\n */\n')
    for d in model.composites():
        w.w(f'json_t *{d.name}_to_json(const struct {d.name} *v);')
        w.w(f'void {d.name}_print(FILE *f, const struct {d.name} *v);\n')


def emit_source(model):
    includes = [f'"protocol/{model.base}_json.h"', '"protocol/gen_json.h"']
    return source(model, 'JSON and text', includes, lambda w: source_body(w, model))


def source_body(w, model):
    for d in model.composites():
        w.w(f'static void {d.name}_print_at(FILE *f, const struct {d.name} *v, int indent);')
    w.w()
    for d in model.composites():
        json_function(w, d)
        print_functions(w, d)


def union_switch(w, d, visit, void):
    """switch over the discriminant; void: statement for arms without a value, and for values without a case."""
    with w.switch(f'(int)v->{d.disc.name}'):
        for a in d.arms:
            with w.case(labels(a)):
                if a.field:
                    visit(a.field)
                elif void:
                    w.w(void)
        if all(a.labels for a in d.arms):
            with w.case('default'):
                if void:
                    w.w(void)


def labels(arm):
    """Case labels that fit a switch over int, also for an unsigned discriminant."""
    text = case_labels(None, arm, None)
    return '\n'.join(s if s == 'default' else 'case (int)' + s[5:] for s in text.replace(':\n', '\n').split('\n')).replace('\n', ':\n')


# ---- JSON ----


def json_function(w, d):
    with w.function(f'json_t *{d.name}_to_json(const struct {d.name} *v)'):
        w.w('json_t *o = json_object();\nint err = o == NULL;\n')
        if isinstance(d, UnionType):
            json_set(w, d.disc, f'v->{d.disc.name}')
            union_switch(w, d, lambda f: json_set(w, f, f'v->u.{f.name}'), '')
        else:
            for f in d.fields:
                json_set(w, f, f'v->{f.name}')
        with w.block('if (err != 0)'):
            w.w('json_decref(o);\nreturn NULL;')
        w.w('return o;')


def json_set(w, f, e):
    t = strip(f.type)
    if isinstance(t, (Array, List, Optional)):
        with w.block(''):
            w.w('json_t *j0;\n')
            json_container(w, t, e, 0)
            w.w(f'err |= json_object_set_new(o, "{f.name}", j0);')
    else:
        w.w(f'err |= json_object_set_new(o, "{f.name}", {json_expr(t, e)});')


def json_container(w, t, e, level):
    """Statements that make the JSON of a container in variable j<level>."""
    j = f'j{level}'
    if isinstance(t, Optional):
        inner = strip(t.elem)
        if isinstance(inner, (Array, List, Optional)):
            w.w(f'{j} = NULL;')
            with w.block(f'if ({e} == NULL)'):
                w.w(f'{j} = json_null();')
            with w.block('else'):
                json_container(w, inner, f'(*{e})', level)
        else:
            w.w(f'{j} = {e} != NULL ? {json_expr(inner, f"(*{e})")} : json_null();')
        return
    count, elem = (t.text, f'{e}[{index(level)}]') if isinstance(t, Array) else (f'{e}.n', f'{e}.v[{index(level)}]')
    inner = strip(t.elem)
    w.w(f'{j} = json_array();')
    with for_loop(w, level, count):
        if isinstance(inner, (Array, List, Optional)):
            w.w(f'json_t *j{level + 1};\n')
            json_container(w, inner, elem, level + 1)
            w.w(f'err |= json_array_append_new({j}, j{level + 1});')
        else:
            w.w(f'err |= json_array_append_new({j}, {json_expr(inner, elem)});')


def json_expr(t, e):
    if isinstance(t, Prim):
        return {'bool': f'json_boolean({e})', 'double': f'gen_json_double({e})', 'u64': f'gen_json_u64({e})'}.get(
            t.short, f'json_integer({e})')
    if isinstance(t, EnumType):
        return f'gen_json_enum({t.name}_name({e}), (int){e})'
    if isinstance(t, Opaque):
        return f'gen_json_hex({e}, {t.text})'
    if isinstance(t, Bytes):
        return f'gen_json_hex({e}.data, {e}.len)'
    if isinstance(t, String):
        return f'gen_json_string({e})'
    return f'{t.name}_to_json({address(e)})'


# ---- text ----


def print_functions(w, d):
    with w.function(f'static void {d.name}_print_at(FILE *f, const struct {d.name} *v, int indent)'):
        if isinstance(d, UnionType):
            print_field(w, d.disc, f'v->{d.disc.name}')
            union_switch(w, d, lambda f: print_field(w, f, f'v->u.{f.name}'), '')
        else:
            for f in d.fields:
                print_field(w, f, f'v->{f.name}')
    with w.function(f'void {d.name}_print(FILE *f, const struct {d.name} *v)'):
        w.w(f'{d.name}_print_at(f, v, 0);')


def print_field(w, f, e):
    w.w('gen_print_indent(f, indent);')
    w.w(f'fputs("{f.name}:", f);')
    print_value(w, strip(f.type), e, 0)


def print_value(w, t, e, level):
    """Completes a line that ends in "name:"; what takes more lines follows it indented by level + 1."""
    deeper = f'indent + {level + 1}'
    if isinstance(t, Prim) and t.short == 'bool':
        w.w(f'fprintf(f, " %s\\n", {e} ? "true" : "false");')
    elif isinstance(t, Prim) and t.short == 'double':
        w.w(f'fprintf(f, " %g\\n", {e});')
    elif isinstance(t, Prim):
        w.w(f'fprintf(f, " %" {t.fmt} "\\n", {e});')
    elif isinstance(t, EnumType):
        w.w(f'fprintf(f, " %s (%d)\\n", {t.name}_name({e}), (int){e});')
    elif isinstance(t, Opaque):
        w.w(f"fputc(' ', f);\ngen_print_hex(f, {e}, {t.text});")
    elif isinstance(t, Bytes):
        w.w(f"fputc(' ', f);\ngen_print_hex(f, {e}.data, {e}.len);")
    elif isinstance(t, String):
        w.w(f"fputc(' ', f);\ngen_print_string(f, {e});")
    elif isinstance(t, Optional):
        with w.block(f'if ({e} == NULL)'):
            w.w('fputs(" none\\n", f);')
        with w.block('else'):
            print_value(w, strip(t.elem), f'(*{e})', level)
    elif isinstance(t, (Array, List)):
        print_list(w, t, e, level)
    else:
        w.w(f"fputc('\\n', f);\n{t.name}_print_at(f, {address(e)}, {deeper});")


def print_list(w, t, e, level):
    i = index(level)
    count, elem = (t.text, f'{e}[{i}]') if isinstance(t, Array) else (f'{e}.n', f'{e}.v[{i}]')
    if isinstance(t, List):
        w.w(f'fprintf(f, " (%" PRIu32 ")\\n", {e}.n);')
    else:
        w.w("fputc('\\n', f);")
    with for_loop(w, level, count):
        w.w(f'gen_print_indent(f, indent + {level + 1});')
        w.w(f'fprintf(f, "[%" PRIu32 "]:", {i});')
        print_value(w, strip(t.elem), elem, level + 1)
