/*
 * tap.h
 *		What unit tests share: results as TAP, and numbers at random that a seed repeats.
 *
 * Include c.h, postgres.h or postgres_fe.h first, or nothing where a test goes without.
 */
#ifndef WH_UNIT_TAP_H
#define WH_UNIT_TAP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

static int tests = 0;
static int failures = 0;
static uint64_t state = 88172645463325252;

static inline void
ok(bool is_well, const char *name)
{
	printf("%s %d - %s\n", is_well ? "ok" : "not ok", ++tests, name);
	if (!is_well)
		failures++;
}

/* draw returns a number below the given one (xorshift64). */
static inline uint64_t
draw(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % below;
}

/* done prints the plan and returns the program's status. */
static inline int
done(void)
{
	printf("1..%d\n", tests);
	return failures > 0;
}

#endif /* WH_UNIT_TAP_H */
