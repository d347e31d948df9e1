/* Intrusive doubly linked list with a sentinel head. */
#ifndef BASE_DLIST_H
#define BASE_DLIST_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A list is a dlist whose next/prev point to itself when empty. An element embeds a dlist; one that is in no
 * list has NULL pointers after dlist_remove(), so removing twice is harmless and dlist_linked() tells.
 */
struct dlist {
	struct dlist *next, *prev;
};

#define dlist_entry(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

static inline void dlist_init(struct dlist *head)
{
	head->next = head->prev = head;
}

static inline bool dlist_empty(const struct dlist *head)
{
	return head->next == head;
}

static inline bool dlist_linked(const struct dlist *e)
{
	return e->next != NULL;
}

static inline void dlist_insert_before(struct dlist *pos, struct dlist *e)
{
	e->next = pos;
	e->prev = pos->prev;
	pos->prev->next = e;
	pos->prev = e;
}

static inline void dlist_add_tail(struct dlist *head, struct dlist *e)
{
	dlist_insert_before(head, e);
}

static inline void dlist_add_head(struct dlist *head, struct dlist *e)
{
	dlist_insert_before(head->next, e);
}

static inline void dlist_remove(struct dlist *e)
{
	if (e->next == NULL) {
		return;
	}
	e->prev->next = e->next;
	e->next->prev = e->prev;
	e->next = e->prev = NULL;
}

/* First element or NULL. */
static inline struct dlist *dlist_first(const struct dlist *head)
{
	return dlist_empty(head) ? NULL : head->next;
}

#define dlist_for_each(pos, head) for (struct dlist *pos = (head)->next; pos != (head); pos = pos->next)

/* Safe against removal of pos itself. */
#define dlist_for_each_safe(pos, head)                                                             \
	for (struct dlist *pos = (head)->next, *pos##_next = pos->next; pos != (head);             \
	     pos = pos##_next, pos##_next = pos->next)

#endif
