/* SPDX-License-Identifier: MIT */
/*
 * How long a thing takes: the least of some rounds, since whatever else the machine does
 * only ever adds. A round is many calls by one pair of looks at the clock, each of which is
 * a system call and takes longer than many a thing does. One line a figure: name,
 * nanoseconds.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define MEASURE_ROUNDS	 9
#define MEASURE_ROUND_NS 10000000ULL

static inline uint64_t measure_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static inline double measure_calls(void (*fn)(void *ctx), void *ctx, uint64_t calls)
{
	uint64_t began = measure_cpu_ns();

	for (uint64_t i = 0; i < calls; i++)
		fn(ctx);
	return (double)(measure_cpu_ns() - began);
}

/* Prints the CPU time of fn(ctx) for each of the `items` that one call deals with. */
static inline void measure(const char *name, void (*fn)(void *ctx), void *ctx,
			   unsigned items)
{
	uint64_t calls = 1;
	double best = 1e18;

	while (measure_calls(fn, ctx, calls) < MEASURE_ROUND_NS)
		calls *= 2;
	for (unsigned round = 0; round < MEASURE_ROUNDS; round++) {
		double took = measure_calls(fn, ctx, calls) / (double)calls;

		if (took < best)
			best = took;
	}
	printf("%s %.1f\n", name, best / items);
	fflush(stdout);
}

#endif
