/* SPDX-License-Identifier: MIT */
/*
 * Threads that help workers to en- and decrypt, so that one peer is not bound to one
 * core.
 *
 * Theory of operation: a job is a batch of AEAD operations, cut into chunks. Its owner
 * posts it and goes on; whoever has time takes a chunk, the owner too once it needs the
 * result: it waits only for chunks that a helper has begun. How many chunks
 * there are and which is next is one atomic word: a helper that comes late, when the job
 * is over or is another, finds nothing to take.
 *
 * Help costs a system call to wake it, and a helper that lost its CPU is waited for: where
 * all CPUs are busy anyway it does not pay. Each owner asks less and less often, while
 * nobody takes what it posts in time.
 */
#ifndef HELPERS_H
#define HELPERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "aead.h"

#define CREW_CHUNK    16 /* operations: some 10 us of full-sized packets */
#define CREW_JOBS     64 /* that wait; more are left to their owners */
#define CREW_MAX      64
#define CREW_BACK_OFF 1024

enum crew_what { CREW_SEAL, CREW_OPEN };

/* Zeroed: idle. Its owner's, but for chunks of it that others took. */
struct crew_job {
	struct aead_op *ops;
	unsigned count;
	enum crew_what what;
	/* Called by a helper that did the last chunk; may be NULL. */
	void (*finished)(struct crew_job *job);
	_Atomic uint64_t chunks; /* how many << 32 | the next one */
	atomic_uint done;
};

/* What an owner has learnt of the use of asking. */
struct crew_advice {
	unsigned skip; /* jobs not to post before it asks again */
	unsigned back_off;
	uint64_t helped; /* operations that others did */
};

struct crew;

struct crew_helper {
	struct crew *crew;
	struct aead aead;
	pthread_t thread;
};

struct crew {
	struct crew_helper helpers[CREW_MAX];
	unsigned count;
	const struct aead_engine *engine;
	pthread_mutex_t lock;
	pthread_cond_t posted;
	struct crew_job *queue[CREW_JOBS]; /* a ring */
	unsigned head, tail;		   /* under the lock; free running */
	unsigned asleep;		   /* under the lock */
	atomic_uint waiting;		   /* tail - head, for a look without the lock */
	atomic_uint lingering;		   /* look for a job without being woken */
	atomic_bool stop;
};

/* Control thread. Starts n threads, or as many as it gets; 0 or -errno. */
int crew_start(struct crew *crew, const struct aead_engine *engine, unsigned n);
/* No job may be under way. Also for a zeroed crew. */
void crew_stop(struct crew *crew);

/* Does them in this thread. */
void crew_do(struct aead *aead, enum crew_what what, struct aead_op *ops, unsigned n);

/* The owner's thread. Whether a job should be posted now, rather than done alone. */
bool crew_helps(const struct crew *crew, struct crew_advice *advice);
/* The owner's thread. job->ops, count (up to 64) and what are set, and stay so, as do the
 * keys and the memory that the operations name, until it is done. */
void crew_post(struct crew *crew, struct crew_job *job);
/* The owner's thread: does what nobody took, returns how many operations that were. */
unsigned crew_work(struct crew_job *job, struct aead *aead);
/* Any thread. Whether all is done; then it is nobody's but the owner's. */
bool crew_done(const struct crew_job *job);
/* Any thread: waits for those who hold chunks of it. False where that took long: they had
 * no CPU. */
bool crew_wait(const struct crew_job *job);
/* The owner's thread: of what it posted others did so many operations, and whether it was
 * not kept waiting for them. */
void crew_learn(struct crew_advice *advice, uint64_t helped, bool in_time);

#endif
