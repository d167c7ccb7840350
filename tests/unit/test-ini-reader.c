/* SPDX-License-Identifier: GPL-2.0-or-later */
/* device/ini-reader: every known wart of libinih (design/integration.md 2.2), and then some. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#include "device/config.h"
#include "test.h"
#include "util/cleanup.h"

static struct settings settings;
static struct problems problems;

static void read_bytes(const char *text, size_t len)
{
	/* fmemopen() of glibc refuses no bytes at all. */
	_cleanup_fclose_ FILE *f = len ? fmemopen((char *) text, len, "r")
				       : fopen("/dev/null", "r");

	settings_release(&settings);
	problems_release(&problems);
	CHECK(f);
	CHECK_EQ(ini_read(f, "t.conf", &settings, &problems), 0);
}

static void read_text(const char *text)
{
	read_bytes(text, strlen(text));
}

/* What was read, one item per line: "2 Device", "3 Device.Target=loop". */
static const char *dump(void)
{
	static char buf[8192];
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < settings.n && used < sizeof(buf); i++) {
		const struct setting *s = &settings.v[i];

		used += (size_t) snprintf(buf + used, sizeof(buf) - used, "%u %s%s%s%s%s\n",
					  s->line, s->section, s->key ? "." : "",
					  s->key ? s->key : "", s->key ? "=" : "",
					  s->key ? s->value : "");
	}
	return buf;
}

/* All problems, one per line. */
static const char *said(void)
{
	static char buf[8192];
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < problems.n && used < sizeof(buf); i++) {
		_cleanup_free_ char *text = problems_format(&problems.v[i]);

		CHECK(text);
		used += (size_t) snprintf(buf + used, sizeof(buf) - used, "%s\n", text);
	}
	return buf;
}

static void lines_have_their_numbers(void)
{
	read_text("# top\n\n[Device]\n; note\nTarget = loop\n\n[Queue] ; behind\nDepth=4");
	CHECK_STR(said(), "");
	CHECK_STR(dump(), "3 Device\n5 Device.Target=loop\n7 Queue\n8 Queue.Depth=4\n");
}

static void indented_line_is_a_line(void)
{
	read_text("[Device]\n  Target=loop\n\t Size=4K\n   \n \t; comment\n");
	CHECK_STR(said(), "");
	CHECK_STR(dump(), "1 Device\n2 Device.Target=loop\n3 Device.Size=4K\n");
}

static void carriage_returns_are_blanks(void)
{
	read_text("[Device]\r\nTarget=loop\r\n\r\nSize=4K \r\n");
	CHECK_STR(said(), "");
	CHECK_STR(dump(), "1 Device\n2 Device.Target=loop\n4 Device.Size=4K\n");
}

static void byte_order_mark_is_passed_over_once(void)
{
	read_text("\xef\xbb\xbf[Device]\nTarget=loop\n");
	CHECK_STR(said(), "");
	CHECK_STR(dump(), "1 Device\n2 Device.Target=loop\n");
	read_text("\xef\xbb\xbf\xef\xbb\xbf[Device]\n");
	CHECK_EQ(problems.n_fatal, 1);
	read_text("[Device]\n\xef\xbb\xbfTarget=loop\n");
	CHECK_CONTAINS(said(), "t.conf:2: ");
}

static void nul_is_refused(void)
{
	read_bytes("[Device]\n\0\nTarget=lo\0op\nSize=1\n\0", 32);
	CHECK_STR(said(), "t.conf:2: the line contains a NUL byte\n"
			  "t.conf:3: the line contains a NUL byte\n"
			  "t.conf:5: the line contains a NUL byte\n");
	CHECK_STR(dump(), "1 Device\n4 Device.Size=1\n");
}

static void invalid_utf8_is_refused(void)
{
	read_text("[Device]\nDescription=\xe4\nDescription=\xc3\xa4\n");
	CHECK_STR(said(), "t.conf:2: the line is not valid UTF-8\n");
	CHECK_STR(dump(), "1 Device\n3 Device.Description=\xc3\xa4\n");
}

static void inline_comment_needs_a_blank(void)
{
	read_text("[D]\nA=x ;y\nB=x;y\nC=x #y\nD= ;y\nE=;y\nF=\"a ;b\"\nG=a=b:c\nH=\n");
	CHECK_STR(said(), "");
	CHECK_STR(dump(), "1 D\n2 D.A=x\n3 D.B=x;y\n4 D.C=x #y\n5 D.D=\n6 D.E=;y\n7 D.F=\"a\n"
			  "8 D.G=a=b:c\n9 D.H=\n");
}

static void malformed_lines_are_named(void)
{
	read_text("[Device]\nTarget\nSize:4K\n=x\nA B=c\n\xc3\xa4=x\nTarget ; =x\n");
	CHECK_STR(said(), "t.conf:2: 'Target' is no [Section], no Key=value and no comment\n"
			  "t.conf:3: 'Size:4K' is no [Section], no Key=value and no comment\n"
			  "t.conf:4: '=x' is no [Section], no Key=value and no comment\n"
			  "t.conf:5: 'A B=c' is no [Section], no Key=value and no comment\n"
			  "t.conf:6: '\xc3\xa4=x' is no [Section], no Key=value and no comment\n"
			  "t.conf:7: 'Target ; =x' is no [Section], no Key=value and no comment\n");
	CHECK_STR(dump(), "1 Device\n");
}

static void broken_header_ends_the_section(void)
{
	read_text("[Device]\nA=1\n[Queue\nB=2\n[]\nC=3\n[a b]\nD=4\n[Q\xff]\nD=5\n[Queue] "
		  "x\nE=5\n[Queue]\nF=6\n");
	CHECK_EQ(problems.n_fatal, 5);
	CHECK_STR(dump(), "1 Device\n2 Device.A=1\n13 Queue\n14 Queue.F=6\n");
}

static void key_needs_a_section(void)
{
	read_text("A=1\n[Device]\n");
	CHECK_STR(said(), "t.conf:1: a key must stand below a [Section]\n");
}

static void long_names_are_refused(void)
{
	char text[400], name[120];

	memset(name, 'n', sizeof(name));
	(void) snprintf(text, sizeof(text), "[%.49s]\nA=1\n[D]\n%.49s=1\n%.119s=2\nA%100s=3\n",
			name, name, name, "");
	read_text(text);
	CHECK_STR(said(), "t.conf:1: the name of a section must not be longer than 48 characters\n"
			  "t.conf:4: a key must not be longer than 48 characters\n"
			  "t.conf:5: a key must not be longer than 48 characters\n"
			  "t.conf:6: there are too many blanks before '='\n");
	(void) snprintf(text, sizeof(text), "[%.48s]\n%.48s=1\n", name, name);
	read_text(text);
	CHECK_EQ(problems.n, 0);
	CHECK_EQ(settings.n, 2);
	CHECK_EQ(strlen(settings.v[1].section), 48);
	CHECK_EQ(strlen(settings.v[1].key), 48);
}

/* Every length around the 200 bytes of libinih's buffer, and far beyond. */
static void long_values_are_whole(void)
{
	_cleanup_free_ char *text = malloc(100100), *value = malloc(100001);

	CHECK(text && value);
	for (size_t len = 180; len <= 100000; len = len < 420 ? len + 1 : len * 7) {
		memset(value, 'v', len);
		value[len / 2] = ' ';
		memcpy(value + len - 4, "Z=/;", 4);
		value[len] = '\0';
		(void) sprintf(text, "[Device]\nA =  %s  ; tail; =x\nB=%s\n  C=1\n", value, value);
		read_text(text);
		CHECK_STR(said(), "");
		CHECK_EQ(settings.n, 4);
		CHECK_STR(settings.v[1].value, value);
		CHECK_STR(settings.v[2].value, value);
		CHECK_EQ(settings.v[2].line, 3);
		CHECK_STR(settings.v[3].value, "1");
		CHECK_EQ(settings.v[3].line, 4);
	}
}

/* A value is the same whether libinih took it or we did: shift one text over the cut. */
static void cut_and_uncut_values_agree(void)
{
	static const char *const values[] = {"x ;y",  "x;y", " ;y",    ";y",	"a  b  ", "\tq\t;",
					     "a ;;b", "",    "\v;x\f", "a\t;b", "x ; ; y"};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		char text[600], *plain;

		(void) snprintf(text, sizeof(text), "[D]\nA=%s\n", values[i]);
		read_text(text);
		CHECK_EQ(settings.n, 2);
		plain = strdup(settings.v[1].value);
		CHECK(plain);
		(void) snprintf(text, sizeof(text), "[D]\nA=%s%300s;\n", values[i], "");
		read_text(text);
		CHECK_EQ(settings.n, 2);
		CHECK_STR(settings.v[1].value, plain);
		free(plain);
	}
}

static void long_comments_and_headers_count_once(void)
{
	_cleanup_free_ char *text = malloc(3000);

	CHECK(text);
	(void) sprintf(text, ";%900s\n[D] ;%900s\n#%900s\nA=1\n", "x=1", "[E]", "y=1");
	read_text(text);
	CHECK_STR(said(), "");
	CHECK_STR(dump(), "2 D\n4 D.A=1\n");
}

static void foreign_keys_and_sections_are_left_out(void)
{
	read_text("[X-Mine]\nA=1\n[Device]\nX-Note=2\nB=3\n");
	CHECK_STR(said(), "");
	CHECK_STR(dump(), "3 Device\n5 Device.B=3\n");
}

static void nothing_is_read_from_an_empty_file(void)
{
	read_text("");
	CHECK_EQ(problems.n, 0);
	CHECK_EQ(settings.n, 0);
}

static void problems_have_a_limit(void)
{
	_cleanup_free_ char *text = malloc(8192);

	CHECK(text);
	for (size_t i = 0; i < 4000; i++)
		memcpy(text + 2 * i, "x\n", 2);
	read_bytes(text, 8000);
	CHECK_EQ(problems.n, PROBLEMS_MAX);
	CHECK_EQ(problems.n_fatal, 4000);
}

/* ---- by name */

static void check_file_problem(const char *path, const char *expected)
{
	settings_release(&settings);
	problems_release(&problems);
	CHECK_EQ(ini_read_file(path, &settings, &problems), 0);
	CHECK_STR(said(), expected);
}

static void only_sane_files_are_read(void)
{
	char path[] = "/tmp/ublkd-test-XXXXXX", expected[128];
	_cleanup_close_ int fd = mkstemp(path);

	CHECK(fd >= 0);
	check_file_problem("/nonexistent",
			   "/nonexistent: cannot be read: No such file or directory\n");
	check_file_problem("/tmp", "/tmp: is not a regular file\n");
	check_file_problem("/dev/zero", "/dev/zero: is not a regular file\n");
	CHECK_EQ(ftruncate(fd, 1024 * 1024 + 1), 0);
	(void) snprintf(expected, sizeof(expected), "%s: is larger than 1 MiB\n", path);
	check_file_problem(path, expected);
	CHECK_EQ(ftruncate(fd, 0), 0);
	CHECK_EQ(fchmod(fd, 0666), 0);
	(void) snprintf(expected, sizeof(expected), "%s: is writable by everybody; chmod o-w\n",
			path);
	check_file_problem(path, expected);
	CHECK_EQ(problems.n_fatal, 0);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(mkfifo(path, 0600), 0);
	(void) snprintf(expected, sizeof(expected), "%s: is not a regular file\n", path);
	check_file_problem(path, expected);
	CHECK_EQ(unlink(path), 0);
}

/* ---- no input does harm */

static uint64_t random_state = 88172645463325252U;

static uint32_t random_below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t) (random_state >> 16) % n;
}

static size_t mutate(char *text, size_t len, size_t room)
{
	static const char *const pieces[] = {"[",
					     "]",
					     "=",
					     ";",
					     " ;",
					     "\n",
					     "\r\n",
					     "\n ",
					     "#",
					     ":",
					     "\xef\xbb\xbf",
					     "\xff",
					     "[Device]\n",
					     "X-",
					     "\n[",
					     "\xf0\x9f\x92\xbe",
					     "Target=loop\n",
					     "=\n"};

	for (uint32_t n = 1 + random_below(4); n > 0; n--) {
		uint32_t at = random_below((uint32_t) len + 1);
		const char *piece = pieces[random_below(sizeof(pieces) / sizeof(pieces[0]))];
		size_t size = strlen(piece), fill;

		switch (random_below(4)) {
		case 0: /* another byte, NUL too */
			if (at < len)
				text[at] = (char) random_below(256);
			break;
		case 1: /* a piece more */
			if (len + size > room)
				break;
			memmove(text + at + size, text + at, len - at);
			memcpy(text + at, piece, size);
			len += size;
			break;
		case 2: /* the end is missing */
			if (random_below(8) == 0)
				len = at;
			break;
		default: /* a long run */
			fill = random_below(16) == 0 ? random_below(300) : 1;
			if (len + fill > room)
				break;
			memmove(text + at + fill, text + at, len - at);
			memset(text + at, at < len ? text[at] : 'x', fill);
			len += fill;
		}
	}
	return len;
}

static void check_sane(const char *text, size_t len)
{
	unsigned int lines = 1, last = 0;

	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	for (size_t i = 0; i < settings.n; i++) {
		const struct setting *s = &settings.v[i];

		CHECK(s->line > last && s->line <= lines);
		CHECK(s->section && *s->section && strlen(s->section) <= 48);
		CHECK(!s->key == !s->value);
		CHECK(!s->key || (*s->key && strlen(s->key) <= 48));
		last = s->line;
	}
	for (size_t i = 0; i < problems.n; i++)
		CHECK(problems.v[i].line >= 1 && problems.v[i].line <= lines);
}

static double now(void)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void mutations_do_no_harm(void)
{
	static const char *const seeds[] = {
		"[Device]\nTarget=loop\nSize=10G\n[Queue]\nDepth=128\n[Loop]\nFile=/a b ;c\n",
		"# c\n\n[Manager]\r\nLogLevel = debug\r\nX-Foo=bar\n[X-A]\nB=c\n",
		"\xef\xbb\xbf[D]\n  "
		"A=vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv"
		"vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv"
		"vvv"
		"vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv ;x\nB=1\n",
	};
	double start = now();
	char text[2048];

	for (int i = 0; i < 200000; i++) {
		const char *seed = seeds[i % 3];
		size_t len = strlen(seed);

		memcpy(text, seed, len);
		len = mutate(text, len, sizeof(text));
		read_bytes(text, len);
		check_sane(text, len);
	}
	(void) printf("# 200000 mutations in %.1f s\n", now() - start);
}

static void release(void)
{
	settings_release(&settings);
	problems_release(&problems);
}

TEST_MAIN(CASE(lines_have_their_numbers), CASE(indented_line_is_a_line),
	  CASE(carriage_returns_are_blanks), CASE(byte_order_mark_is_passed_over_once),
	  CASE(nul_is_refused), CASE(invalid_utf8_is_refused), CASE(inline_comment_needs_a_blank),
	  CASE(malformed_lines_are_named), CASE(broken_header_ends_the_section),
	  CASE(key_needs_a_section), CASE(long_names_are_refused), CASE(long_values_are_whole),
	  CASE(cut_and_uncut_values_agree), CASE(long_comments_and_headers_count_once),
	  CASE(foreign_keys_and_sections_are_left_out), CASE(nothing_is_read_from_an_empty_file),
	  CASE(problems_have_a_limit), CASE(only_sane_files_are_read), CASE(mutations_do_no_harm),
	  CASE(release))
