// SPDX-License-Identifier: MIT
#include "helpers.h"

#include <sched.h>

#include <urcu-qsbr.h>

#include "clock.h"
#include "privileges.h"
#include "thread.h"

/* How long a helper looks for the next job before it sleeps. A busy worker posts its next batch
 * within that time. */
#define LINGER_NS 20000
/* How often an owner looks whether a job is done before it yields the CPU, which the helper may
 * need. */
#define SPINS 2000

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

/* --- chunks --- */

void helper_work_do(struct aead *aead, enum helper_work work, struct aead_op *ops,
		    unsigned n)
{
	if (work == WORK_SEAL)
		aead_seal(aead, ops, n);
	else
		aead_open(aead, ops, n);
}

static unsigned chunk_count(uint64_t chunks)
{
	return (unsigned)(chunks >> 32);
}

static unsigned chunk_next(uint64_t chunks)
{
	return (uint32_t)chunks;
}

static bool job_is_taken(const struct helper_job *job)
{
	uint64_t chunks = atomic_load_explicit(&job->chunks, memory_order_relaxed);

	return chunk_next(chunks) >= chunk_count(chunks);
}

typedef void (*finished_fn)(struct helper_job *job);

/* Takes a chunk and does it. Returns the number of operations in it, or 0 if no chunk is left.
 * Sets *finished if this was the last chunk to be done. Once a job is finished its owner may
 * put another job in the struct. */
static unsigned do_chunk(struct helper_job *job, struct aead *aead, finished_fn *finished)
{
	uint64_t chunks =
		atomic_fetch_add_explicit(&job->chunks, 1, memory_order_acq_rel);
	unsigned first = chunk_next(chunks) * HELPER_CHUNK, n;
	finished_fn fn;

	if (chunk_next(chunks) >= chunk_count(chunks))
		return 0;
	n = job->count - first < HELPER_CHUNK ? job->count - first : HELPER_CHUNK;
	fn = job->finished;
	helper_work_do(aead, job->work, job->ops + first, n);
	if (atomic_fetch_add_explicit(&job->done, 1, memory_order_acq_rel) + 1 ==
	    chunk_count(chunks))
		*finished = fn;
	return n;
}

/* --- the owner --- */

bool helpers_pay_off(const struct helpers *helpers, struct helper_advice *advice)
{
	if (!helpers->count)
		return false;
	if (!advice->skip)
		return true;
	advice->skip--;
	return false;
}

void helpers_post(struct helpers *helpers, struct helper_job *job)
{
	uint64_t n = (job->count + HELPER_CHUNK - 1) / HELPER_CHUNK;
	bool wake = false;

	atomic_store_explicit(&job->done, 0, memory_order_relaxed);
	atomic_store_explicit(&job->chunks, n << 32, memory_order_release);
	pthread_mutex_lock(&helpers->lock);
	if (helpers->tail - helpers->head < HELPER_JOBS) {
		helpers->queue[helpers->tail++ % HELPER_JOBS] = job;
		atomic_store_explicit(&helpers->waiting, helpers->tail - helpers->head,
				      memory_order_relaxed);
		wake = helpers->asleep > 0 && !atomic_load(&helpers->lingering);
	}
	pthread_mutex_unlock(&helpers->lock);
	if (wake)
		pthread_cond_signal(&helpers->posted);
}

bool helper_job_done(const struct helper_job *job)
{
	uint64_t chunks = atomic_load_explicit(&job->chunks, memory_order_relaxed);

	return atomic_load_explicit(&job->done, memory_order_acquire) ==
	       chunk_count(chunks);
}

bool helper_job_wait(const struct helper_job *job)
{
	unsigned i;

	for (i = 0; !helper_job_done(job); i++) {
		if (i < SPINS)
			relax();
		else
			sched_yield();
	}
	return i <= SPINS;
}

unsigned helper_job_work(struct helper_job *job, struct aead *aead)
{
	unsigned own = 0, n;
	finished_fn finished;

	while ((n = do_chunk(job, aead, &finished)))
		own += n;
	return own;
}

void helper_advice_learn(struct helper_advice *advice, uint64_t helped, bool in_time)
{
	advice->helped += helped;
	if (helped && in_time)
		advice->back_off = 0;
	else if (advice->back_off < HELPER_BACK_OFF_MAX)
		advice->back_off = advice->back_off * 2 + 1;
	advice->skip = advice->back_off;
}

/* --- a helper --- */

/* The first job of which a chunk is left, or NULL. The lock is held. */
static struct helper_job *first_job(struct helpers *helpers)
{
	struct helper_job *job = NULL;

	while (helpers->head != helpers->tail) {
		job = helpers->queue[helpers->head % HELPER_JOBS];
		if (!job_is_taken(job))
			break;
		job = NULL;
		helpers->head++;
	}
	atomic_store_explicit(&helpers->waiting, helpers->tail - helpers->head,
			      memory_order_relaxed);
	return job;
}

static void linger(struct helpers *helpers)
{
	uint64_t end = clock_now() + LINGER_NS;

	atomic_fetch_add(&helpers->lingering, 1);
	while (!atomic_load_explicit(&helpers->waiting, memory_order_relaxed) &&
	       clock_now() < end)
		relax();
	atomic_fetch_sub(&helpers->lingering, 1);
}

/* Sleeps until there is a job. Returns NULL if the helpers are to end. */
static struct helper_job *next_job(struct helpers *helpers)
{
	struct helper_job *job;

	urcu_qsbr_quiescent_state();
	pthread_mutex_lock(&helpers->lock);
	job = first_job(helpers);
	if (!job) {
		pthread_mutex_unlock(&helpers->lock);
		linger(helpers);
		pthread_mutex_lock(&helpers->lock);
	}
	while (!job && !atomic_load(&helpers->stop) && !(job = first_job(helpers))) {
		helpers->asleep++;
		urcu_qsbr_thread_offline();
		pthread_cond_wait(&helpers->posted, &helpers->lock);
		urcu_qsbr_thread_online();
		helpers->asleep--;
	}
	pthread_mutex_unlock(&helpers->lock);
	return job;
}

static void help_with(struct helper_job *job, struct aead *aead)
{
	finished_fn finished = NULL;

	while (!finished && do_chunk(job, aead, &finished))
		;
	if (finished)
		finished(job);
}

static void *help(void *arg)
{
	struct helper *h = arg;
	struct helper_job *job;

	thread_become(THREAD_HELPER);
	thread_name("helper", (unsigned)(h - h->helpers->list));
	privileges_drop(THREAD_HELPER);
	urcu_qsbr_register_thread();
	while ((job = next_job(h->helpers)))
		help_with(job, &h->aead);
	urcu_qsbr_unregister_thread();
	return NULL;
}

/* --- all of them --- */

static int start_helper(struct helpers *helpers)
{
	struct helper *h = &helpers->list[helpers->count];
	int err = aead_begin(&h->aead, helpers->engine);

	if (err)
		return err;
	h->helpers = helpers;
	err = -pthread_create(&h->thread, NULL, help, h);
	if (err) {
		aead_end(&h->aead);
		return err;
	}
	helpers->count++;
	return 0;
}

int helpers_start(struct helpers *helpers, const struct aead_engine *engine, unsigned n)
{
	int err = 0;

	assert_control_thread();
	*helpers = (struct helpers){.engine = engine};
	pthread_mutex_init(&helpers->lock, NULL);
	pthread_cond_init(&helpers->posted, NULL);
	while (helpers->count < n && helpers->count < HELPERS_MAX && !err)
		err = start_helper(helpers);
	return err;
}

void helpers_stop(struct helpers *helpers)
{
	assert_control_thread();
	if (!helpers->engine)
		return;
	pthread_mutex_lock(&helpers->lock);
	atomic_store(&helpers->stop, true);
	pthread_mutex_unlock(&helpers->lock);
	pthread_cond_broadcast(&helpers->posted);
	for (unsigned i = 0; i < helpers->count; i++) {
		pthread_join(helpers->list[i].thread, NULL);
		aead_end(&helpers->list[i].aead);
	}
	pthread_cond_destroy(&helpers->posted);
	pthread_mutex_destroy(&helpers->lock);
	*helpers = (struct helpers){0};
}
