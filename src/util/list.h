/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * list - intrusive, circular, doubly linked. A zeroed link is "in no list". Every link field names
 * the list it belongs to in a comment beside it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define container_of(ptr, type, member) ((type *) (void *) ((char *) (ptr) -offsetof(type, member)))

static inline void list_init(struct list *head)
{
	head->next = head->prev = head;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

static inline bool list_linked(const struct list *link)
{
	return link->next != NULL;
}

static inline void list_append(struct list *head, struct list *link)
{
	link->next = head;
	link->prev = head->prev;
	head->prev->next = link;
	head->prev = link;
}

/* Harmless on a link that is in no list. */
static inline void list_remove(struct list *link)
{
	if (!link->next)
		return;
	link->prev->next = link->next;
	link->next->prev = link->prev;
	link->next = link->prev = NULL;
}

/* The body may remove `pos`, and nothing else. */
#define list_for_each(pos, tmp, head, member)                                                      \
	for ((pos) = container_of((head)->next, __typeof__(*(pos)), member),                       \
	    (tmp) = container_of((pos)->member.next, __typeof__(*(pos)), member);                  \
	     &(pos)->member != (head);                                                             \
	     (pos) = (tmp), (tmp) = container_of((pos)->member.next, __typeof__(*(pos)), member))
