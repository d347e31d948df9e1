"""Part "fuzz": an entry point for libFuzzer. The first byte of the input chooses the type (and the encoding)."""

from cwriter import source
from emit_native import structs
from model import is_flat


def emit(model):
    return {f'{model.base}_fuzz.c': emit_source(model)}


def emit_source(model):
    includes = ['<stddef.h>', '<stdint.h>', '<stdlib.h>', '', f'"protocol/{model.base}_test.h"']
    if structs(model):
        includes += [f'"protocol/{model.base}_native.h"', f'"protocol/{model.base}_turn.h"']
    return source(model, 'fuzz target', includes, lambda w: source_body(w, model))


def source_body(w, model):
    w.w('int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);\n')
    targets = []
    if structs(model):
        turn_check(w)
    for d in model.composites():
        targets.append(xdr_target(w, d))
    for d in structs(model):
        targets.append(native_target(w, d))
    entry(w, targets)


def must(w, condition):
    """What fails here is a bug in the generated code."""
    with w.block(f'if (!({condition}))'):
        w.w('abort();')


def xdr_target(w, d):
    n = d.name
    with w.function(f'static void fuzz_{n}(TALLOC_CTX *mem, const uint8_t *data, size_t size)'):
        w.w(f'struct {n} a, b;\nstruct ctdb_blob buf;\n')
        flat_check(w, d, 'view', 'decode', '')
        with w.block(f'if ({n}_decode(mem, data, size, &a) != 0)'):
            w.w('return;')
        must(w, f'{n}_validate(&a) == 0')
        must(w, f'{n}_encode(mem, &a, &buf) == 0')
        must(w, f'{n}_decode(mem, buf.data, buf.len, &b) == 0')
        must(w, f'{n}_equal(&a, &b)')
    return f'fuzz_{n}'


def turn_check(w):
    """Whatever the input, turning it twice changes nothing, and does the same twice."""
    with w.function('static int turn_check(turn_fn turn, TALLOC_CTX *mem, const uint8_t *data, size_t size, size_t *used)'):
        w.w('uint8_t *copy = talloc_memdup(mem, data, size);\nsize_t back;\nint err;\n')
        must(w, 'copy != NULL')
        w.w('err = turn(copy, size, TURN_FROM_HOST, used);')
        must(w, 'turn(copy, size, TURN_TO_HOST, &back) == err && back == *used && memcmp(copy, data, size) == 0')
        w.w('talloc_free(copy);\nreturn err;')


def native_target(w, d):
    n = d.name
    with w.function(f'static void fuzz_native_{n}(TALLOC_CTX *mem, const uint8_t *data, size_t size)'):
        w.w(f'struct {n} a, b;\nstruct ctdb_blob buf;\nsize_t used, turned;\nint turn_err;\n')
        w.w(f'turn_err = turn_check({n}_turn, mem, data, size, &turned);')
        flat_check(w, d, 'nview', 'ndecode', ', NULL')
        with w.block(f'if ({n}_ndecode(mem, data, size, &a, &used) != 0)'):
            w.w('return;')
        must(w, 'turn_err == 0 && turned == used')
        must(w, f'used <= size && {n}_nencode(mem, &a, &buf) == 0')
        must(w, f'{n}_ndecode(mem, buf.data, buf.len, &b, &used) == 0')
        must(w, f'used == buf.len && {n}_equal(&a, &b)')
    return f'fuzz_native_{n}'


def flat_check(w, d, view, decode, extra):
    """A view and a decode of the same input agree."""
    if not is_flat(d):
        return
    n = d.name
    with w.block(f'if ({n}_{view}(data, size, &b{extra}) == 0)'):
        must(w, f'{n}_{decode}(mem, data, size, &a{extra}) == 0 && {n}_equal(&a, &b)')


def entry(w, targets):
    w.w('typedef void (*fuzz_fn)(TALLOC_CTX *mem, const uint8_t *data, size_t size);\n')
    w.w('static const fuzz_fn targets[] = {')
    for t in targets:
        w.w(f'\t{t},')
    w.w('};\n')
    with w.function('int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)'):
        w.w('TALLOC_CTX *mem;\n')
        with w.block('if (size == 0)'):
            w.w('return 0;')
        w.w('mem = talloc_new(NULL);\ntargets[data[0] % (sizeof(targets) / sizeof(targets[0]))](mem, data + 1, size - 1);'
            '\ntalloc_free(mem);\nreturn 0;')
