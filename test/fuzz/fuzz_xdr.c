/* Every type of every interface, XDR and native: [interface, 0x80: native] [type, 0x80: also as text] [encoded value].
 */
#include <talloc.h>

#include "fuzz.h"
#include "protocol/gen_table.h"
#include "tables.h"

static void as_text(const struct gen_type *t, const void *v)
{
	json_t *j = t->to_json(v);
	char *dump;
	FILE *f = fopen("/dev/null", "w");

	MUST(j != NULL && f != NULL);
	dump = json_dumps(j, 0);
	MUST(dump != NULL);
	free(dump);
	json_decref(j);
	t->print(f, v);
	fclose(f);
}

static void xdr(const struct gen_type *t, TALLOC_CTX *mem, const uint8_t *data, size_t len, bool text)
{
	void *a = talloc_zero_size(mem, t->size), *b = talloc_zero_size(mem, t->size);
	struct ctdb_blob out, again;
	struct xdr_buf buf = {0};
	char room[GEN_VIEW_ROOM_MAX];
	int err = t->decode(mem, data, len, a);

	if (t->view != NULL || t->view_at != NULL) {
		MUST((t->view != NULL ? t->view(data, len, b) : t->view_at(data, len, b, room)) == err);
		MUST(err != 0 || t->equal(a, b));
	}
	if (err != 0) {
		return;
	}
	MUST(t->validate(a) == 0);
	MUST(t->encode(mem, a, &out) == 0 && out.len == t->xdr_size(a));
	MUST(t->encode_to(mem, &buf, a, &again) == 0);
	MUST(again.len == out.len && memcmp(again.data, out.data, out.len) == 0);
	MUST(t->decode(mem, out.data, out.len, b) == 0 && t->equal(a, b));
	if (text) {
		as_text(t, a);
	}
}

static void native(const struct gen_type *t, TALLOC_CTX *mem, const uint8_t *data, size_t len)
{
	void *a = talloc_zero_size(mem, t->size), *b = talloc_zero_size(mem, t->size);
	struct ctdb_blob out;
	size_t used = 0, used_view = 0;
	int err = t->ndecode(mem, data, len, a, &used);

	if (t->nview != NULL) {
		MUST(t->nview(data, len, b, &used_view) == err);
		MUST(err != 0 || (used == used_view && t->equal(a, b)));
	}
	if (err != 0) {
		return;
	}
	MUST(used <= len);
	MUST(t->nencode(mem, a, &out) == 0 && out.len == t->nsize(a));
	MUST(t->ndecode(mem, out.data, out.len, b, &used) == 0 && used == out.len && t->equal(a, b));
}

static const struct gen_type *type_at(const struct gen_type *types, unsigned i)
{
	unsigned n = 0;

	while (types[n].name != NULL) {
		n++;
	}
	return &types[i % n];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	uint8_t interface = fuzz_byte(&in), type = fuzz_byte(&in);
	const struct gen_type *t = type_at(fuzz_tables[(interface & 0x7f) % FUZZ_TABLES], type & 0x7f);
	TALLOC_CTX *mem = talloc_new(NULL);
	size_t len;
	uint8_t *copy = fuzz_take(&in, in.left, &len);

	if ((interface & 0x80) != 0 && t->ndecode != NULL) {
		native(t, mem, copy, len);
	} else {
		xdr(t, mem, copy, len, (type & 0x80) != 0);
	}
	talloc_free(mem);
	free(copy);
	return 0;
}
