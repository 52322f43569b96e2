/* SPDX-License-Identifier: MIT */
/*
 * Threads that help workers to encrypt and decrypt, so that one peer is not bound to one core.
 *
 * Theory of operation: a job is a batch of AEAD operations, cut into chunks. Its owner, a
 * worker, posts it and goes on; whichever helper has time takes a chunk. Once the owner needs
 * the result it takes chunks, too, so it waits only for chunks that a helper has begun. The
 * number of chunks and the next one to take are in one atomic word: a helper that comes late,
 * when the job is over or the struct holds another job, finds nothing to take.
 *
 * Waking a helper costs a system call, and the owner has to wait for a helper that lost its
 * CPU, so help does not pay if all CPUs are busy anyway. Each owner asks less and less often
 * while nobody takes in time what it posts.
 */
#ifndef HELPERS_H
#define HELPERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "aead.h"

#define HELPER_CHUNK	    16 /* operations: some 10 us of full-sized packets */
#define HELPER_JOBS	    64 /* that wait; owners keep the jobs beyond these */
#define HELPERS_MAX	    64
#define HELPER_BACK_OFF_MAX 1024

enum helper_work { WORK_SEAL, WORK_OPEN };

/* Idle if zeroed. Only its owner touches it, except for the chunks that helpers took. */
struct helper_job {
	struct aead_op *ops;
	unsigned count;
	enum helper_work work;
	/* Called by the helper that did the last chunk; may be NULL. */
	void (*finished)(struct helper_job *job);
	_Atomic uint64_t chunks; /* number of chunks << 32 | the next one to take */
	atomic_uint done;	 /* chunks */
};

/* What an owner has learnt about whether posting jobs pays off. */
struct helper_advice {
	unsigned skip; /* jobs not to post before it asks again */
	unsigned
		back_off; /* what `skip` starts from after the next job that did not pay */
	uint64_t helped;  /* operations that helpers did, ever */
};

struct helpers;

struct helper {
	struct helpers *helpers;
	struct aead aead;
	pthread_t thread;
};

struct helpers {
	struct helper list[HELPERS_MAX];
	unsigned count;
	const struct aead_engine *engine;
	pthread_mutex_t lock;
	pthread_cond_t posted;
	struct helper_job *queue[HELPER_JOBS]; /* a ring */
	unsigned head, tail;   /* of the ring, free running; under the lock */
	unsigned asleep;       /* under the lock */
	atomic_uint waiting;   /* tail - head, to be read without the lock */
	atomic_uint lingering; /* helpers that look for a job without being woken */
	atomic_bool stop;
};

/* Starts n threads, or as many as the system allows. 0 or -errno. Control thread. */
int helpers_start(struct helpers *helpers, const struct aead_engine *engine, unsigned n);
/* Ends the threads. No job may be under way. A zeroed struct is allowed. Control thread. */
void helpers_stop(struct helpers *helpers);

/* Does n operations in the calling thread, whose `aead` it is. */
void helper_work_do(struct aead *aead, enum helper_work work, struct aead_op *ops,
		    unsigned n);

/* Returns true if the owner should post its next job rather than do it alone. The owner's
 * thread. */
bool helpers_pay_off(const struct helpers *helpers, struct helper_advice *advice);
/* Offers the job to helpers. job->ops, count (up to 64) and work are set and stay so until the
 * job is done, as do the keys and the memory that the operations name. The owner's thread. */
void helpers_post(struct helpers *helpers, struct helper_job *job);
/* Does the chunks that nobody took. Returns the number of operations in them. The owner's
 * thread. */
unsigned helper_job_work(struct helper_job *job, struct aead *aead);
/* Returns true if all of the job is done; from then on only the owner touches it. Any thread. */
bool helper_job_done(const struct helper_job *job);
/* Waits for the helpers that hold chunks of the job. Returns false if that took long, because
 * they had no CPU. Any thread. */
bool helper_job_wait(const struct helper_job *job);
/* Learns from what the owner posted: `helped` operations of it were done by helpers; `in_time`:
 * the owner did not have to wait for them. The owner's thread. */
void helper_advice_learn(struct helper_advice *advice, uint64_t helped, bool in_time);

#endif
