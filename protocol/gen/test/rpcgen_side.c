/* The types of constructs.x by rpcgen. */
#include <stdlib.h>
#include <string.h>

#include "protocol/rpcgen_constructs.h"
#include "rpcgen_side.h"

static const struct {
	const char *name;
	size_t size;
	xdrproc_t fn;
} types[] = {
#define TYPE(t)                                                                                                        \
	{                                                                                                              \
#t, sizeof(t), (xdrproc_t)xdr_##t                                                                      \
	}
	TYPE(prims),   TYPE(fixeds), TYPE(blobs),     TYPE(lists),      TYPE(optionals),
	TYPE(chain),   TYPE(tree),   TYPE(by_enum),   TYPE(by_int),     TYPE(by_unsigned),
	TYPE(by_bool), TYPE(unions), TYPE(versioned), TYPE(everything),
#undef TYPE
};

bool rpcgen_again(const char *name, const uint8_t *buf, size_t len, uint8_t *out, size_t out_size, size_t *out_len)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		XDR x;
		void *obj;
		bool ok;

		if (strcmp(types[i].name, name) != 0) {
			continue;
		}
		obj = calloc(1, types[i].size);
		xdrmem_create(&x, (char *)(uintptr_t)buf, (u_int)len, XDR_DECODE);
		ok = obj != NULL && types[i].fn(&x, obj) && xdr_getpos(&x) == len;
		if (ok) {
			xdrmem_create(&x, (char *)out, (u_int)out_size, XDR_ENCODE);
			ok = types[i].fn(&x, obj);
			*out_len = xdr_getpos(&x);
		}
		xdr_free(types[i].fn, obj);
		free(obj);
		return ok;
	}
	return false;
}

bool rpcgen_encode_sample(uint8_t *out, size_t out_size, size_t *out_len)
{
	u_int u[] = {7, 8, 9};
	char *names[] = {(char *)(uintptr_t) "x", (char *)(uintptr_t) "yz"};
	name_list ns = {.name_list_len = 2, .name_list_val = names};
	chain second = {.value = 2, .label = (char *)(uintptr_t) "two"};
	chain first = {.value = 1, .label = (char *)(uintptr_t) "", .next = &second};
	XDR x;

	xdrmem_create(&x, (char *)out, (u_int)out_size, XDR_ENCODE);
	prims p = {.a = 1,
		   .b = -2,
		   .c = 0x0102030405060708,
		   .d = -3,
		   .e = TRUE,
		   .f = 1.5,
		   .g = BLUE,
		   .h = 0xFFFFFFFF,
		   .i = NONE};
	blobs b = {.a = {.a_len = 3, .a_val = (char *)(uintptr_t) "abc"},
		   .b = {0},
		   .p = p,
		   .c = {.c_len = 4, .c_val = (char *)(uintptr_t) "\0\1\2\3"}};
	by_int i = {.kind = 7, .by_int_u.o = {1, 2, 3}};
	by_unsigned un = {.kind = 5, .by_unsigned_u.rest = &first};
	number_list n = {.number_list_len = 3, .number_list_val = u};
	bool ok = xdr_prims(&x, &p) && xdr_blobs(&x, &b) && xdr_by_int(&x, &i) && xdr_by_unsigned(&x, &un) &&
		  xdr_name_list(&x, &ns) && xdr_number_list(&x, &n);

	*out_len = xdr_getpos(&x);
	return ok;
}

static bool is_sample_prims(const prims *p)
{
	return p->a == 1 && p->b == -2 && p->c == 0x0102030405060708 && p->d == -3 && p->e == TRUE && p->f == 1.5 &&
	       p->g == BLUE && p->h == 0xFFFFFFFF && p->i == NONE;
}

static bool is_sample_chain(const by_unsigned *u)
{
	const chain *first = u->by_unsigned_u.rest;

	return u->kind == 5 && first != NULL && first->value == 1 && strcmp(first->label, "") == 0 &&
	       first->next != NULL && first->next->value == 2 && strcmp(first->next->label, "two") == 0 &&
	       first->next->next == NULL;
}

bool rpcgen_is_sample(const uint8_t *buf, size_t len)
{
	prims p = {0};
	blobs b = {0};
	by_int i = {0};
	by_unsigned un = {0};
	name_list ns = {0};
	number_list n = {0};
	XDR x;
	bool ok;

	xdrmem_create(&x, (char *)(uintptr_t)buf, (u_int)len, XDR_DECODE);
	ok = xdr_prims(&x, &p) && xdr_blobs(&x, &b) && xdr_by_int(&x, &i) && xdr_by_unsigned(&x, &un) &&
	     xdr_name_list(&x, &ns) && xdr_number_list(&x, &n) && xdr_getpos(&x) == len;
	ok = ok && is_sample_prims(&p) && is_sample_prims(&b.p) && b.a.a_len == 3 && memcmp(b.a.a_val, "abc", 3) == 0 &&
	     b.b.byte_seq_len == 0 && b.c.c_len == 4 && memcmp(b.c.c_val, "\0\1\2\3", 4) == 0;
	ok = ok && i.kind == 7 && memcmp(i.by_int_u.o, "\1\2\3", 3) == 0 && is_sample_chain(&un);
	ok = ok && ns.name_list_len == 2 && strcmp(ns.name_list_val[0], "x") == 0 &&
	     strcmp(ns.name_list_val[1], "yz") == 0;
	ok = ok && n.number_list_len == 3 && n.number_list_val[0] == 7 && n.number_list_val[2] == 9;
	xdr_free((xdrproc_t)xdr_blobs, (char *)&b);
	xdr_free((xdrproc_t)xdr_by_unsigned, (char *)&un);
	xdr_free((xdrproc_t)xdr_name_list, (char *)&ns);
	xdr_free((xdrproc_t)xdr_number_list, (char *)&n);
	return ok;
}
