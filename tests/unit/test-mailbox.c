/* SPDX-License-Identifier: GPL-2.0-or-later */
/* uring/mailbox: from many threads to one, in order, without a wake-up too few. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "test.h"
#include "uring/mailbox.h"
#include "util/list.h"

enum { THREADS = 4, PER_THREAD = 5000 };

struct letter {
	struct mail mail;
	unsigned int thread, number;
};

static struct mailbox box = {.fd = -1};
static unsigned int next_of[THREADS], n_delivered, n_wrong;

static void deliver(struct mail *m)
{
	struct letter *l = container_of(m, struct letter, mail);

	n_wrong += l->number != next_of[l->thread];
	next_of[l->thread] = l->number + 1;
	n_delivered++;
}

static bool has_mail(int timeout_ms)
{
	struct pollfd p = {.fd = box.fd, .events = POLLIN};

	return poll(&p, 1, timeout_ms) == 1;
}

static void begin(void)
{
	memset(next_of, 0, sizeof(next_of));
	n_delivered = n_wrong = 0;
	CHECK_EQ(mailbox_init(&box), 0);
}

static void in_order(void)
{
	struct letter v[10];

	begin();
	CHECK(!has_mail(0));
	mailbox_deliver(&box); /* nothing: fine */
	for (unsigned int i = 0; i < 10; i++) {
		v[i] = (struct letter){.mail.deliver = deliver, .number = i};
		mailbox_post(&box, &v[i].mail);
		CHECK(has_mail(0));
	}
	mailbox_deliver(&box);
	CHECK_EQ(n_delivered, 10);
	CHECK_EQ(n_wrong, 0);
	CHECK(!has_mail(0));
	mailbox_done(&box);
}

static struct letter replies[2];

static void deliver_and_post(struct mail *m)
{
	n_delivered++;
	mailbox_post(&box, &replies[0].mail);
	mailbox_post(&box, &replies[1].mail);
}

/* What is posted by a letter comes with the next delivery, and is announced. */
static void posted_while_delivering(void)
{
	struct letter l = {.mail.deliver = deliver_and_post};

	begin();
	replies[0] = (struct letter){.mail.deliver = deliver};
	replies[1] = (struct letter){.mail.deliver = deliver, .number = 1};
	mailbox_post(&box, &l.mail);
	mailbox_deliver(&box);
	CHECK_EQ(n_delivered, 1);
	CHECK(has_mail(0));
	mailbox_deliver(&box);
	CHECK_EQ(n_delivered, 3);
	CHECK_EQ(n_wrong, 0);
	mailbox_done(&box);
}

static void free_letter(struct mail *m)
{
	n_delivered++;
	free(container_of(m, struct letter, mail));
}

/* A letter is the receiver's from its delivery on. */
static void letters_may_be_freed(void)
{
	begin();
	for (int i = 0; i < 10; i++) {
		struct letter *l = calloc(1, sizeof(*l));

		l->mail.deliver = free_letter;
		mailbox_post(&box, &l->mail);
	}
	mailbox_deliver(&box);
	CHECK_EQ(n_delivered, 10);
	mailbox_done(&box);
}

static struct letter letters[THREADS][PER_THREAD];

static void *post_all(void *arg)
{
	struct letter *v = arg;

	for (unsigned int i = 0; i < PER_THREAD; i++)
		mailbox_post(&box, &v[i].mail);
	return NULL;
}

static void many_threads(void)
{
	pthread_t t[THREADS];

	begin();
	for (unsigned int i = 0; i < THREADS; i++) {
		for (unsigned int j = 0; j < PER_THREAD; j++)
			letters[i][j] =
				(struct letter){.mail.deliver = deliver, .thread = i, .number = j};
		CHECK_EQ(pthread_create(&t[i], NULL, post_all, letters[i]), 0);
	}
	/* A wake-up that gets lost ends this by the time limit. */
	while (n_delivered < THREADS * PER_THREAD) {
		CHECK(has_mail(10000));
		mailbox_deliver(&box);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
	CHECK_EQ(n_wrong, 0);
	mailbox_done(&box);
}

/* There and back: what a letter carries is seen by the other side, no other lock needed. */
struct ball {
	struct mail mail;
	struct mailbox *to;
	unsigned int hits;
};

static struct mailbox other = {.fd = -1};
static bool over_here, over_there; /* one thread each */

static void end_there(struct mail *m)
{
	over_there = true;
}

static struct mail last_letter = {.deliver = end_there};

static void hit(struct mail *m)
{
	struct ball *b = container_of(m, struct ball, mail);
	struct mailbox *to = b->to;

	b->to = to == &box ? &other : &box;
	if (b->hits++ < 2000) {
		mailbox_post(to, m);
	} else if (to == &other) { /* caught here, not there */
		over_here = true;
		mailbox_post(&other, &last_letter);
	} else {
		mailbox_post(to, m);
	}
}

static void *play(void *arg)
{
	struct pollfd p = {.fd = other.fd, .events = POLLIN};

	while (!over_there && poll(&p, 1, 10000) == 1)
		mailbox_deliver(&other);
	return NULL;
}

static void there_and_back(void)
{
	struct ball b = {.mail.deliver = hit, .to = &box};
	pthread_t t;

	begin();
	CHECK_EQ(mailbox_init(&other), 0);
	CHECK_EQ(pthread_create(&t, NULL, play, NULL), 0);
	mailbox_post(&other, &b.mail);
	while (!over_here) {
		CHECK(has_mail(10000));
		mailbox_deliver(&box);
	}
	CHECK_EQ(pthread_join(t, NULL), 0);
	CHECK(over_there);
	CHECK(b.hits >= 2001);
	mailbox_done(&box);
	mailbox_done(&other);
}

static void no_descriptor_left(void)
{
	struct rlimit was, none;

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 3;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	CHECK_EQ(mailbox_init(&box), -EMFILE);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
	mailbox_done(&box);
	CHECK_EQ(box.fd, -1);
}

TEST_MAIN(CASE(in_order), CASE(posted_while_delivering), CASE(letters_may_be_freed),
	  CASE(many_threads), CASE(there_and_back), CASE(no_descriptor_left))
