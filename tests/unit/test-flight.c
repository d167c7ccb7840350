/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ublk/flight, device/flight-book: what is kept of requests, by whom, and who is believed. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/flight-book.h"
#include "device/flight-file.h"
#include "test.h"

/* They have ways of their own with the end of a stack. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
	__has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#include "ublk/abi.h"
#include "util/clock.h"

static struct flight_seat seat;
static struct flight_record ring[FLIGHT_RECORDS];
static struct flight_entry entries[FLIGHT_ENTRIES_MAX];
static struct flight flight;

static void begin(void)
{
	memset(&seat, 0, sizeof(seat));
	memset(ring, 0, sizeof(ring));
	memset(&flight, 0, sizeof(flight));
	flight_init(&flight, &seat);
}

static struct flight_record *request(unsigned int tag)
{
	return flight_begin(&flight, tag, UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 16, tag * 4096ULL);
}

static void serve(unsigned int tag, int32_t result)
{
	flight_end(&flight, request(tag), result);
}

static size_t collect(bool with_ring)
{
	return flight_collect(&seat, with_ring ? ring : NULL, entries);
}

static void grow(void)
{
	atomic_store(&flight.ring, ring);
	CHECK(flight_can_grow(&flight));
	flight_grow(&flight);
	CHECK(!flight_can_grow(&flight));
}

static void keeps_what_was_asked(void)
{
	struct flight_record *r;

	begin();
	CHECK_EQ(collect(false), 0);
	flight.now = 1000ULL << 32;
	r = request(7);
	CHECK_EQ(collect(false), 1);
	CHECK_EQ(entries[0].tag, 7);
	CHECK_EQ(entries[0].op_flags, UBLK_IO_OP_WRITE | UBLK_IO_F_FUA);
	CHECK_EQ(entries[0].off, 7 * 4096);
	CHECK_EQ(entries[0].len, 8192);
	CHECK_EQ(entries[0].start, 1000);
	CHECK_EQ(entries[0].result, FLIGHT_PENDING);
	flight.now = 1250ULL << 32;
	flight_end(&flight, r, -EIO);
	CHECK_EQ(collect(false), 1);
	CHECK_EQ(entries[0].end, 1250);
	CHECK_EQ(entries[0].result, -EIO);
}

static void largest_values(void)
{
	begin();
	(void) flight_begin(&flight, UINT16_MAX, 0xffffff00 | UBLK_IO_OP_DISCARD, UINT32_MAX,
			    UINT64_MAX - 511);
	CHECK_EQ(collect(false), 1);
	CHECK_EQ(entries[0].tag, UINT16_MAX);
	CHECK_STR(flight_op_name(entries[0].op_flags), "discard");
	CHECK_EQ(entries[0].off, UINT64_MAX - 511);
	CHECK_EQ(entries[0].len, UINT64_C(0x1fffffffe00));
}

/* The seat's records go round until there is a ring, which is asked for once. */
static void seat_goes_round(void)
{
	begin();
	for (unsigned int i = 0; i < FLIGHT_SEAT_RECORDS; i++)
		serve(i, 0);
	CHECK(!flight.wants_ring);
	atomic_store(&flight.watched, true);
	serve(100, 0);
	CHECK(flight.wants_ring);
	CHECK(!flight.watched);
	atomic_store(&flight.wants_ring, false);
	for (unsigned int i = 0; i < 100; i++)
		serve(i, 0);
	CHECK(!flight.wants_ring);
	CHECK_EQ(collect(false), FLIGHT_SEAT_RECORDS);
	CHECK_EQ(entries[FLIGHT_SEAT_RECORDS - 1].tag, 99);
	CHECK_EQ(entries[0].tag, 100 - FLIGHT_SEAT_RECORDS);
}

static void ring_goes_round(void)
{
	begin();
	serve(1, 0);
	grow();
	for (unsigned int i = 0; i < FLIGHT_RECORDS + 10; i++)
		serve(i % 4096, -(int) (i % 100));
	CHECK_EQ(collect(true), FLIGHT_RECORDS + 1);
	CHECK_EQ(entries[0].tag, 1); /* the seat's stays */
	CHECK_EQ(entries[1].tag, 10);
	CHECK_EQ(entries[FLIGHT_RECORDS].tag, 9);
	for (unsigned int i = 2; i <= FLIGHT_RECORDS; i++)
		CHECK_EQ(entries[i].number, entries[i - 1].number + 1);
}

/* What is under way is not written over, however many come after it, and ends in its own record. */
static void pending_stay(void)
{
	struct flight_record *first, *second;

	begin();
	grow();
	first = request(3);
	serve(4, 0);
	second = request(5);
	for (unsigned int i = 0; i < 3 * FLIGHT_RECORDS; i++)
		serve(100 + i % 1000, 0);
	CHECK_EQ(collect(true), FLIGHT_RECORDS);
	CHECK_EQ(entries[0].tag, 3);
	CHECK_EQ(entries[0].result, FLIGHT_PENDING);
	CHECK_EQ(entries[1].tag, 5);
	flight_end(&flight, first, -ENOSPC);
	flight_end(&flight, second, 0);
	CHECK_EQ(collect(true), FLIGHT_RECORDS);
	CHECK_EQ(entries[0].result, -ENOSPC);
	for (unsigned int i = 0; i < 2 * FLIGHT_RECORDS; i++)
		serve(100 + i % 1000, 0);
	CHECK_EQ(collect(true), FLIGHT_RECORDS);
	CHECK(entries[0].tag >= 100);
}

/* As many under way as there are records: the ring has room for the tags of any queue. */
static void all_records_are_pending(void)
{
	static struct flight_record *records[FLIGHT_RECORDS];

	begin();
	for (unsigned int i = 0; i < FLIGHT_SEAT_RECORDS; i++)
		CHECK(request(i) != &flight.nowhere);
	CHECK(request(50) == &flight.nowhere);
	CHECK_EQ(collect(false), FLIGHT_SEAT_RECORDS);
	grow();
	for (unsigned int i = 0; i < FLIGHT_RECORDS; i++)
		records[i] = request(i);
	for (unsigned int i = 0; i < FLIGHT_RECORDS; i++) {
		flight_end(&flight, records[i * 7 % FLIGHT_RECORDS], 0);
		records[i * 7 % FLIGHT_RECORDS] = request(i);
		CHECK(records[i * 7 % FLIGHT_RECORDS] != &flight.nowhere);
	}
}

static void number_goes_round(void)
{
	begin();
	flight.number = UINT32_MAX - 2;
	for (unsigned int i = 0; i < 5; i++)
		serve(i, 0);
	CHECK_EQ(collect(false), 5);
	for (unsigned int i = 0; i < 5; i++)
		CHECK_EQ(entries[i].tag, i);
}

/* A linked one is known to have gone well by the next one of its tag. */
static void linked_requests(void)
{
	struct flight_record *r;

	begin();
	serve(3, FLIGHT_LINKED);
	serve(4, FLIGHT_LINKED);
	r = request(3);
	CHECK_EQ(collect(false), 3);
	CHECK_EQ(entries[0].result, 0);
	CHECK_EQ(entries[1].result, FLIGHT_LINKED);
	flight_end(&flight, r, FLIGHT_LINKED);
	CHECK(!flight_reopen(r, 3, 4096)); /* another one's offset */
	CHECK(flight_reopen(r, 3, 3 * 4096));
	CHECK(flight_is_pending(r));
	CHECK(!flight_reopen(r, 3, 3 * 4096));
}

/* In the making: no entry, neither before nor after. */
static void half_written(void)
{
	struct flight_entry e;

	begin();
	serve(1, 0);
	CHECK(flight_look(&seat.records[0], &e));
	atomic_store(&seat.records[0].id, 0);
	CHECK(!flight_look(&seat.records[0], &e));
}

static void printed(void)
{
	char *text = NULL;
	uint32_t now = 1500;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	CHECK(f);
	begin();
	seat.q_id = 2;
	flight.now = 1000ULL << 32;
	serve(1, -EIO);
	serve(2, FLIGHT_LINKED);
	(void) request(3);
	flight_print(f, "disk", &seat, entries, collect(false), &now);
	(void) fclose(f);
	CHECK_CONTAINS(text, "{\"device\":\"disk\",\"queue\":2,\"thread\":0,\"number\":1,\"tag\":1,"
			     "\"op\":\"write\",\"offset\":4096,\"bytes\":8192,\"fua\":true,"
			     "\"start-ms\":1000,\"state\":\"done\",\"errno\":5,\"ms\":0}\n");
	CHECK_CONTAINS(text, "\"state\":\"handed-over\"}\n");
	CHECK_CONTAINS(text, "\"state\":\"in-flight\",\"ms\":500}\n");
	free(text);
}

/* ---- the file */

static char dir_path[] = "/tmp/test-flight-XXXXXX";
static struct flight_book *book;

static const char *in_dir(const char *name)
{
	static char path[100];

	(void) snprintf(path, sizeof(path), "%s/flight/%s", dir_path, name);
	return path;
}

static void reopen(void)
{
	CHECK_EQ(flight_book_open(dir_path, &book), 0);
}

/* A daemon is killed: nothing of the file is taken back. */
static void crash(void)
{
	CHECK_EQ(rename(in_dir("requests"), "/tmp/test-flight-moved"), 0);
	book = flight_book_close(book);
	CHECK_EQ(rename("/tmp/test-flight-moved", in_dir("requests")), 0);
}

static void die(const char *device)
{
	struct death *d = flight_book_death(book);

	d->usec = clock_usec(CLOCK_MONOTONIC);
	d->signal = SIGSEGV;
	(void) snprintf(d->device, sizeof(d->device), "%s", device);
	crash();
}

static void fresh(void)
{
	book = flight_book_close(book);
	(void) unlink(in_dir("requests"));
	(void) unlink(in_dir("crash"));
	reopen();
}

static void seat_survives(void)
{
	struct flight_seat *s;
	struct flight_record *r;

	fresh();
	s = flight_book_take(book, "disk", 1, 0);
	CHECK(s);
	r = flight_book_take_ring(book, s);
	CHECK(r);
	memset(&flight, 0, sizeof(flight));
	flight_init(&flight, s);
	serve(1, 0);
	(void) request(2);
	atomic_store(&flight.ring, r);
	flight_grow(&flight);
	(void) request(3);
	crash();
	reopen();
	CHECK_EQ(flight_book_in_flight(book, "disk"), 2);
	CHECK_EQ(flight_book_in_flight(book, "other"), 0);
	CHECK_EQ(flight_book_crash(book)->signal, 0);
	CHECK_EQ(access(in_dir("crash"), F_OK), 0);
	CHECK_EQ(flight_book_show(in_dir("crash"), stderr), 0);
}

/* What was given back is nobody's, and zero for the next one. */
static void seats_are_used_again(void)
{
	struct flight_seat *s, *t;
	struct flight_record *r;

	fresh();
	s = flight_book_take(book, "a", 0, 0);
	r = flight_book_take_ring(book, s);
	CHECK(r);
	atomic_store(&r[5].id, 77);
	atomic_store(&s->records[0].id, 77);
	flight_book_give_back_ring(book, s, r);
	flight_book_give_back(book, s);
	t = flight_book_take(book, "b", 0, 0);
	CHECK(s == t);
	CHECK_EQ(s->records[0].id, 0);
	r = flight_book_take_ring(book, t);
	CHECK_EQ(r[5].id, 0);
	flight_book_give_back_ring(book, t, r);
	flight_book_give_back(book, t);
	for (unsigned int i = 0; i < FLIGHT_FILE_SEATS; i++)
		CHECK(flight_book_take(book, "c", i, 0));
	CHECK(!flight_book_take(book, "c", 0, 0));
}

static void leaving_is_no_crash(void)
{
	fresh();
	(void) flight_book_take(book, "disk", 0, 0);
	flight_book_leave(book);
	crash();
	reopen();
	CHECK(access(in_dir("crash"), F_OK) < 0);
}

static void deaths_in_a_row(void)
{
	fresh();
	for (unsigned int i = 1; i <= 4; i++) {
		die("bad");
		reopen();
		CHECK_EQ(flight_book_deaths(book, "bad"), i);
		CHECK_EQ(flight_book_deaths(book, "good"), 0);
	}
	/* Two of them do not hide each other; who has no name is none. */
	die("worse");
	reopen();
	die("");
	reopen();
	CHECK_EQ(flight_book_deaths(book, "worse"), 1);
	CHECK_EQ(flight_book_deaths(book, "bad"), 4);
	CHECK_EQ(flight_book_deaths(book, ""), 0);
	flight_book_forgive(book, "bad");
	CHECK_EQ(flight_book_deaths(book, "bad"), 0);
	crash();
	reopen();
	CHECK_EQ(flight_book_deaths(book, "bad"), 0);
	CHECK_EQ(flight_book_deaths(book, "worse"), 1);
}

/* The header of what the last daemon left. */
static struct flight_file_header *header(void)
{
	int fd = open(in_dir("requests"), O_RDWR | O_CLOEXEC);
	void *p = mmap(NULL, FLIGHT_FILE_RINGS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(p != MAP_FAILED);
	(void) close(fd);
	return p;
}

static void old_deaths_do_not_count(void)
{
	struct flight_file_header *h;

	fresh();
	die("bad");
	reopen();
	crash();
	h = header();
	CHECK_EQ(h->deaths[0].count, 1);
	h->deaths[0].usec -= UINT64_C(61000000);
	(void) munmap(h, FLIGHT_FILE_RINGS);
	reopen();
	CHECK_EQ(flight_book_deaths(book, "bad"), 0);
}

static void hostile_names(void)
{
	struct flight_file_header *h;
	struct flight_seat *s;

	fresh();
	s = flight_book_take(book, "disk", 0, 0);
	atomic_store(&s->records[0].id, 1ULL << 32);
	die("disk");
	h = header();
	memset(h->death.device, 'x', sizeof(h->death.device));
	memset(h->deaths, 0xff, sizeof(h->deaths));
	memset(((struct flight_seat *) (void *) ((uint8_t *) h + FLIGHT_FILE_PAGE))->name, '/',
	       FLIGHT_NAME_MAX);
	(void) munmap(h, FLIGHT_FILE_RINGS);
	reopen();
	CHECK_STR(flight_book_crash(book)->device, "");
	CHECK_EQ(flight_book_in_flight(book, "disk"), 0);
	for (unsigned int i = 0; i < FLIGHT_FILE_DEATHS; i++)
		CHECK_EQ(flight_book_deaths(book, "xxx"), 0);
}

/* Anything in the records is some request: nothing is believed that could hurt. */
static void hostile_records(void)
{
	struct flight_file_header *h;
	struct flight_crash c;
	uint32_t seed = 1;
	int fd;

	fresh();
	for (unsigned int i = 0; i < 4; i++)
		(void) flight_book_take(book, "disk", i, 0);
	crash();
	h = header();
	for (uint8_t *p = (uint8_t *) h + FLIGHT_FILE_PAGE + FLIGHT_NAME_MAX, *end = p + 800;
	     p < end; p++)
		*p = (uint8_t) ((seed = seed * 1103515245 + 12345) >> 16);
	(void) munmap(h, FLIGHT_FILE_RINGS);
	fd = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK_EQ(flight_crash_read(fd, "flight/requests", &c), 0);
	CHECK_EQ(c.n, 4);
	flight_crash_release(&c);
	(void) close(fd);
	CHECK_EQ(flight_book_show(in_dir("requests"), stderr), 0);
	reopen();
}

static void files_that_are_none(void)
{
	struct flight_file_header *h;

	fresh();
	crash();
	CHECK_EQ(chmod(in_dir("requests"), 0666), 0);
	CHECK_EQ(flight_book_show(in_dir("requests"), stderr), -EPERM);
	CHECK_EQ(chmod(in_dir("requests"), 0600), 0);
	CHECK_EQ(flight_book_show(in_dir("requests"), stderr), 0);
	h = header();
	h->n_seats = FLIGHT_FILE_SEATS + 1;
	CHECK_EQ(flight_book_show(in_dir("requests"), stderr), -EINVAL);
	h->n_seats = FLIGHT_FILE_SEATS;
	CHECK_EQ(flight_book_show(in_dir("requests"), stderr), 0);
	h->version++;
	CHECK_EQ(flight_book_show(in_dir("requests"), stderr), -EINVAL);
	h->version--;
	h->magic++;
	CHECK_EQ(flight_book_show(in_dir("requests"), stderr), -EINVAL);
	(void) munmap(h, FLIGHT_FILE_RINGS);
	CHECK_EQ(truncate(in_dir("requests"), 100), 0);
	CHECK_EQ(flight_book_show(in_dir("requests"), stderr), -EINVAL);
	CHECK_EQ(flight_book_show(in_dir("nothing"), stderr), -ENOENT);
	reopen(); /* over it */
	CHECK(access(in_dir("crash"), F_OK) < 0);
}

/* ---- a process that dies */

static int child_dies(void (*how)(void))
{
	int status;
	pid_t pid;

	(void) fflush(stdout);
	pid = fork();
	if (pid == 0) {
		deaths_catch(flight_book_death(book));
		how();
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void at_work(void)
{
	begin();
	(void) flight_begin(&flight, 9, UBLK_IO_OP_READ, 8, 512);
	deaths_enter("disk", &flight);
}

static _Noreturn void abort_at_work(void)
{
	at_work();
	abort();
}

static unsigned int depth_wanted = UINT32_MAX;

static int deeper(unsigned int depth)
{
	volatile char more[4096];

	more[0] = (char) depth;
	return depth < depth_wanted ? deeper(depth + 1) + more[0] : more[0];
}

static void overflow_at_work(void)
{
	at_work();
	(void) deeper(0);
}

static void killed_at_work(void)
{
	at_work();
	(void) raise(SIGKILL);
}

static _Noreturn void abort_after_work(void)
{
	at_work();
	deaths_leave();
	abort();
}

static void death_is_written_down(void)
{
	struct flight_entry e;

	fresh();
	CHECK_EQ(child_dies(abort_at_work), SIGABRT);
	CHECK_EQ(flight_book_death(book)->signal, SIGABRT);
	CHECK_STR(flight_book_death(book)->device, "disk");
	CHECK(flight_book_death(book)->has_request);
	CHECK(flight_look(&flight_book_death(book)->request, &e));
	CHECK_EQ(e.tag, 9);
	CHECK_EQ(e.off, 512);
	crash();
	reopen();
	CHECK_EQ(flight_book_deaths(book, "disk"), 1);
}

#ifndef SANITIZED
static void death_of_a_full_stack(void)
{
	fresh();
	CHECK_EQ(child_dies(overflow_at_work), SIGSEGV);
	CHECK_EQ(flight_book_death(book)->signal, SIGSEGV);
	CHECK_STR(flight_book_death(book)->device, "disk");
}
#endif

static void deaths_of_nobody(void)
{
	fresh();
	CHECK_EQ(child_dies(killed_at_work), SIGKILL);
	CHECK_EQ(flight_book_death(book)->signal, 0);
	CHECK_EQ(child_dies(abort_after_work), SIGABRT);
	CHECK_EQ(flight_book_death(book)->signal, SIGABRT);
	CHECK_STR(flight_book_death(book)->device, "");
}

int main(void)
{
	static const struct test_case cases[] = {
		CASE(keeps_what_was_asked),
		CASE(largest_values),
		CASE(seat_goes_round),
		CASE(ring_goes_round),
		CASE(pending_stay),
		CASE(all_records_are_pending),
		CASE(number_goes_round),
		CASE(linked_requests),
		CASE(half_written),
		CASE(printed),
		CASE(seat_survives),
		CASE(seats_are_used_again),
		CASE(leaving_is_no_crash),
		CASE(deaths_in_a_row),
		CASE(old_deaths_do_not_count),
		CASE(hostile_names),
		CASE(hostile_records),
		CASE(files_that_are_none),
		CASE(death_is_written_down),
#ifndef SANITIZED
		CASE(death_of_a_full_stack),
#endif
		CASE(deaths_of_nobody),
	};
	int r;

	if (!mkdtemp(dir_path))
		return 1;
	r = test_run(cases, sizeof(cases) / sizeof(cases[0]));
	(void) flight_book_close(book);
	(void) unlink(in_dir("crash"));
	(void) unlink(in_dir("requests"));
	(void) rmdir(in_dir(""));
	(void) rmdir(dir_path);
	return r;
}
