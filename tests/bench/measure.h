/* SPDX-License-Identifier: MIT */
/*
 * How long a thing takes: the least of some rounds, since whatever else the machine does
 * only ever adds. One line a figure: name, nanoseconds.
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

/* Prints the CPU time of fn(ctx) for each of the `items` that one call deals with. */
static inline void measure(const char *name, void (*fn)(void *ctx), void *ctx,
			   unsigned items)
{
	double best = 1e18;

	fn(ctx);
	for (unsigned round = 0; round < MEASURE_ROUNDS; round++) {
		uint64_t began = measure_cpu_ns(), took, calls = 0;

		do {
			fn(ctx);
			calls++;
			took = measure_cpu_ns() - began;
		} while (took < MEASURE_ROUND_NS);
		if ((double)took / (double)calls < best)
			best = (double)took / (double)calls;
	}
	printf("%s %.1f\n", name, best / items);
	fflush(stdout);
}

#endif
