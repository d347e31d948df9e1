"""Part "rpc": server table, dispatch, replies, typed client stubs (tevent_req) for the program of a file."""

from cwriter import comment, header, source
from emit_types import proc_enum, view_room
from model import GenError, is_flat


def emit(model):
    if model.interface is None:
        raise GenError(1, 'no program in this file: there is nothing for part rpc')
    return {f'{model.base}_rpc.h': emit_header(model), f'{model.base}_rpc.c': emit_source(model)}


def arg_decl(p):
    return f', const struct {p.arg.name} *arg' if p.arg else ''


# ---- signatures ----


def reply_sig(model, p):
    res = f', const struct {p.result.name} *res' if p.result else ''
    return f'void {model.prefix}_{p.cname}_reply(struct rpc_call *call{res})'


def send_sig(model, p):
    return (f'struct tevent_req *{model.prefix}_{p.cname}_send(TALLOC_CTX *mem, struct tevent_context *ev, struct rpc_client *c'
            f'{arg_decl(p)}, uint32_t timeout_ms)')


def recv_sig(model, p):
    res = f', TALLOC_CTX *mem, struct {p.result.name} *res' if p.result else ''
    return f'int {model.prefix}_{p.cname}_recv(struct tevent_req *req{res})'


def oneway_sig(model, p):
    return f'int {model.prefix}_{p.cname}(struct rpc_client *c{arg_decl(p)})'


def dispatch_sig(model):
    return (f'int {model.prefix}_dispatch(const struct {model.prefix}_server *srv, void *priv, struct rpc_call *call, uint32_t proc,'
            ' const uint8_t *buf, size_t len)')


# ---- header ----


def emit_header(model):
    includes = ['<stdint.h>', '<talloc.h>', '<tevent.h>', '', f'"protocol/{model.base}.h"', '"shared/rpc.h"']
    return header(model, '_rpc', 'client stubs and dispatch', includes, lambda w: header_body(w, model))


def header_body(w, model):
    pre, iface = model.prefix, model.interface
    comment(w, iface.doc)
    w.w(f'#define {pre.upper()}_INTERFACE 0x{iface.number:08x}U')
    w.w(f'#define {pre.upper()}_VERSION {iface.version}U\n')
    w.w(f'\n/* "unknown" for unknown numbers. */\nconst char *{pre}_proc_name(uint32_t proc);\n')
    w.w('/* Handlers. A member that is NULL is answered ENOSYS. */')
    with w.block(f'struct {pre}_server', ';'):
        for p in iface.procs:
            comment(w, p.doc, p.remark)
            w.w(f'void (*{p.cname})(void *priv, struct rpc_call *call{arg_decl(p)});' + (' /* one-way */' if p.oneway else ''))
    w.w()
    w.w('/*\n * 0: the handler was called and owns the call. ENOSYS, EBADMSG, ENOMEM, EPROTO (a notification for a two-way procedure or the other way round): it was not, the caller still owns the call. The argument of\n'
        ' * a two-way procedure is a talloc child of call; that of a one-way procedure lives until the handler returns and may point into buf.\n */')
    w.w(dispatch_sig(model) + ';\n')
    for p in iface.procs:
        comment(w, p.doc, p.remark)
        if p.oneway:
            w.w(oneway_sig(model, p) + ';')
        else:
            w.w(reply_sig(model, p) + ';')
            w.w(send_sig(model, p) + ';')
            w.w(recv_sig(model, p) + ';')
        w.w()


# ---- source ----


def emit_source(model):
    includes = [f'"protocol/{model.base}_rpc.h"']
    return source(model, 'client stubs and dispatch', includes, lambda w: source_body(w, model))


def source_body(w, model):
    proc_name(w, model)
    for p in model.interface.procs:
        handler(w, model, p)
    dispatch(w, model)
    if not all(p.oneway for p in model.interface.procs):
        request_functions(w, model)
    for p in model.interface.procs:
        if p.oneway:
            oneway_function(w, model, p)
        else:
            reply_function(w, model, p)
            send_function(w, model, p)
            recv_function(w, model, p)


def proc_name(w, model):
    with w.function(f'const char *{model.prefix}_proc_name(uint32_t proc)'):
        with w.switch('proc'):
            for p in model.interface.procs:
                with w.case(f'case {proc_enum(model, p)}', f'return "{p.name}";'):
                    pass
        w.w('return "unknown";')


def handler(w, model, p):
    """Decodes the argument of one procedure and calls its handler."""
    with w.function(f'static int handle_{p.cname}(const struct {model.prefix}_server *srv, void *priv, struct rpc_call *call,'
                    ' const uint8_t *buf, size_t len)'):
        if p.arg is None:
            null_check(w, p)
            w.w(f'srv->{p.cname}(priv, call);\nreturn 0;')
        elif p.oneway and (is_flat(p.arg) or view_room(p.arg)):
            handle_view(w, p)
        elif p.oneway:
            handle_oneway(w, p)
        else:
            handle_twoway(w, p)


def null_check(w, p):
    # A notification that a two-way handler keeps would be freed under it; a request that a one-way handler gets would wait for ever.
    with w.block(f'if ({"!" if p.oneway else ""}call->oneway)'):
        w.w('return EPROTO;')
    with w.block(f'if (srv->{p.cname} == NULL)'):
        w.w('return ENOSYS;')


def handle_view(w, p):
    flat = is_flat(p.arg)
    w.w(f'struct {p.arg.name} arg;' + ('' if flat else f'\nchar room[{p.arg.name.upper()}_VIEW_ROOM];') + '\nint err;\n')
    null_check(w, p)
    w.w(f'err = {p.arg.name}_view(buf, len, &arg);' if flat else f'err = {p.arg.name}_view_at(buf, len, &arg, room);')
    with w.block('if (err == 0)'):
        w.w(f'srv->{p.cname}(priv, call, &arg);')
    w.w('return err;')


def handle_oneway(w, p):
    w.w(f'struct {p.arg.name} *arg;\nint err;\n')
    null_check(w, p)
    w.w(f'arg = talloc_zero(NULL, struct {p.arg.name});')
    with w.block('if (arg == NULL)'):
        w.w('return ENOMEM;')
    w.w(f'err = {p.arg.name}_decode(arg, buf, len, arg);')
    with w.block('if (err == 0)'):
        w.w(f'srv->{p.cname}(priv, call, arg);')
    w.w('talloc_free(arg);\nreturn err;')


def handle_twoway(w, p):
    w.w(f'struct {p.arg.name} *arg;\nint err;\n')
    null_check(w, p)
    w.w(f'arg = talloc_zero(call, struct {p.arg.name});')
    with w.block('if (arg == NULL)'):
        w.w('return ENOMEM;')
    w.w(f'err = {p.arg.name}_decode(arg, buf, len, arg);')
    with w.block('if (err != 0)'):
        w.w('talloc_free(arg);\nreturn err;')
    w.w(f'srv->{p.cname}(priv, call, arg);\nreturn 0;')


def dispatch(w, model):
    with w.function(dispatch_sig(model)):
        with w.switch('proc'):
            for p in model.interface.procs:
                with w.case(f'case {proc_enum(model, p)}', f'return handle_{p.cname}(srv, priv, call, buf, len);'):
                    pass
        w.w('return ENOSYS;')


def request_functions(w, model):
    """What all client stubs of the interface share."""
    w.w('struct request_state {\n\tstruct rpc_client *c;\n\tstruct ctdb_blob arg, result;\n};\n')
    w.w('static void request_done(struct tevent_req *subreq);\n')
    with w.function('/* err: of the encoder of arg, which becomes the state\'s. */\n'
                    'static struct tevent_req *request_send(TALLOC_CTX *mem, struct tevent_context *ev, struct rpc_client *c, uint32_t proc, int err,'
                    ' struct ctdb_blob arg, uint32_t timeout_ms)'):
        w.w('struct request_state *state;\nstruct tevent_req *req = tevent_req_create(mem, &state, struct request_state);'
            '\nstruct tevent_req *subreq;\n')
        with w.block('if (req == NULL)'):
            w.w('talloc_free(arg.data);\nreturn NULL;')
        w.w('state->c = c;\nstate->arg = arg;\ntalloc_steal(state, arg.data);')
        with w.block('if (err != 0)'):
            w.w('tevent_req_error(req, (uint64_t)err);\nreturn tevent_req_post(req, ev);')
        up = model.prefix.upper()
        w.w(f'subreq = c->request_send(state, ev, c, {up}_INTERFACE, {up}_VERSION, proc, state->arg.data, state->arg.len, timeout_ms);')
        with w.block('if (tevent_req_nomem(subreq, req))'):
            w.w('return tevent_req_post(req, ev);')
        w.w('tevent_req_set_callback(subreq, request_done, req);\nreturn req;')
    with w.function('static void request_done(struct tevent_req *subreq)'):
        w.w('struct tevent_req *req = tevent_req_callback_data(subreq, struct tevent_req);')
        w.w('struct request_state *state = tevent_req_data(req, struct request_state);')
        w.w('int err = state->c->request_recv(subreq, state, &state->result);\n\ntalloc_free(subreq);')
        with w.block('if (err != 0)'):
            w.w('tevent_req_error(req, (uint64_t)err);\nreturn;')
        w.w('tevent_req_done(req);')
    with w.function('static int request_error(struct tevent_req *req)'):
        w.w('enum tevent_req_state how;\nuint64_t err;\n')
        with w.block('if (!tevent_req_is_error(req, &how, &err))'):
            w.w('return 0;')
        w.w('return how == TEVENT_REQ_TIMED_OUT ? ETIMEDOUT : how == TEVENT_REQ_NO_MEMORY ? ENOMEM : (int)err;')


def send_function(w, model, p):
    with w.function(send_sig(model, p)):
        w.w('struct ctdb_blob buf = {0};')
        err = '0'
        if p.arg:
            w.w(f'int err = {p.arg.name}_encode(NULL, arg, &buf);')
            err = 'err'
        w.w(f'\nreturn request_send(mem, ev, c, {proc_enum(model, p)}, {err}, buf, timeout_ms);')


def recv_function(w, model, p):
    with w.function(recv_sig(model, p)):
        w.w('int err = request_error(req);\n')
        if p.result:
            with w.block('if (err == 0)'):
                w.w('struct request_state *state = tevent_req_data(req, struct request_state);\n')
                w.w(f'err = {p.result.name}_decode(mem, state->result.data, state->result.len, res);')
        w.w('tevent_req_received(req);\nreturn err;')


def reply_function(w, model, p):
    with w.function(reply_sig(model, p)):
        if p.result is None:
            w.w('rpc_call_reply(call, NULL, 0);')
            return
        w.w(f'struct ctdb_blob buf;\nint err = {p.result.name}_encode(NULL, res, &buf);\n')
        with w.block('if (err != 0)'):
            w.w('rpc_call_fail(call, err);\nreturn;')
        w.w('rpc_call_reply(call, buf.data, buf.len);\ntalloc_free(buf.data);')


def oneway_function(w, model, p):
    up = model.prefix.upper()
    with w.function(oneway_sig(model, p)):
        if p.arg is None:
            w.w(f'return c->notify(c, {up}_INTERFACE, {up}_VERSION, {proc_enum(model, p)}, NULL, 0);')
            return
        w.w(f'struct ctdb_blob buf;\nint err = {p.arg.name}_encode(NULL, arg, &buf);\n')
        with w.block('if (err != 0)'):
            w.w('return err;')
        w.w(f'err = c->notify(c, {up}_INTERFACE, {up}_VERSION, {proc_enum(model, p)}, buf.data, buf.len);')
        w.w('talloc_free(buf.data);\nreturn err;')
