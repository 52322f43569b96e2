/* SPDX-License-Identifier: MIT */
/*
 * Measures how long a function takes. The result is the minimum of some rounds, because
 * other work on the machine can only add time. A round is many calls between two readings
 * of the clock: reading it is a system call that may take longer than the function.
 * Prints a line per figure: name, nanoseconds.
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

/* Prints the CPU time of fn(ctx) per item; one call handles `items`. */
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
